"""Numbers in any usual spelling: grouping, decimal marks, signs and currencies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from edgeslm.tasks.extraction.readings.written import TIED, Written, plain

#: how likely ``1,234`` is 1234 rather than 1.234, and ``1.234`` is 1.234 rather than 1234,
#: where no other number of the document says which mark begins its decimals
COMMA_GROUPS: Final = 0.8
POINT_IS_DECIMAL: Final = 0.6
#: the same where the document's other numbers agree on the mark
DECIDED: Final = 0.95
#: how likely ``2 125.00``, with a plain space, is one number rather than two of a table: more so
#: where decimals begin with a comma, by the document's decimal mark
SPACE_GROUPS: Final = {None: 0.5, ",": 0.8, ".": 0.3}
#: how likely money in brackets or with a minus behind it is negative; other numbers: the rest
BRACKETS_NEGATE: Final = 0.8
MINUS_BEHIND_NEGATES: Final = 0.9
#: how likely ``RM-12.50`` is negative: the mark can be a hyphen
HYPHEN_NEGATES: Final = 0.7
#: how likely a part of what reads as no number, such as 2 of ``1,2,3``, is one by itself
_OF_A_LIST: Final = 0.5
#: longer runs of digits are no numbers
_MAX_DIGITS: Final = 40

_CODES = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN"
    "|MYR|NOK|NZD|PEN|PHP|PLN|RM|RMB|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
    "|Fr|Ft|Kč|Rp|Rs|kr|zł|lei|руб|грн"
)
_MONEY = rf"(?:(?<![^\W\d_])(?:{_CODES})\.?|[A-Za-z]{{0,3}}\$)"
_SPACE = f"[ {TIED}]"
#: a run of digits with marks inside, perhaps in groups of three behind spaces
_RUN = re.compile(
    rf"(?<![\d.,'])\d{{1,3}}(?P<gap>{_SPACE})\d{{3}}(?:(?P=gap)\d{{3}})*(?:[.,]\d+)?(?!\d)"
    r"|(?:(?<![\w.,'])[.,])?\d+(?:[.,']\d+)*"
)
_BEFORE = re.compile(
    rf"(?P<open>\( ?)?(?P<minus>(?<!\w)-)?(?:(?P<money>{_MONEY}){_SPACE}?(?P<inner>-)?)?\Z"
)
_AFTER = re.compile(
    rf"(?P<whole>/-|[.,](?:--?|=))?(?P<minus>-(?![\w-]))?(?:{_SPACE}?{_MONEY})?(?P<close> ?\))?"
)
#: characters that a sign and a currency before a number take
_REACH = 12
#: letters that a scanner takes for digits, among digits: it looks like money and is not to be read
_SCANNED = re.compile(
    r"(?<![\w.,])(?=[\d.,]*[OoIl])(?=[OoIl.,]*\d)[\dOoIl]{1,9}(?:[.,][\dOoIl]{3})*[.,][\dOoIl]{2}(?!\w)"
)
#: what else looks like a number and is not to be read by its first digits: marks and invisible
#: characters that no number has between digits, powers of ten, fractions, thousands by a letter
_STRANGE = re.compile(
    r"(?<![\w.,])\d[\d.,']*(?:"
    r"(?:(?:[\u00ad\u200b-\u200f\u2060-\u2064\ufeff_·˙‧•]+|\.\.+|,,+|\$)\d[\d.,']*)+"
    r"|[eE][+-]?\d+(?!\w)"
    r"|[¼-¾⅐-⅞]"
    r"|[kKM](?!\w)"
    r"|[千万萬億亿]\d*"
    r")"
)

#: what may stand around the digits of a text that is one number
_WORD = rf"(?:[^\W\d_]{{1,4}}\.?|[^\W\d_]{{0,3}}\$){_SPACE}*"
_WHOLE_BEFORE = re.compile(rf"[-+( {TIED}]*(?:{_WORD})?[-+( {TIED}]*")
_WHOLE_AFTER = re.compile(
    rf"(?:/-|[.,](?:--?|=)?)?{_SPACE}*(?P<minus>-)?{_SPACE}*(?:{_WORD})?\)?{_SPACE}*(?:{_WORD})?"
)
#: characters of a text that can be one number as a whole
_LONGEST: Final = 80

#: how a run of digits can be spelled; ``point`` begins the decimals ``part``
_SPELLINGS = tuple(
    re.compile(spelling)
    for spelling in (
        r"(?P<whole>\d+)",
        r"(?P<whole>\d*)(?P<point>[.,])(?P<part>\d+)",
        rf"(?P<whole>[1-9]\d{{0,2}}(?:(?P<group>[.,' {TIED}])\d{{3}})(?:(?P=group)\d{{3}})*)"
        r"(?:(?!(?P=group))(?P<point>[.,])(?P<part>\d+))?",
        r"(?P<whole>[1-9]\d?(?P<group>,)(?:\d{2},)+\d{3})(?:(?P<point>\.)(?P<part>\d+))?",
        # the first group is too long, or a scanner took a comma for a point
        r"(?P<whole>\d+(?P<group>[.,'])\d{3}(?:(?P=group)\d{3})*)(?!(?P=group))(?P<point>[.,])(?P<part>\d+)",
        r"(?P<whole>[1-9]\d{0,2}(?P<group>[.,])\d{3}(?:(?P=group)\d{3})*)(?P<point>(?P=group))(?P<part>\d\d?)",
    )
)
_ONE_GROUP = re.compile(r"[1-9]\d{0,2}[.,]\d{3}\Z")


class _Run(NamedTuple):
    """A run of digits, what it is without its signs, and the signs around it."""

    start: int
    end: int
    readings: dict[Decimal, float]
    negative: float  # how likely it is


def numbers(text: str) -> Iterator[Written[Decimal]]:
    """The numbers of a text, each with what it can mean; first what a scanner misread.

    A run that can be several numbers, or reads as none, is followed by its parts.
    """
    marked = plain(text)
    point = _decimal_mark(marked)
    strange = (match.span() for kind in (_SCANNED, _STRANGE) for match in kind.finditer(marked))
    unread = sorted(set(strange))
    yield from (Written(start, end, {}) for start, end in unread)
    misread = {place for start, end in unread for place in range(start, end)}
    for match in _RUN.finditer(marked):
        if match.start() not in misread:
            yield from _written(marked, match, point)


def read_number(text: str) -> Decimal | None:
    """The likeliest meaning of a text that is one number, perhaps with a sign and a currency."""
    marked = plain(text).strip(f" {TIED}")
    match = _RUN.search(marked) if len(text) <= _LONGEST else None
    if match is None or _SCANNED.search(marked) or _STRANGE.search(marked):
        return None
    before = _WHOLE_BEFORE.fullmatch(marked, 0, match.start())
    after = _WHOLE_AFTER.fullmatch(marked, match.end())
    readings = _unsigned(match[0], None)
    if before is None or after is None or not readings:
        return None
    brackets = "(" in before[0] and ")" in after[0]
    value = max(readings, key=readings.__getitem__)
    return -value if "-" in before[0] or after["minus"] or brackets else value


def _written(marked: str, match: re.Match[str], point: str | None) -> Iterator[Written[Decimal]]:
    signed = _signed(marked, match, point)
    if signed.readings:
        yield signed
        if match["gap"] == " ":  # two numbers of a table?
            for part in re.finditer(r"[^ ]+", match[0]):
                yield _part(match.start(), part, 1 - SPACE_GROUPS[point], point)
        return
    if {".", ","} <= {*match[0]}:
        yield signed
    for part in re.finditer(r"\d+", match[0]):
        share = _OF_A_LIST if "," in match[0] else 1.0  # 1.2.3 is no list of decimals
        yield _part(match.start(), part, share, point)


def _part(start: int, part: re.Match[str], share: float, point: str | None) -> Written[Decimal]:
    readings = {value: share * own for value, own in _unsigned(part[0], point).items()}
    return Written(start + part.start(), start + part.end(), readings)


def _signed(marked: str, match: re.Match[str], point: str | None) -> Written[Decimal]:
    """A run with the signs around it; its place has those that make it negative."""
    start, end = match.span()
    before = _BEFORE.search(marked, max(0, start - _REACH), start)
    after = _AFTER.match(marked, end)
    assert before is not None and after is not None  # both may be empty
    unsigned = _unsigned(match[0], point)
    if match["gap"] == " " and unsigned:
        unsigned = {value: SPACE_GROUPS[point] * share for value, share in unsigned.items()}
    is_money = "," in match[0] or "." in match[0] or match["gap"] or before["money"]
    negative = 0.0
    if before["minus"] or (before["inner"] and "$" in before["money"]):
        negative = 1.0
        start = before.start("minus") if before["minus"] else before.start("inner")
    elif before["inner"]:
        negative = HYPHEN_NEGATES
    elif after["minus"] and not after["whole"]:
        negative = MINUS_BEHIND_NEGATES if is_money else 1 - MINUS_BEHIND_NEGATES
        end = after.end("minus") if is_money else end
    elif before["open"] and after["close"]:
        negative = BRACKETS_NEGATE if is_money else 1 - BRACKETS_NEGATE
    readings: dict[Decimal, float] = {}
    for value, share in unsigned.items():
        for meant, likely in ((-value, negative), (value, 1 - negative)):
            if likely and share * likely > readings.get(meant, 0):
                readings[meant] = share * likely
    ordered = sorted(readings.items(), key=lambda item: -item[1])
    return Written(start, end, dict(ordered))


def _unsigned(run: str, point: str | None) -> dict[Decimal, float]:
    """What a run of digits and marks can mean; ``point`` is the document's decimal mark."""
    if len(run) > 2 * _MAX_DIGITS or sum(map(str.isdigit, run)) > _MAX_DIGITS:
        return {}
    found: dict[Decimal, float] = {}
    for spelling in _SPELLINGS:
        match = spelling.fullmatch(run)
        if match is not None:
            parts = match.groupdict()
            whole = re.sub(r"\D", "", parts["whole"])
            value = Decimal(f"{whole or 0}.{parts['part']}" if parts.get("part") else whole)
            found.setdefault(value, 1.0)
    if _ONE_GROUP.match(run) is None:
        return dict([next(iter(found.items()))]) if found else {}
    decimal, grouped = found
    is_point = "." in run
    if point is not None:
        likely = grouped if (point == ".") != is_point else decimal
        return {likely: DECIDED}
    share = POINT_IS_DECIMAL if is_point else 1 - COMMA_GROUPS
    ordered = sorted(((decimal, share), (grouped, 1 - share)), key=lambda item: -item[1])
    return dict(ordered)


def _decimal_mark(marked: str) -> str | None:
    """The mark of decimals, where all numbers that show it agree; dates show none."""
    seen = set()
    for match in _RUN.finditer(marked):
        run = match[0]
        marks = [character for character in run if character in ".,"]
        if not marks or _ONE_GROUP.match(run):
            continue
        if len(marks) == 1 or (len(set(marks)) == 2 and marks.count(marks[-1]) == 1):
            seen.add(marks[-1])
        elif len(set(marks)) == 1 and re.fullmatch(r"[1-9]\d{0,2}([.,]\d{3}){2,}", run):
            seen.add("," if marks[0] == "." else ".")
    return seen.pop() if len(seen) == 1 else None
