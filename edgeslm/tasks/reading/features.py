"""Features of the units of a layout: words around a unit, its shape, its place and its amounts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from edgeslm.tasks.reading.layout import Candidate, Layout, Place, Typed

#: a feature is the remainder of its name's checksum
BUCKETS: Final = 1 << 16
#: words that are looked at before and behind a unit
_AROUND: Final = 4
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
#: shapes of characters: runs of letters, small letters and digits
_SHAPE = str.maketrans(
    {
        **dict.fromkeys(string.ascii_lowercase, "a"),
        **dict.fromkeys(string.ascii_uppercase, "A"),
        **dict.fromkeys(string.digits, "0"),
    }
)
_RUNS = re.compile(r"(.)\1+")
#: lines above a value that may name it
_ABOVE: Final = 3
#: lines of a column
_COLUMN: Final = 12
#: what cash is rounded to where small coins are gone
_ROUNDED: Final = Decimal("0.05")
_CURRENCY: Final = frozenset({"rm", "eur", "usd", "gbp", "myr", "chf", "sgd", "sr", "x"})
#: runs of letters of a word
_LETTERS: Final = (3, 4)


class UnitFeatures(NamedTuple):
    """Ids int64 [units, n], 0 where a unit has fewer; ``counts`` int64 [units]."""

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]


def unit_features(layout: Layout) -> UnitFeatures:
    """The features of the whole text, then of its pieces, then of its candidates, kind by kind."""
    lines = [_words(layout.text[line.start : line.end]) for line in layout.lines]
    rows = [[_id("text")]]
    rows += _of_pieces(layout, lines)
    for kind, candidates in layout.candidates.items():
        rows += _of_candidates(layout, lines, kind, candidates)
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    return UnitFeatures(ids, np.array([len(row) for row in rows], np.int64))


@lru_cache(maxsize=1 << 17)
def _id(name: str) -> int:
    """From 1: 0 is no feature."""
    return crc32(name.encode("utf-8", "replace")) % (BUCKETS - 1) + 1


@lru_cache(maxsize=1 << 14)
def _words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case; of a number only how long it is."""
    return tuple(
        f"{'0' * min(len(word), 6)}" if word.isdigit() else word.lower()
        for word in _WORD.findall(text)
    )


@lru_cache(maxsize=1 << 15)
def _of_word(word: str) -> tuple[int, ...]:
    """The ids of a word's runs of letters."""
    padded = f"<{word}>"
    return tuple(
        _id(f"l{padded[at : at + n]}") for n in _LETTERS for at in range(len(padded) - n + 1)
    )


def _shape(text: str) -> str:
    return _RUNS.sub(r"\1", text.translate(_SHAPE))[:24]


def _of_pieces(layout: Layout, lines: Sequence[tuple[str, ...]]) -> Iterator[list[int]]:
    text, count = layout.text, len(layout.lines)
    places = layout.pieces
    for at, piece in enumerate(places):
        part = text[piece.start : piece.end]
        words = _words(part)
        line = layout.lines[piece.line]
        names = [
            f"pt{min(piece.line, 12)}",
            f"pb{min(count - piece.line, 12)}",
            f"pr{10 * piece.line // count}",
            f"pn{min(len(words), 12)}",
            f"ps{_shape(part)}",
            f"pf{piece.start == line.start}{piece.end == line.end}",
            f"pc{part[-1:] if not part[-1:].isalnum() else 'w'}",
            f"pd{_share(part, str.isdigit)}",
            f"pu{_share(part, str.isupper)}",
            *(f"pw{word}" for word in words),
            *(f"p2{a} {b}" for a, b in pairwise(words)),
            f"p0{words[0] if words else ''}",
            f"p1{words[-1] if words else ''}",
        ]
        for step in (-2, -1, 1, 2):
            other = at + step
            if 0 <= other < len(places):
                near = _words(text[places[other].start : places[other].end])
                names += [f"n{step}{word}" for word in near[:8]]
                names.append(f"ns{step}{_shape(text[places[other].start : places[other].end])}")
            else:
                names.append(f"n{step}none")
        ids = [_id(name) for name in names]
        for word in words[:12]:
            if word.isalpha():
                ids += _of_word(word)
        yield ids


def _share(text: str, is_one: Callable[[str], bool]) -> int:
    """Tenths of a text's characters."""
    return 10 * sum(1 for character in text if is_one(character)) // max(1, len(text))


def _of_candidates(
    layout: Layout, lines: Sequence[tuple[str, ...]], kind: Typed, candidates: Sequence[Candidate]
) -> Iterator[list[int]]:
    amounts = _Amounts([c.value for c in candidates]) if kind == "number" else None
    count = len(layout.lines)
    for at, candidate in enumerate(candidates):
        names = [
            f"t{min(candidate.line, 12)}",
            f"b{min(count - candidate.line, 12)}",
            f"r{10 * candidate.line // max(1, count)}",
            f"at{min(at, 8)}",
            f"ab{min(len(candidates) - at, 8)}",
            f"k{candidate.rank}{round(4 * candidate.likely)}",
            f"s{_shape(layout.text[candidate.start : candidate.end])}",
            *_around(layout, lines, candidate),
            *(amounts.names(candidate.value) if amounts else ()),
            *_named(layout, lines, candidate),
        ]
        yield [_id(f"{kind} {name}") for name in names]


def _around(
    layout: Layout, lines: Sequence[tuple[str, ...]], place: Candidate | Place
) -> Iterator[str]:
    """The words of a unit's line on both sides, and those of the lines next to it."""
    line = layout.lines[place.line]
    before = _words(layout.text[line.start : place.start])
    behind = _words(layout.text[place.end : line.end])
    yield f"alone{not before and not behind}"
    for word in before[-8:]:
        yield f"w<{word}"
    yield f"w<<{' '.join(before[-2:])}"
    for word in behind[:_AROUND]:
        yield f"w>{word}"
    for step in (-3, -2, -1, 1, 2):
        other = place.line + step
        if not 0 <= other < len(lines):
            yield f"{step}none"
            continue
        for word in lines[other][:8]:
            yield f"{step}{word}"
        if step in (-1, 1) and not before:
            yield f"{step}={' '.join(lines[other][:4])}"


def _named(layout: Layout, lines: Sequence[tuple[str, ...]], place: Candidate) -> Iterator[str]:
    """The words that name a value: those before it on its line, or else those of a line above
    which is no value itself."""
    line = layout.lines[place.line]
    words = _names(_words(layout.text[line.start : place.start]))
    steps = 0
    while not words and steps < _ABOVE and place.line - steps > 0:
        steps += 1
        words = _names(lines[place.line - steps])
    name = " ".join(words[-3:])
    yield f"name={name}"
    yield f"name{steps}={name}"
    for word in words:
        yield f"name~{word}"
    beside = _in_column(lines, place.line)
    yield f"column={' '.join(beside[-3:])}"
    for word in beside:
        yield f"column~{word}"


def _in_column(lines: Sequence[tuple[str, ...]], line: int) -> list[str]:
    """The name of a value where a column of names stands before a column of values: the first
    value has the first name, or the last the last where there are more names."""
    first = line
    while first > 0 and line - first < _COLUMN and not _names(lines[first - 1]):
        first -= 1
    behind = line
    while behind < len(lines) and behind - first < _COLUMN and not _names(lines[behind]):
        behind += 1
    top = first
    while top > 0 and first - top < _COLUMN and _is_name(lines[top - 1]):
        top -= 1
    place = first - (behind - line)
    return _names(lines[place]) if top <= place < first else []


def _is_name(words: Sequence[str]) -> bool:
    return bool(_names(words)) and not any(word.startswith("00") for word in words)


def _names(words: Sequence[str]) -> list[str]:
    """Words of letters, but for those that stand for a currency."""
    return [word for word in words if word.isalpha() and word not in _CURRENCY]


class _Amounts:
    """How an amount relates to the others of its text."""

    def __init__(self, values: Sequence[Decimal]) -> None:
        self._counts = Counter(values)
        self._money = [value for value in self._counts if value.as_tuple().exponent == -2]
        self._order = {value: at for at, value in enumerate(sorted(self._money, reverse=True))}
        money = set(self._money[:200])
        self._near = {
            a for a in money for b in money if a != b and abs(a - b) < _ROUNDED and min(a, b) > 1
        }
        self._differences = Counter(
            a - b for a in money for b in money if a > b > 0 and a - b in money and a - b != b
        )

    def names(self, value: Decimal) -> Iterator[str]:
        exponent = value.as_tuple().exponent
        yield f"x{exponent if isinstance(exponent, int) else ''}"
        yield f"m{min(self._counts[value], 6)}"
        if value in self._order:
            yield f"o{min(self._order[value], 8)}"
            yield f"o{min(self._order[value], 8)}m{min(self._counts[value], 3)}"
        yield f"d{min(self._differences[value], 3)}"
        yield f"o{min(self._order.get(value, 9), 9)}d{min(self._differences[value], 2)}"
        step = exponent != -2 or value.as_tuple().digits[-1] in (0, 5)
        yield f"near{value in self._near}{step}"
        yield f"near{value in self._near}{step}o{min(self._order.get(value, 9), 4)}"
        yield f"sign{(value > 0) - (value < 0)}"
        yield f"size{min(len(str(abs(value)).split('.', maxsplit=1)[0]), 9)}"
