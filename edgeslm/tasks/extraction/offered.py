"""What one text offers to an answer: its words, numbers, dates and times."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeVar

import jsonschema_rs

from edgeslm.formats.words import one_line, parts
from edgeslm.tasks.extraction.readings.dates import dates
from edgeslm.tasks.extraction.readings.numbers import numbers
from edgeslm.tasks.extraction.readings.times import Moment, moments

#: parts (words, numbers and marks) that a string with a pattern or format may have
MAX_PATTERN_PARTS: Final = 16

_json = json.JSONEncoder(ensure_ascii=False).encode


S = TypeVar("S")


class Offered:
    """What one text offers: its parts, numbers and dates.

    ``check`` is called while the text is searched, and may raise.
    """

    def __init__(self, text: str, check: Callable[[], object] = bool) -> None:
        check()
        self._text, self._check = text, check
        self.parts = parts(one_line(text))

    @cached_property
    def any_run(self) -> str:
        """The regular expression of all runs of parts, each as it stands in JSON."""
        parts = [_json(part)[1:-1] for part in self.parts]
        return f"%regex {_json({'substring_chunks': parts})}"

    def _searched(self, spelled: Iterable[S]) -> Iterator[S]:
        """What a search gives, with a check before each."""
        for one in spelled:
            self._check()
            yield one

    @cached_property
    def dates(self) -> list[str]:
        days = self._searched(dates(self._text))
        spellings = (day.isoformat() for spelled in days for day in spelled.readings)
        return list(dict.fromkeys(spellings))

    @cached_property
    def numbers(self) -> list[tuple[Decimal, str]]:
        """Each number with its spellings: the digits of the text, and without needless zeros."""
        by_spelling: dict[str, Decimal] = {}
        for spelled in self._searched(numbers(self._text)):
            for reading in spelled.readings:
                value = abs(reading) if reading == 0 else reading
                by_spelling[f"{value:f}"] = value
                by_spelling[_shortest(value)] = value
        return [(value, spelled) for spelled, value in by_spelling.items()]

    @cached_property
    def _moments(self) -> list[Moment]:
        spelled = self._searched(moments(self._text))
        return list(dict.fromkeys(moment for one in spelled for moment in one.readings))

    @cached_property
    def times(self) -> list[str]:
        """The times with their offsets; Z stands for one that the text does not say."""
        return list(dict.fromkeys(f"{clock}{offset or 'Z'}" for clock, offset in self._moments))

    @cached_property
    def whole_times(self) -> list[str]:
        """The times of which the text says the offset."""
        return [f"{clock}{offset}" for clock, offset in self._moments if offset is not None]

    def formatted(self, kind: str | None) -> list[str]:
        """The strings of a format that stand in the text in any spelling, all of each."""
        if kind == "date":
            return self.dates
        if kind == "time":
            return self.whole_times
        days = self.dates if kind == "date-time" else []
        return [f"{day}T{time}" for day in days for time in self.whole_times]

    def numbers_for(self, node: dict[str, Any]) -> Iterator[str]:
        """The numbers that a schema of numbers allows."""
        valid = jsonschema_rs.validator_for(node, validate_formats=True).is_valid
        for number, spelled in self.numbers:
            whole = "." not in spelled
            if (node["type"] == "number" or whole) and valid(int(spelled) if whole else number):
                yield spelled

    @cached_property
    def decimals(self) -> list[str]:
        """The numbers as strings, those of whole cents also with two decimals."""
        spellings = dict.fromkeys(spelled for _, spelled in self.numbers)
        for value, _ in self.numbers:
            if len(_shortest(value).partition(".")[2]) <= 2:
                spellings.setdefault(f"{value:.2f}")
        return list(spellings)

    @cached_property
    def patterned(self) -> list[str]:
        """What a string with a pattern may be: short runs, and numbers in plain decimals."""
        return list(dict.fromkeys([*self.short_runs, *(spelled for _, spelled in self.numbers)]))

    @cached_property
    def short_runs(self) -> list[str]:
        """Runs of at most MAX_PATTERN_PARTS parts that neither begin nor end with a space."""
        runs: dict[str, None] = {}
        for start, first in enumerate(self.parts):
            run = ""
            for part in self.parts[start : start + MAX_PATTERN_PARTS] if first != " " else ():
                run += part
                if part != " ":
                    runs[run] = None
        return list(runs)

    def has_run(self, low: int, high: int | None) -> bool:
        """Whether some run has so many characters, or may be empty."""
        if low == 0:
            return True
        for start, first in enumerate(self.parts):
            length = 0
            for part in self.parts[start:] if first != " " else ():
                length += len(part)
                if length >= low and part != " ":
                    if high is None or length <= high:
                        return True
                    break
        return False


def _shortest(value: Decimal) -> str:
    spelled = f"{value:f}"
    return spelled.rstrip("0").rstrip(".") if "." in spelled else spelled
