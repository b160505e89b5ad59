"""Per-field confidence, and the span of the text that a value was read from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from edgeslm.decoding.decoder import Choice
from edgeslm.formats.card import FieldCalibration
from edgeslm.results import Field

_NAME = re.compile(r"[A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff][\w\u0080-\ud7ff\ue000-\U0010ffff]*\Z")
# a minus behind a letter or digit is a hyphen: 10-20, INV-7
_NUMBER = re.compile(
    r"(?:(?<!\w)-)?(?:\d{1,3}(?:(?P<group>[ ,.'’])\d{3})(?:(?P=group)\d{3})*(?!\d)|\d+)(?:[.,]\d+)?"
    r"|(?:(?<!\w)-)?[.,]\d+"
)
_GROUPED = re.compile(r"-?[1-9]\d{0,2}(?:[.,]\d{3})+\Z")
_DATE = re.compile(
    r"(?<!\d)(?:(?P<y>\d{4})[-/. ](?P<m>\d{1,2})[-/. ](?P<d>\d{1,2})"
    r"|(?P<a>\d{1,2})[-/. ](?P<b>\d{1,2})[-/. ](?P<c>\d{4}|\d{2})"
    r"|(?P<e>\d{1,2})(?:st|nd|rd|th)?[-/. ]*(?P<n>[A-Za-z]{3,9})[-/., ]*(?P<f>\d{4}|\d{2})"
    r"|(?P<o>[A-Za-z]{3,9})[-/. ]*(?P<g>\d{1,2})(?:st|nd|rd|th)?[,. ]+(?P<h>\d{4})"
    r"|(?P<i>(?:19|20)\d\d)(?P<j>0[1-9]|1[0-2])(?P<k>0[1-9]|[12]\d|3[01]))(?!\d)"
)
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905  a table
#: a step of a path, whose group is the number of an item
_STEP = re.compile(r"\['(?:[^'\\]|\\.)*'\]|\[(\d+)\]")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z", re.ASCII)
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})\Z")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without children in a JSON text: RFC 9535 path, place and value."""

    path: str
    start: int
    end: int
    value: Any


def leaves(text: str) -> list[Leaf]:
    """All leaves of a JSON text in order; an empty array or object is a leaf, too."""
    found: list[Leaf] = []
    _scan(text, _skip(text, 0), "$", found)
    return found


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _scan(text: str, at: int, path: str, found: list[Leaf]) -> int:
    """Walk the value that begins at ``at``; the place behind it."""
    if text[at] == "{":
        return _scan_members(text, at, path, found)
    if text[at] == "[":
        return _scan_elements(text, at, path, found)
    value, end = json.JSONDecoder(parse_float=Decimal).raw_decode(text, at)
    found.append(Leaf(path, at, end, value))
    return end


def _scan_members(text: str, start: int, path: str, found: list[Leaf]) -> int:
    at = _skip(text, start + 1)
    if text[at] == "}":
        found.append(Leaf(path, start, at + 1, {}))
        return at + 1
    while True:
        name, at = json.decoder.scanstring(text, at + 1)  # type: ignore[attr-defined]  # typeshed omits it
        at = _skip(text, _skip(text, at) + 1)
        at = _skip(text, _scan(text, at, path + _segment(name), found))
        if text[at] == "}":
            return at + 1
        at = _skip(text, at + 1)


def _scan_elements(text: str, start: int, path: str, found: list[Leaf]) -> int:
    at = _skip(text, start + 1)
    if text[at] == "]":
        found.append(Leaf(path, start, at + 1, []))
        return at + 1
    index = 0
    while True:
        at = _skip(text, _scan(text, at, f"{path}[{index}]", found))
        if text[at] == "]":
            return at + 1
        at = _skip(text, at + 1)
        index += 1


def _segment(name: str) -> str:
    if _NAME.match(name):
        return f".{name}"
    quoted = json.dumps(name, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"['{quoted}']"


def fields(answer: str, choices: Sequence[Choice], cut: int | None, text: str) -> dict[str, Field]:
    """Confidence, span and disagreement of every leaf of an answer.

    Args:
        answer: the whole JSON text; ``choices`` place tokens by its UTF-8 bytes.
        cut: bytes that the model wrote, where a budget ended it; None if it ended by itself.
        text: the caller's text.
    """
    places = byte_places(answer)
    result: dict[str, Field] = {}
    finder = SpanFinder(text)
    for leaf in leaves(answer):
        # a number ends by what follows it, so that token counts, too
        start, end = places[leaf.start], places[leaf.end]
        reach = end if answer[leaf.end - 1] in '"]}' else end + 1
        if cut is not None and reach > cut:
            result[leaf.path] = Field(0.0, None)
            continue
        confidence = allowed = 1.0
        for choice in choices:
            if choice.start < reach and choice.end > start:
                confidence *= choice.probability
                allowed *= choice.allowed
        result[leaf.path] = Field(confidence, finder.find(leaf.value), 1.0 - allowed)
    return result


def calibrated(
    found: dict[str, Field], calibration: Mapping[str, FieldCalibration]
) -> dict[str, Field]:
    """The fields with their confidence as the card corrects it; 0 where a budget ended stays."""
    result = dict(found)
    for path, field in found.items():
        worth = calibration.get(field_of(path))
        if worth is not None and field.confidence > 0:
            result[path] = replace(field, confidence=worth.of(field.confidence))
    return result


def field_of(path: str) -> str:
    """The field that a leaf is a value of: ``$.items[*].price`` of ``$.items[0].price``."""
    return _STEP.sub(lambda step: step[0] if step[1] is None else "[*]", path)


def byte_places(text: str) -> list[int]:
    """Where each character begins among the bytes of a text, and where the text ends."""
    places = [0]
    for character in text:
        places.append(places[-1] + len(character.encode()))
    return places


class SpanFinder:
    """Finds values in a text: exactly, or equal after the normalisation their type implies."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded: tuple[str, list[int]] | None = None

    def find(self, value: Any) -> tuple[int, int] | None:
        """Half-open code-point offsets of the first place the value stands, or None."""
        if isinstance(value, bool) or value is None or isinstance(value, list | dict):
            return None
        if isinstance(value, int | float | Decimal):
            return self._find_number(Decimal(str(value)))
        iso = _ISO.match(value)
        if iso:
            span = self._find_exact(value) or self._find_date(value)
            if span:
                return span
        span = self._find_exact(value) or self._find_folded(value)
        if span is None and _PLAIN_NUMBER.match(value):
            return self._find_number(Decimal(value))
        return span

    def _find_exact(self, value: str) -> tuple[int, int] | None:
        if not value.strip():
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
        """Whether no letter or digit runs on across the ends."""
        text = self._text
        return not (
            (start > 0 and text[start - 1].isalnum() and text[start].isalnum())
            or (end < len(text) and text[end].isalnum() and text[end - 1].isalnum())
        )

    def _find_folded(self, value: str) -> tuple[int, int] | None:
        """Equal but for case and white space, which OCR and models change."""
        if self._folded is None:
            self._folded = _fold(self._text)
        needle, _ = _fold(value)
        if len(needle) < 2:
            return None
        folded, places = self._folded
        at = folded.find(needle)
        return None if at < 0 else (places[at], places[at + len(needle) - 1] + 1)

    def _find_number(self, value: Decimal) -> tuple[int, int] | None:
        for span, readings in numbers(self._text):
            if value in readings:
                return span
        return None

    def _find_date(self, value: str) -> tuple[int, int] | None:
        wanted = date.fromisoformat(value) if is_date(value) else None
        for span, readings in dates(self._text):
            if wanted in readings:
                return span
        return None


def numbers(text: str) -> Iterator[tuple[tuple[int, int], tuple[Decimal, ...]]]:
    """Where numbers stand, as half-open code-point offsets, and what each can mean."""
    for match in _NUMBER.finditer(text):
        yield match.span(), tuple(_readings(match.group()))
        if " " in match.group():  # 2 125.00 can be two numbers of a table
            for part in re.finditer(r"[^ ]+", match.group()):
                start = match.start() + part.start()
                yield (start, start + len(part.group())), tuple(_readings(part.group()))


def dates(text: str) -> Iterator[tuple[tuple[int, int], tuple[date, ...]]]:
    """Where dates stand in any usual spelling, and what each can mean: day or month first."""
    for match in _DATE.finditer(text):
        yield match.span(), tuple(_dates(match.groupdict()))


def _fold(text: str) -> tuple[str, list[int]]:
    folded: list[str] = []
    places: list[int] = []
    for i, character in enumerate(text):
        if not character.isspace() and character >= " ":
            for part in character.casefold():
                folded.append(part)
                places.append(i)
    return "".join(folded), places


def _readings(written: str) -> Iterator[Decimal]:
    """The numbers that a spelling can mean: ``1,284`` is 1284 or 1.284, ``1,284.50`` is one."""
    plain = re.sub(r"[ '’]", "", written)
    marks = re.sub(r"[^.,]", "", plain)
    if not marks:
        yield Decimal(plain)
        return
    grouped = len(set(marks)) == 1 and _GROUPED.match(plain)
    if grouped:
        yield Decimal(re.sub(r"[.,]", "", plain))
    if not grouped or len(marks) == 1:
        whole, _, decimals = plain.rpartition(marks[-1])
        yield Decimal(f"{re.sub(r'[.,]', '', whole)}.{decimals}")


def is_date(value: str) -> bool:
    """Whether a value is an ISO 8601 date, as the readings of a date are compared."""
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _dates(parts: dict[str, str | None]) -> Iterator[date]:
    """The dates that a spelling can mean: day or month first, two-digit years of 1970-2069."""
    p = {key: value for key, value in parts.items() if value is not None}
    candidates: list[tuple[str, int, int]] = []
    if "y" in p:
        candidates = [(p["y"], int(p["m"]), int(p["d"]))]
    elif "i" in p:
        candidates = [(p["i"], int(p["j"]), int(p["k"]))]
    elif "a" in p:
        a, b = int(p["a"]), int(p["b"])
        candidates = [(p["c"], b, a), (p["c"], a, b)]
        if len(p["c"]) == 2:  # 18-10-19 can begin with the year
            candidates.append((p["a"], b, int(p["c"])))
    else:
        name, day, year = (p["n"], p["e"], p["f"]) if "n" in p else (p["o"], p["g"], p["h"])
        month = name[:3].lower()
        if month in _MONTHS:
            candidates = [(year, _MONTHS.index(month) + 1, int(day))]
    for year_text, month_number, day_number in candidates:
        year_number = int(year_text)
        if len(year_text) <= 2:
            year_number += 2000 if year_number < 70 else 1900
        try:
            yield date(year_number, month_number, day_number)
        except ValueError:
            continue
