"""From a row of a file to input and answer: dotted paths, the input template, normal spellings."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from converters.errors import RecipeError
from converters.recipe.data import AnswerField

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")

_YEAR_FIRST = ("%Y %m %d", "%Y%m%d", "%Y %b %d", "%Y %B %d")
_DAY_FIRST = ("%d %m %Y", "%d %m %y", "%d%m%Y")
_MONTH_FIRST = ("%m %d %Y", "%m %d %y", "%m%d%Y")
_NAMED_MONTH = tuple(
    f"{order} {year}" for order in ("%d %b", "%d %B", "%b %d", "%B %d") for year in ("%Y", "%y")
)
_TIME = re.compile(
    r"[T ]\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AP]M)?( ?Z|[+-]\d\d:?\d\d)?$", re.IGNORECASE
)

# a sign and a currency in either order, digits, then perhaps a currency or a sign
_AMOUNT = re.compile(
    r"(?P<before>[-+]?)\s*(?:[^\W\d_]{1,3}|\w{0,2}\$|[€£¥₹])?\s*(?P<after>[-+]?)\s*"
    r"(?P<digits>\d[\d.,]*|\.\d+)\s*(?:[^\W\d_]{1,3}|[$€£¥₹])?\s*(?P<last>-?)"
)
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?|\d+(\.\d*)?|\.\d+")
_DECIMAL_COMMA = re.compile(r"\d{1,3}(\.\d{3})+,\d{1,2}|\d+,\d{1,2}")


def lookup(values: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path (``key.company``, ``lines.0.text``), None if there is none.

    A name that has dots itself, such as a CSV column, is found first.
    """
    if path in values:
        return values[path]
    found: Any = values
    for step in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


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
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{path} is {'empty' if value in (None, '') else 'no text'}")


# --- normal spellings ---------------------------------------------------------


def normalise(value: Any, field: AnswerField) -> Any:
    """A value in the one spelling that the model learns; None for none.

    Raises:
        ValueError: it is no date, amount or text.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
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
    """A whole date as YYYY-MM-DD; a time of day after it is dropped.

    03/04/2018 is read by ``day_first``. A date that this order cannot mean, such as
    12/25/2018, is read in the other. Spelled formats are tried in turn: dateutil would fill in
    what is missing from today's date and reads 2018-03-04 as April where days come first.

    Raises:
        ValueError: it is no date with day, month and year.
    """
    words = re.sub(r"[-/.,()']", " ", _TIME.sub("", text.strip("() ")))
    words = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", words, flags=re.IGNORECASE)
    words = re.sub(r"\bsept\b", "sep", words, flags=re.IGNORECASE)
    words = " ".join(words.split())
    numeric = _DAY_FIRST + _MONTH_FIRST if day_first else _MONTH_FIRST + _DAY_FIRST
    for spelled in (*_YEAR_FIRST, *numeric, *_NAMED_MONTH):
        try:
            return dt.datetime.strptime(words, spelled).date().isoformat()
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no date with day, month and year")


def normal_amount(text: str) -> str:
    """An amount without currency and thousands separators, with two decimals.

    A comma before one or two last digits is a decimal comma.

    Raises:
        ValueError: it is no amount, or has more than two decimals.
    """
    negative = text.startswith("(") and text.endswith(")")
    match = _AMOUNT.fullmatch(text[1:-1] if negative else text)
    if match is None:
        raise ValueError(f"{text!r} is no amount")
    digits = match["digits"].rstrip(".")
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _DECIMAL_COMMA.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    else:
        raise ValueError(f"{text!r} is no amount")
    signs = match["before"] + match["after"] + match["last"]
    return _two_places(text, digits, negative=negative or "-" in signs)


def _two_places(text: str, digits: str, *, negative: bool) -> str:
    try:
        exact = Decimal(digits)
        amount = exact.quantize(Decimal("0.01"))
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no amount") from error
    if amount != exact:
        raise ValueError(f"{text!r} has more than two decimals")
    return f"{-amount if negative and amount else amount}"
