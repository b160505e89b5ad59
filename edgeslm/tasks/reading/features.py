"""Features of the units of a layout: words around a unit, its shape, its place and its amounts."""

from __future__ import annotations

import re
import string
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import chain, groupby, islice, pairwise
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from edgeslm.formats.onnx.reader_spec import MAX_UNIT_FEATURES
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
#: lines above a value that may name it
_ABOVE: Final = 3
#: lines of a column
_COLUMN: Final = 12
#: the cents that cash is rounded to where small coins are gone
_ROUNDED: Final = 5
_ONE: Final = 100
#: amounts of a text that are compared
_COMPARED: Final = 200
_CURRENCY: Final = frozenset({"rm", "eur", "usd", "gbp", "myr", "chf", "sgd", "sr", "x"})
#: the first words of another line or piece that are looked at, and lines beside a value's
_LINE: Final = 8
_BESIDE: Final = (-3, -2, -1, 1, 2)
#: pieces beside a piece
_NEXT: Final = (-2, -1, 1, 2)
#: runs of letters of a word
_LETTERS: Final = (3, 4)
#: the longest word whose runs of letters are kept for the next text
_KEPT: Final = 32


class UnitFeatures(NamedTuple):
    """Ids int64 [units, n], 0 where a unit has fewer; ``counts`` int64 [units].

    A unit has the first MAX_UNIT_FEATURES of its features.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]


def unit_features(layout: Layout) -> UnitFeatures:
    """The features of the whole text, then of its pieces, then of its candidates, kind by kind."""
    lines = [_Line(layout.text, line) for line in layout.lines]
    rows = [[_sum("text")]]
    rows += _of_pieces(layout)
    for kind, candidates in layout.candidates.items():
        rows += _of_candidates(layout, lines, kind, candidates)
    counts = np.array([len(row) for row in rows], np.int64)
    sums = np.fromiter(chain.from_iterable(rows), np.int64, count=int(counts.sum()))
    ids = np.zeros((len(rows), int(counts.max())), np.int64)
    ids[np.arange(ids.shape[1]) < counts[:, None]] = sums % (BUCKETS - 1) + 1  # 0 is no feature
    return UnitFeatures(ids, counts)


def _sum(name: str, before: int = 0) -> int:
    """The checksum of a name; ``before`` is that of what stands before it."""
    return crc32(_coded(name), before)


def _sums(words: Iterable[bytes], before: int) -> list[int]:
    """The checksums of names that begin alike and end with these words."""
    return [crc32(word, before) for word in words]


def _coded(word: str) -> bytes:
    return word.encode("utf-8", "replace")


def _word(word: str) -> str:
    """A word in lower case; of a number only how long it is."""
    return "0" * min(len(word), 6) if word.isdigit() else word.lower()


def _words(text: str) -> list[str]:
    return [_word(word) for word in _WORD.findall(text)]


def _of_word(word: str) -> tuple[int, ...]:
    """The checksums of a word's runs of letters."""
    return _kept_runs(word) if len(word) <= _KEPT else tuple(_runs(word))


def _runs(word: str) -> Iterator[int]:
    padded = f"<{word}>"
    runs = (f"l{padded[at : at + n]}" for n in _LETTERS for at in range(len(padded) - n + 1))
    return map(_sum, islice(runs, MAX_UNIT_FEATURES))


@lru_cache(maxsize=1 << 13)
def _kept_runs(word: str) -> tuple[int, ...]:
    return tuple(_runs(word))


def _shape(text: str) -> str:
    runs = groupby(text.translate(_SHAPE))
    return "".join("".join(run) if one == "\n" else one for one, run in runs)[:24]


class _Line:
    """The words of a line and where they end; ``names`` are those of letters (see `_names`)."""

    __slots__ = (
        "_ends",
        "_name_ends",
        "_place",
        "_spans",
        "_text",
        "coded",
        "is_name",
        "names",
        "words",
    )

    def __init__(self, text: str, place: Place) -> None:
        self._text, self._place = text, place
        spans = [match.span() for match in _WORD.finditer(text, place.start, place.end)]
        self.words = [_word(text[start:end]) for start, end in spans]
        self.coded = [_coded(word) for word in self.words[:_LINE]]
        self.names = _names(self.words)
        self.is_name = bool(self.names) and not any(word.startswith("00") for word in self.words)
        self._spans, self._ends = spans, [end for _, end in spans]
        named = zip(self.words, self._ends, strict=True)
        self._name_ends = [end for word, end in named if _is_named(word)]

    def before(self, at: int) -> tuple[list[str], list[str]]:
        """The words before a place, and their names."""
        line = self._place
        if not line.start <= at <= line.end:  # a value that begins where no line is
            words = _words(self._text[line.start : at])
            return words, _names(words)
        count = bisect_right(self._ends, at)
        words, names = self.words[:count], self.names[: bisect_right(self._name_ends, at)]
        if count < len(self._spans) and self._spans[count][0] < at:  # a part of a word
            part = _word(self._text[self._spans[count][0] : at])
            words.append(part)
            names += _names([part])
        return words, names

    def behind(self, at: int) -> list[str]:
        """The first words behind a place."""
        line = self._place
        if not line.start <= at:
            return _words(self._text[at : line.end])[:_AROUND]
        first = bisect_right(self._ends, at)
        words = self.words[first : first + _AROUND]
        if words and self._spans[first][0] < at:
            words[0] = _word(self._text[at : self._ends[first]])
        return words


def _of_pieces(layout: Layout) -> Iterator[list[int]]:
    text, count = layout.text, len(layout.lines)
    places = layout.pieces
    parts = [text[piece.start : piece.end] for piece in places]
    words_of, shapes = [_words(part) for part in parts], [_shape(part) for part in parts]
    near = [[*map(_coded, words[:_LINE])] for words in words_of]
    seeds = {step: _sum(f"n{step}") for step in _NEXT}
    own, pair = _sum("pw"), _sum("p2")
    for at, (piece, part, words) in enumerate(zip(places, parts, words_of, strict=True)):
        line = layout.lines[piece.line]
        first = words[:MAX_UNIT_FEATURES]
        names = [
            f"pt{min(piece.line, 12)}",
            f"pb{min(count - piece.line, 12)}",
            f"pr{10 * piece.line // count}",
            f"pn{min(len(words), 12)}",
            f"ps{shapes[at]}",
            f"pf{piece.start == line.start}{piece.end == line.end}",
            f"pc{part[-1:] if not part[-1:].isalnum() else 'w'}",
            f"pd{_share(part, str.isdigit)}",
            f"pu{_share(part, str.isupper)}",
        ]
        sums = [*map(_sum, names), *_sums(map(_coded, first), own)]
        sums += _sums((_coded(f"{a} {b}") for a, b in pairwise(first)), pair)
        sums += [_sum(f"p0{words[0] if words else ''}"), _sum(f"p1{words[-1] if words else ''}")]
        for step, seed in seeds.items():
            other = at + step
            if 0 <= other < len(places):
                sums += [*_sums(near[other], seed), _sum(f"ns{step}{shapes[other]}")]
            else:
                sums.append(_sum("none", seed))
        for word in words[:12]:
            if word.isalpha():
                sums += _of_word(word)
        yield sums[:MAX_UNIT_FEATURES]


def _share(text: str, is_one: Callable[[str], bool]) -> int:
    """Tenths of a text's characters."""
    return 10 * sum(map(is_one, text)) // max(1, len(text))


def _of_candidates(
    layout: Layout, lines: Sequence[_Line], kind: Typed, candidates: Sequence[Candidate]
) -> Iterator[list[int]]:
    amounts = _Amounts([c.value for c in candidates]) if kind == "number" else None
    count, kinds = len(layout.lines), _sum(f"{kind} ")
    around, named, place = list[int](), list[int](), (-1, -1)
    for at, candidate in enumerate(candidates):
        if place != (place := (candidate.start, candidate.end)):  # one place may read in many ways
            words, names = lines[candidate.line].before(candidate.start)
            around = _around(lines, candidate, words, kinds)
            named = [
                _sum(name, kinds)
                for name in islice(_named(lines, candidate, names), MAX_UNIT_FEATURES)
            ]
        own = (
            f"t{min(candidate.line, 12)}",
            f"b{min(count - candidate.line, 12)}",
            f"r{10 * candidate.line // max(1, count)}",
            f"at{min(at, 8)}",
            f"ab{min(len(candidates) - at, 8)}",
            f"k{candidate.rank}{round(4 * candidate.likely)}",
            f"s{_shape(layout.text[candidate.start : candidate.end])}",
        )
        sums = [_sum(name, kinds) for name in own] + around
        if amounts is not None:
            sums += [_sum(name, kinds) for name in amounts.names(candidate.value)]
        yield (sums + named)[:MAX_UNIT_FEATURES]


def _around(
    lines: Sequence[_Line], place: Candidate, before: Sequence[str], kind: int
) -> list[int]:
    """The words of a unit's line on both sides, and those of the lines next to it; ``kind`` is
    the checksum that its features begin with."""
    behind = lines[place.line].behind(place.end)
    names = [
        f"alone{not before and not behind}",
        *(f"w<{word}" for word in before[-8:]),
        f"w<<{' '.join(before[-2:])}",
        *(f"w>{word}" for word in behind),
    ]
    sums = [_sum(name, kind) for name in names]
    for step in _BESIDE:
        other, seed = place.line + step, _sum(str(step), kind)
        if not 0 <= other < len(lines):
            sums.append(_sum("none", seed))
            continue
        sums += _sums(lines[other].coded, seed)
        if step in (-1, 1) and not before:
            sums.append(_sum(f"={' '.join(lines[other].words[:4])}", seed))
    return sums


def _named(lines: Sequence[_Line], place: Candidate, words: Sequence[str]) -> Iterator[str]:
    """The words that name a value: those before it on its line, or else those of a line above
    which is no value itself."""
    steps = 0
    while not words and steps < _ABOVE and place.line - steps > 0:
        steps += 1
        words = lines[place.line - steps].names
    name = " ".join(words[-3:])
    yield f"name={name}"
    yield f"name{steps}={name}"
    for word in words:
        yield f"name~{word}"
    beside = _in_column(lines, place.line)
    yield f"column={' '.join(beside[-3:])}"
    for word in beside:
        yield f"column~{word}"


def _in_column(lines: Sequence[_Line], line: int) -> list[str]:
    """The name of a value where a column of names stands before a column of values: the first
    value has the first name, or the last the last where there are more names."""
    first = line
    while first > 0 and line - first < _COLUMN and not lines[first - 1].names:
        first -= 1
    behind = line
    while behind < len(lines) and behind - first < _COLUMN and not lines[behind].names:
        behind += 1
    top = first
    while top > 0 and first - top < _COLUMN and lines[top - 1].is_name:
        top -= 1
    place = first - (behind - line)
    return lines[place].names if top <= place < first else []


def _names(words: Sequence[str]) -> list[str]:
    """Words of letters, but for those that stand for a currency."""
    return [word for word in words if _is_named(word)]


def _is_named(word: str) -> bool:
    return word.isalpha() and word not in _CURRENCY


class _Amounts:
    """How an amount relates to the others of its text."""

    def __init__(self, values: Sequence[Decimal]) -> None:
        self._counts = Counter(values)
        self._money = [value for value in self._counts if value.as_tuple().exponent == -2]
        self._order = {value: at for at, value in enumerate(sorted(self._money, reverse=True))}
        amounts = {_cents(value): value for value in self._money[:_COMPARED]}
        self._near, self._differences = _near(amounts), _differences(amounts)

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


def _cents(value: Decimal) -> int:
    """An amount of two decimals; counting in whole numbers takes a third of the time."""
    return int(value.scaleb(2))


def _near(amounts: Mapping[int, Decimal]) -> set[Decimal]:
    """The amounts above 1 that are another one of them, rounded."""
    rising = sorted(cents for cents in amounts if cents > _ONE)
    pairs = [(a, b) for a, b in pairwise(rising) if b - a < _ROUNDED]
    return {amounts[cents] for pair in pairs for cents in pair}


def _differences(amounts: Mapping[int, Decimal]) -> Counter[Decimal]:
    """How often an amount and another one, not itself, add up to a third."""
    counts = Counter[Decimal]()
    positive = [cents for cents in amounts if cents > 0]
    for a in positive:
        for b in positive:
            if a > b and a != b + b and a - b in amounts:
                counts[amounts[a - b]] += 1
    return counts
