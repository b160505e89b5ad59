"""Values in the one spelling that is compared: ISO dates, plain decimals, folded text."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from edgeslm.formats import text as texts
from edgeslm.formats.text import Fold
from edgeslm.tasks.extraction.readings.currencies import currencies
from edgeslm.tasks.extraction.readings.dates import read_date
from edgeslm.tasks.extraction.readings.numbers import read_number
from edgeslm.tasks.extraction.readings.times import Moment, moments

Kind = Literal["date", "amount", "number", "text"]

#: money as it is written: perhaps a sign and currency, and exactly two decimals
_TWO_DECIMALS = re.compile(r"[.,]\d{2}(?!\d)")
#: numbers of a larger magnitude keep the spelling they have
_MAX_DIGITS = 24
_CENT = Decimal("0.01")


def normal_date(text: str) -> str | None:
    """A date as YYYY-MM-DD, read day first where both are possible; None if it is no date."""
    day = read_date(text)
    return None if day is None else day.isoformat()


def normal_amount(text: str) -> str | None:
    """An amount with two decimals and no currency; None if it is no amount."""
    amount = read_number(text)
    return None if amount is None else _number(amount, "amount")


def kind_of(values: Iterable[Any]) -> Kind:
    """What most of a field's true values are; decides how the field is compared.

    Strings that all but ``date`` and money with two decimals are text, also where they are
    all digits: 01234 may be a postcode, and differs from 1234.
    """
    kinds = Counter(_kind(value) for value in values if value not in (None, ""))
    kind, count = kinds.most_common(1)[0] if kinds else ("text", 0)
    return kind if 2 * count > kinds.total() else "text"


def normal(value: Any, kind: Kind, fold: Fold = "case") -> str | None:
    """A leaf of an answer in the spelling that is compared; None if there is no value.

    What cannot be read as its kind stays folded text, and so equals only its like. What can
    mean several numbers or dates is taken for the likeliest.

    Two values that are equal under ``"none"`` are so under ``"case"``, and those under
    ``"punctuation"``; and what is no value is none under any. ``"punctuation"`` leaves of a field
    of texts letters and digits alone, if there are some. Under ``"none"`` a text equals only the
    same characters, dates and numbers in texts included; JSON has numbers and booleans apart.
    """
    spelled = _folded(value, kind)
    if spelled is None or fold == "case":
        return spelled
    if fold == "punctuation":
        return (texts.letters_and_digits(spelled) or spelled) if kind == "text" else spelled
    if isinstance(value, bool | int | float | Decimal):
        return spelled
    return json.dumps(_text(value), ensure_ascii=False)  # in quotes: "12" is not 12


class Value(NamedTuple):
    """A value as it is compared, with what it says beyond its normal spelling: a date its time of
    day, an amount its currency. What only one of two values says tells them not apart."""

    spelled: str
    moment: Moment | None = None
    currencies: frozenset[str] = frozenset()

    def is_like(self, other: Value) -> bool:
        """Whether both are the same, as far as both say something."""
        if self.spelled != other.spelled:
            return False
        if self.currencies and other.currencies and self.currencies.isdisjoint(other.currencies):
            return False
        if self.moment is None or other.moment is None:
            return True
        offsets = {self.moment.offset, other.moment.offset} - {None}
        return self.moment.clock == other.moment.clock and len(offsets) < 2


def compared(value: Any, kind: Kind, fold: Fold = "case") -> Value | None:
    """A leaf of an answer as it is compared with another; None if there is no value."""
    spelled = normal(value, kind, fold)
    if spelled is None:
        return None
    if kind == "date" and isinstance(value, str | dt.datetime):
        moment = next((one for said in moments(_text(value)) for one in said.readings), None)
        return Value(spelled, moment)
    if kind in ("amount", "number") and isinstance(value, str):
        return Value(spelled, currencies=currencies(value))
    return Value(spelled)


def count_alike(true: Iterable[Value], said: Iterable[Value]) -> int:
    """How many pairs there are of a true value and one that was said, those that say the same
    first; each value is in one pair."""
    left, other = Counter(true), Counter(said)
    same = left & other
    rest, unpaired = [*(left - same).elements()], [*(other - same).elements()]
    pairs = same.total()
    for value in rest:
        match = next((i for i, one in enumerate(unpaired) if value.is_like(one)), None)
        if match is not None:
            del unpaired[match]
            pairs += 1
    return pairs


def _folded(value: Any, kind: Kind) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return _number(value, kind)
    text = texts.fold(_text(value))
    if not text:
        return None
    readers = {"date": normal_date, "amount": normal_amount, "number": _read_number}
    return (readers[kind](text) if kind in readers else None) or text


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _read_number(text: str) -> str | None:
    number = read_number(text)
    return None if number is None else _number(number, "number")


def _number(value: float | Decimal, kind: Kind) -> str:
    number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        return str(value).lower()
    if kind == "amount" and number == number.quantize(_CENT):
        return str(number.quantize(_CENT) + 0)  # adding 0 makes a zero of -0
    return f"{number.normalize() + 0:f}"


def _kind(value: Any) -> Kind:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    text = value.strip() if isinstance(value, str) else ""
    if len(_TWO_DECIMALS.findall(text)) == 1 and read_number(text) is not None:
        return "amount"
    is_date = not text.isdigit() and normal_date(text) is not None
    return "date" if is_date else "text"
