"""Values in the one spelling that is compared: ISO dates, plain decimals, folded text."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Kind = Literal["date", "amount", "number", "text"]

_DATE_FORMATS = (
    "%d %m %Y",
    "%d %m %y",
    "%Y %m %d",
    "%Y%m%d",
    "%d %b %Y",
    "%d %b %y",
    "%d %B %Y",
    "%b %d %Y",
    "%B %d %Y",
    "%m %d %Y",  # only reached by dates that day first cannot mean
    "%m %d %y",
)
#: "30 September 2018" and a little; month names of other languages may be longer
_LONGEST_DATE = 30
#: money as it is written: an optional sign and currency, and exactly two decimals
_AMOUNT = re.compile(r"[^\d\s]{0,4}\s?-?\d{1,3}(?:,?\d{3})*\.\d{2}\s?[^\d\s]{0,4}")
#: numbers of a larger magnitude keep the spelling they have
_MAX_DIGITS = 24
_CENT = Decimal("0.01")


def normal_date(text: str) -> str | None:
    """A date as YYYY-MM-DD, read day first where both are possible; None if it is no date."""
    words = " ".join(re.sub(r"[-/.,()]", " ", text).split())
    if len(words) > _LONGEST_DATE or not any(c.isdigit() for c in words):
        return None  # most texts, which need not be tried in every format
    for spelled in _DATE_FORMATS:
        try:
            return dt.datetime.strptime(words, spelled).date().isoformat()
        except ValueError:
            continue
    return None


def normal_amount(text: str) -> str | None:
    """An amount with two decimals and no currency; None if it is no amount."""
    digits = re.sub(r"[^0-9.\-]", "", text).strip(".")
    try:
        return str(Decimal(digits).quantize(_CENT))
    except InvalidOperation:
        return None


def fold(text: str) -> str:
    """Text without case, each run of white space as one space."""
    return " ".join(text.casefold().split())


def kind_of(values: Iterable[Any]) -> Kind:
    """What most of a field's true values are; decides how the field is compared.

    Strings that all but ``date`` and money with two decimals are text, also where they are
    all digits: 01234 may be a postcode, and differs from 1234.
    """
    kinds = Counter(_kind(value) for value in values if value not in (None, ""))
    kind, count = kinds.most_common(1)[0] if kinds else ("text", 0)
    return kind if 2 * count > kinds.total() else "text"


def normal(value: Any, kind: Kind) -> str | None:
    """A leaf of an answer in the spelling that is compared; None if there is no value.

    What cannot be read as its kind stays folded text, and so equals only its like.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return _number(value, kind)
    text = value.isoformat() if isinstance(value, dt.date) else fold(str(value))
    if not text:
        return None
    readers = {"date": normal_date, "amount": normal_amount, "number": _read_number}
    return (readers[kind](text) if kind in readers else None) or text


def _read_number(text: str) -> str | None:
    try:
        return _number(Decimal(text.replace(",", "")), "number")
    except InvalidOperation:
        return None


def _number(value: float | Decimal, kind: Kind) -> str:
    number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        return str(value)
    if kind == "amount":
        return str(number.quantize(_CENT))
    return f"{number.normalize() + 0:f}"  # adding 0 makes a zero of -0


def _kind(value: Any) -> Kind:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    text = value.strip() if isinstance(value, str) else ""
    if _AMOUNT.fullmatch(text):
        return "amount"
    is_date = not text.isdigit() and normal_date(text) is not None
    return "date" if is_date else "text"
