"""Layout: a text's lines, the pieces of lines, and the values that typed readers see."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

from edgeslm.tasks.extraction.readings.dates import dates
from edgeslm.tasks.extraction.readings.numbers import numbers
from edgeslm.tasks.extraction.readings.times import times

#: what a typed reader gives
Typed = Literal["date", "time", "number", "code"]
TYPED: Final[tuple[Typed, ...]] = ("date", "time", "number", "code")

#: values of one kind that are weighed; a text has more only where somebody means harm
MAX_CANDIDATES: Final = 2000
#: pieces of a text that are read
MAX_PIECES: Final = 4000

#: where a line falls into pieces: wide gaps, brackets, behind the colon of a name, and around a
#: long number with a letter, such as a firm is registered by
_BREAK = re.compile(
    r"\s{2,}|\t|(?=\()|(?<=\))|(?<=:)\s*|\s*\|\s*"
    r"|\s+(?=\W?\d{4,}-?[A-Z]\b)|(?<=\d-[A-Z])\s+|(?<=\d{4}[A-Z])\s+"
)
_WORDS = re.compile(r"\S+")
_LINE = re.compile(r"[^\n]+")
_SEEN = re.compile(r"\w")
#: a number of a document: letters and digits with marks inside, of which the first that is no
#: letter or mark is a digit
_CODE_START = re.compile(r"(?<!\w)[A-Za-z0-9]")
_CODE_HEAD = re.compile(r"[A-Za-z/_.-]*")
_CODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9/_.#-]*[A-Za-z0-9])?")
_DIGIT = re.compile(r"\d")
_MIN_CODE: Final = 3
#: readings of one spelling that are weighed
_READINGS: Final = 3


class Place(NamedTuple):
    """A part of a text by half-open code-point offsets, and the number of its line."""

    start: int
    end: int
    line: int


class Candidate(NamedTuple):
    """A place that a typed reader can read.

    ``value`` is a date or time in ISO 8601, a Decimal, or the code itself; ``likely`` (0 to 1) is
    how likely the spelling means it, and ``rank`` 0 for its likeliest reading.
    """

    start: int
    end: int
    line: int
    value: Any
    likely: float
    rank: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A text with its lines, pieces and candidates, each in the order of the text."""

    text: str
    lines: tuple[Place, ...]
    pieces: tuple[Place, ...]
    candidates: dict[Typed, tuple[Candidate, ...]]

    @property
    def units(self) -> int:
        """How many units are weighed: the text itself, its pieces and its candidates."""
        return 1 + len(self.pieces) + sum(map(len, self.candidates.values()))


def lay_out(text: str, typed: Collection[Typed], *, words: bool = False) -> Layout:
    """Find the units of a text.

    Args:
        typed: the kinds of value that are looked for.
        words: pieces are single words, where a line holds several values side by side.
    """
    spans = [match.span() for match in _LINE.finditer(text) if _SEEN.search(match[0])]
    lines = tuple(Place(start, end, number) for number, (start, end) in enumerate(spans))
    pieces = tuple(islice(_pieces(text, lines, words=words), MAX_PIECES))
    starts = [line.start for line in lines]
    return Layout(
        text,
        lines,
        pieces,
        {kind: _candidates(text, kind, starts) for kind in TYPED if kind in typed},
    )


def _pieces(text: str, lines: tuple[Place, ...], *, words: bool) -> Iterator[Place]:
    for line in lines:
        if words:
            for match in _WORDS.finditer(text, line.start, line.end):
                yield Place(match.start(), match.end(), line.line)
            continue
        at = line.start
        for gap in (*_BREAK.finditer(text, line.start, line.end), None):
            end = line.end if gap is None else gap.start()
            if _SEEN.search(text, at, end):
                yield _stripped(text, at, end, line.line)
            at = end if gap is None else gap.end()


def _stripped(text: str, start: int, end: int, line: int) -> Place:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return Place(start, start + len(part.strip()), line)


def _candidates(text: str, kind: Typed, starts: list[int]) -> tuple[Candidate, ...]:
    return tuple(islice(_read(text, kind, starts), MAX_CANDIDATES))


def _read(text: str, kind: Typed, starts: list[int]) -> Iterator[Candidate]:
    def line_of(start: int) -> int:
        return max(0, bisect_right(starts, start) - 1)

    if kind == "code":
        for start, end in _codes(text):
            if end - start >= _MIN_CODE:
                yield Candidate(start, end, line_of(start), text[start:end], 1.0, 0)
        return
    readers: dict[str, Any] = {"date": dates, "time": times, "number": numbers}
    for spelled in sorted(readers[kind](text), key=lambda spelled: spelled.start):
        readings = islice(spelled.readings.items(), _READINGS)
        for rank, (value, likely) in enumerate(readings):
            meant = value if isinstance(value, Decimal) else value.isoformat()
            line = line_of(spelled.start)
            yield Candidate(spelled.start, spelled.end, line, meant, likely, rank)


def _codes(text: str) -> Iterator[tuple[int, int]]:
    """The places of numbers of documents, each character looked at a few times at most."""
    at = 0
    while begun := _CODE_START.search(text, at):
        head, code = _CODE_HEAD.match(text, begun.start()), _CODE.match(text, begun.start())
        assert head is not None and code is not None, "both match the character that begins it"
        if _DIGIT.match(text, head.end()):
            yield code.span()
            at = code.end()
        else:  # no place in the head has a digit behind it
            at = head.end()
