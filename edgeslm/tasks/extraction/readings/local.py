"""Amounts as one language writes them: Swedish colons, Chinese and Japanese numerals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from edgeslm.tasks.extraction.readings.written import TIED

#: the span of an amount without its currency, and its value
Amount = tuple[tuple[int, int], Decimal]

_SPACE = f"[ {TIED}]"
_KRONA = re.compile(r"(?<![^\W\d_])(?:kr|kronor|SEK)(?![^\W\d_])", re.IGNORECASE)
#: hours of a day look the same without their currency
_COLON = rf"(?:\d{{1,3}}(?:[ .{TIED}]\d{{3}}){{1,4}}|\d{{1,9}}):\d\d"
#: the currency of another number is none of this one: 100 kr 12:50, 12:50 kr 100
_KRONOR = re.compile(
    rf"(?<!\d)(?<!\d{_SPACE}){_KRONA.pattern}\.?{_SPACE}?(?P<behind>{_COLON})(?![\w:]|[.,]\d)"
    rf"|(?<![\w.,:])(?P<before>{_COLON}){_SPACE}?{_KRONA.pattern}(?!\.?{_SPACE}?\d)",
    re.IGNORECASE,
)

#: digits and their factors, with those of cheques and bills
_DIGITS: Final = {
    **dict(zip("〇一二三四五六七八九", range(10), strict=True)),
    **dict(zip("零壹贰叁肆伍陆柒捌玖", range(10), strict=True)),
    **dict(zip("壱弐参貳參陸兩两", (1, 2, 3, 2, 3, 6, 2, 2), strict=True)),
}
_TENS: Final = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS: Final = {"万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8}
_NUMERALS = "".join([*_DIGITS, *_TENS, *_MYRIADS])
#: not 千元, which is a unit, nor 数千円, which is several
_CJK = re.compile(
    rf"(?<![\d{_NUMERALS}数數几幾何])(?=[{_NUMERALS}]*[{''.join(_DIGITS)}])"
    rf"(?P<number>[{_NUMERALS}]{{2,20}}){_SPACE}?(?=[円圓圆元块塊])"
)


def local_amounts(marked: str) -> Iterator[Amount]:
    """The amounts of a text that stand beside their currency."""
    if ":" in marked and _KRONA.search(marked):
        for match in _KRONOR.finditer(marked):
            part = "behind" if match["behind"] else "before"
            whole, _, decimals = match[part].rpartition(":")
            yield match.span(part), Decimal(re.sub(r"\D", "", whole) + "." + decimals)
    if not marked.isascii():
        for match in _CJK.finditer(marked):
            value = _cjk_value(match["number"])
            if value is not None:
                yield match.span("number"), Decimal(value)


def _cjk_value(written: str) -> int | None:
    """``三万五千`` and, digit by digit, ``三五〇``; None where factors do not fall."""
    if all(character in _DIGITS for character in written):
        return int("".join(str(_DIGITS[character]) for character in written))
    whole = section = digit = 0
    last_ten, last_myriad = 10**4, 10**12
    for character in written:
        if character in _DIGITS:
            if digit:
                return None
            digit = _DIGITS[character]
        elif character in _TENS:
            factor = _TENS[character]
            if factor >= last_ten:
                return None
            section, digit, last_ten = section + (digit or 1) * factor, 0, factor
        else:
            factor = _MYRIADS[character]
            if factor >= last_myriad or not section + digit:
                return None
            whole += (section + digit) * factor
            section, digit, last_ten, last_myriad = 0, 0, 10**4, factor
    return whole + section + digit
