"""From a row of a file to input and answer: dotted paths, the input template, normal spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from converters.errors import RecipeError
from converters.recipe.data import AnswerField
from edgeslm.formats.text import is_blank
from edgeslm.tasks.extraction.readings.dates import read_date
from edgeslm.tasks.extraction.readings.numbers import read_number

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def lookup(values: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path (``key.company``, ``lines.0.text``), None if there is none.

    A name that has dots itself, such as a CSV column, is found first.
    """
    if path in values:
        return values[path]
    value: Any = values
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


# --- the input template -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Template:
    """``{text}, {amount}`` as (literal before, dotted path) pairs and what follows the last."""

    pieces: tuple[tuple[str, str], ...]
    tail: str

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template.

        Raises:
            RecipeError: it has no placeholder, or a brace that belongs to none.
        """
        *pairs, tail = _PLACEHOLDER.split(text)
        pieces = tuple(zip(pairs[::2], pairs[1::2], strict=True))
        if not pieces or any("{" in part or "}" in part for part in (*pairs, tail)):
            raise RecipeError(
                f"data.input: {text!r} must hold placeholders such as {{text}}, and no other braces"
            )
        return cls(pieces, tail)

    def fill(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """One part for each placeholder; joined they are the input.

        Literal text belongs to the part that follows it, the tail to the last one.

        Raises:
            ValueError: a placeholder has no value, or one that is not text or a number.
        """
        parts = [before + _plain(lookup(values, path), path) for before, path in self.pieces]
        parts[-1] += self.tail
        return tuple(parts)


def _plain(value: Any, path: str) -> str:
    if isinstance(value, str) and not is_blank(value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    is_empty = value is None or (isinstance(value, str) and is_blank(value))
    raise ValueError(f"{path} is {'empty' if is_empty else 'no text'}")


# --- normal spellings ---------------------------------------------------------


def normalise(value: Any, field: AnswerField) -> Any:
    """A value in the one spelling that the model learns; None for none.

    Raises:
        ValueError: it is not a date, amount or text.
    """
    if value is None or (isinstance(value, str) and is_blank(value)):
        return None
    if field.as_ == "value":
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not text")
    text = " ".join(str(value).split())
    if field.as_ == "date":
        return normal_date(text, day_first=field.day_first)
    if field.as_ == "amount":
        return normal_amount(text)
    return text


@lru_cache(maxsize=4096)
def normal_date(text: str, *, day_first: bool) -> str:
    """A whole date as YYYY-MM-DD; a time of day and a day of the week beside it are dropped.

    03/04/2018 is read by ``day_first``. A date that this order cannot mean, such as
    12/25/2018, is read in the other.

    Raises:
        ValueError: it is not a date with day, month and year.
    """
    day = read_date(text, day_first=day_first)
    if day is None:
        raise ValueError(f"{text!r} is not a date with day, month and year")
    return day.isoformat()


def normal_amount(text: str) -> str:
    """An amount without currency and grouping, with two decimals.

    Raises:
        ValueError: it is not an amount, or has more than two decimals.
    """
    exact = read_number(text)
    if exact is None:
        raise ValueError(f"{text!r} is not an amount")
    try:
        amount = exact.quantize(Decimal("0.01"))
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not an amount") from error
    if amount != exact:
        raise ValueError(f"{text!r} has more than two decimals")
    return f"{amount or abs(amount)}"
