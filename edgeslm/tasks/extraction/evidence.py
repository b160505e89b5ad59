"""Per-field confidence, and the span of the text that a value was read from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, NamedTuple

from edgeslm.decoding.decoder import Choice
from edgeslm.formats.card import FieldCalibration
from edgeslm.formats.text import is_blank, is_invisible
from edgeslm.formats.words import is_mark
from edgeslm.results import Field
from edgeslm.tasks.extraction.leaves import byte_places, field_of, leaves
from edgeslm.tasks.extraction.readings.dates import dates, is_date
from edgeslm.tasks.extraction.readings.numbers import numbers
from edgeslm.tasks.extraction.readings.times import Moment, moments
from edgeslm.tasks.extraction.readings.written import Written

_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z", re.ASCII)
_DECIMAL = re.compile(r"-?\d+\.\d+\Z", re.ASCII)
#: a date, a time with its offset, or both
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)?(?:(?:^|T)(?P<time>\d\d:\d\d:\d\d)(?:\.\d+)?"
    r"(?P<offset>Z|[+-]\d\d:\d\d))?\Z",
    re.ASCII,
)
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})\Z")
_GOES_ON = re.compile(r"[.,']\d")
_GOES_BEFORE = re.compile(r"\d[.,']\Z")
#: how far a value is trusted where the text holds a spelling of its kind that cannot be read
UNREAD: Final = 0.5
#: and one that is found inside a number or date which does not mean it: 298.00 in 1,298.00
INSIDE: Final = 0.1


def fields(
    answer: str,
    choices: Sequence[Choice],
    cut: int | None,
    text: str,
    *,
    keeps_decimals: bool = True,
    marks: bool = False,
) -> dict[str, Field]:
    """Confidence, span and disagreement of every leaf of an answer.

    Args:
        answer: the whole JSON text; ``choices`` place tokens by its UTF-8 bytes.
        cut: bytes that the model wrote, where a budget ended it; None if it ended by itself.
        text: the caller's text.
        keeps_decimals: whether the value has every digit of the answer; else a number that no
            double holds counts as one that cannot be read.
        marks: whether dates, times and numbers are to say if they are grounded.
    """
    places = byte_places(answer)
    result: dict[str, Field] = {}
    finder = SpanFinder(text)
    for leaf in leaves(answer):
        # a number ends by what follows it, so that token counts, too
        start, end = places[leaf.start], places[leaf.end]
        reach = end if answer[leaf.end - 1] in '"]}' else end + 1
        is_marked = marks and _is_copied(leaf.value)
        if cut is not None and reach > cut:
            result[leaf.path] = Field(0.0, None, grounded=False if is_marked else None)
            continue
        confidence = allowed = 1.0
        for choice in choices:
            if choice.start < reach and choice.end > start:
                confidence *= choice.probability
                allowed *= choice.allowed
        place = finder.place(leaf.value)
        sure = UNREAD if not keeps_decimals and _is_rounded(leaf.value) else 1.0
        reading = min(place.reading, sure)
        result[leaf.path] = Field(
            confidence,
            place.span,
            1.0 - allowed,
            reading=reading,
            grounded=place.span is not None and place.whole if is_marked else None,
        )
    return result


def _is_rounded(value: Any) -> bool:
    """Whether a number with decimals is another one as a double."""
    return isinstance(value, Decimal) and Decimal(repr(float(value))) != value


def _is_copied(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value and (_MOMENT.match(value) or _DECIMAL.match(value)))
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def calibrated(
    measured: dict[str, Field], calibration: Mapping[str, FieldCalibration]
) -> dict[str, Field]:
    """The fields with their confidence as the card corrects it; 0 where a budget ended stays.

    A field that the card has no calibration for is as sure as its spelling in the text at most;
    a calibration was measured on such spellings.
    """
    result = dict(measured)
    for path, field in measured.items():
        worth = calibration.get(field_of(path))
        if worth is not None and field.confidence > 0:
            result[path] = replace(field, confidence=worth.of(field.confidence))
        elif field.reading < 1:
            result[path] = replace(field, confidence=field.confidence * field.reading)
    return result


class Place(NamedTuple):
    """Where a text has a value, if it does, and how likely what is written there means it;
    ``whole`` is False where a time of day or an offset of it does not stand there."""

    span: tuple[int, int] | None
    reading: float
    whole: bool = True


class SpanFinder:
    """Finds values in a text: exactly, or equal after the normalisation their type implies."""

    def __init__(self, text: str) -> None:
        self._text = text

    def find(self, value: Any) -> tuple[int, int] | None:
        """Half-open code-point offsets of the surest place the value stands, or None."""
        return self.place(value).span

    def place(self, value: Any) -> Place:
        """Where a value stands, the surest of several places, the first of equal ones.

        A number or date is less sure where its spelling can mean another, or where the text has
        a spelling of its kind that cannot be read at all.
        """
        if isinstance(value, bool) or value is None or isinstance(value, list | dict):
            return Place(None, 1.0)
        if isinstance(value, int | float | Decimal):
            return self._number(Decimal(str(value)))
        if _ISO.match(value) and is_date(value):
            exact = self._exact(value)
            place = _surest(date.fromisoformat(value), self._dates)
            return place._replace(span=exact) if exact else place
        if _PLAIN_NUMBER.match(value):
            return self._spelled_number(value)
        moment = _MOMENT.match(value) if value else None
        if moment is not None:
            return self._moment(value, **moment.groupdict())
        return Place(self._exact(value) or self._find_folded(value), 1.0)

    @cached_property
    def _numbers(self) -> list[Written[Decimal]]:
        return list(numbers(self._text))

    @cached_property
    def _dates(self) -> list[Written[date]]:
        return list(dates(self._text))

    @cached_property
    def _moments(self) -> list[Written[Moment]]:
        return list(moments(self._text))

    def _moment(self, value: str, day: str | None, time: str | None, offset: str | None) -> Place:
        """A date, a time or both: the place of the date, if there is one.

        What the text does not say of the time makes the value less sure: half where an offset
        is missing, and INSIDE where the time of day is, or where it has another offset.
        """
        exact = self._exact(value)
        if exact is not None:
            return Place(exact, 1.0)
        clock = self._clock(time, offset) if time is not None else Place(None, 1.0)
        if day is None:
            return clock
        date_place = self.place(day) if is_date(day) else Place(None, 1.0)
        if time is None:
            return date_place
        return Place(date_place.span, min(date_place.reading, clock.reading), clock.whole)

    def _clock(self, time: str, offset: str | None) -> Place:
        """A time of day with its offset; the one with that offset of several places."""
        offset = "Z" if offset in ("+00:00", "-00:00") else offset
        spellings = [
            (moment.offset, spelled)
            for spelled in self._moments
            for moment in spelled.readings
            if str(moment.clock) == time
        ]
        for said, spelled in spellings:
            if said == offset:
                return Place(spelled.span, 1.0)
        for said, spelled in spellings:
            if said is None:
                return Place(spelled.span, UNREAD if offset == "Z" else INSIDE, whole=False)
        return Place(spellings[0][1].span if spellings else None, INSIDE, whole=False)

    def _number(self, value: Decimal) -> Place:
        return _surest(value, self._numbers)

    def _spelled_number(self, value: str) -> Place:
        """A string of digits, which can be a number of another spelling, or a name."""
        exact, number = self._exact(value), self._number(Decimal(value))
        if exact is None or number.span is None:
            inside = exact is not None and self._is_inside(*exact)
            return number if exact is None else Place(exact, INSIDE if inside else 1.0)
        return number

    def _is_inside(self, start: int, end: int) -> bool:
        """Whether a place is a part of a longer number or one like it: 1.2 of 1.2.3."""
        if _GOES_ON.match(self._text, end) or _GOES_BEFORE.search(self._text, start - 2, start):
            return True
        return any(written.start <= start and end <= written.end for written in self._numbers)

    def _exact(self, value: str) -> tuple[int, int] | None:
        if is_blank(value):
            return None
        first: tuple[int, int] | None = None
        at = self._text.find(value)
        while at >= 0:
            end = at + len(value)
            if self._is_whole(at, end):
                return at, end
            first = first or (at, end)
            at = self._text.find(value, at + 1)
        return first

    def _is_whole(self, start: int, end: int) -> bool:
        """Whether no letter, digit or mark on a letter runs on across the ends."""
        text = self._text
        return not (
            (start > 0 and text[start - 1].isalnum() and _continues(text[start]))
            or (end < len(text) and _continues(text[end]) and _continues(text[end - 1]))
        )

    @cached_property
    def _folded(self) -> tuple[str, list[int]]:
        return _fold(self._text)

    def _find_folded(self, value: str) -> tuple[int, int] | None:
        """Equal but for case, white space and forms of a character, which OCR and models change."""
        needle, _ = _fold(value)
        if len(needle) < 2:
            return None
        folded, places = self._folded
        at = folded.find(needle)
        return None if at < 0 else (places[at], places[at + len(needle) - 1] + 1)


def _surest(value: Any, written: Sequence[Written[Any]]) -> Place:
    spellings = [spelling for spelling in written if value in spelling.readings]
    trust = UNREAD if any(not spelling.readings for spelling in written) else 1.0
    if not spellings:
        return Place(None, trust)
    best = max(spellings, key=lambda spelling: spelling.readings[value])
    return Place(best.span, trust * best.readings[value])


def _continues(character: str) -> bool:
    """Whether a character goes on with a word: a letter, a digit, or a mark on one."""
    return character.isalnum() or is_mark(character)


def _fold(text: str) -> tuple[str, list[int]]:
    folded: list[str] = []
    places: list[int] = []
    on_nothing = True  # a mark behind white space
    for i, character in enumerate(text):
        blank = character.isspace() or character < " "
        mark = not character.isascii() and is_mark(character)
        on_nothing = blank or (mark and on_nothing)
        if not on_nothing and not (mark and is_invisible(character)):
            for part in unicodedata.normalize("NFKD", character).casefold():
                folded.append(part)
                places.append(i)
    return "".join(folded), places
