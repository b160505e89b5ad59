"""Numbers in any usual spelling: grouping, decimal marks, signs and currencies."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from edgeslm.tasks.extraction.readings.currencies import DOLLARS, IN_TEXT, MAGNITUDES, NAMES
from edgeslm.tasks.extraction.readings.dates import read_date
from edgeslm.tasks.extraction.readings.local import local_amounts
from edgeslm.tasks.extraction.readings.strange import unreadable
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
#: how likely a minus with a space behind it negates: behind ``:``, ``=``, a bracket or a column;
#: and of money at the beginning of a line, where it may be a bullet. Elsewhere it is a dash
SPACED_MINUS_NEGATES: Final = 0.9
LEADING_MINUS_NEGATES: Final = 0.6
#: the same of the word; between two numbers it subtracts
MINUS_WORD_NEGATES: Final = 0.9
#: how likely money of a side of a ledger, ``CR`` or ``DR``, is negative: the side says which way
#: it went, but whose ledger it is decides what that means, so the number is taken as written
SIDE_NEGATES: Final = 0.3
#: how likely ``12 DM 50`` is 12.50 rather than 12 and 50; ``12€50`` is
CURRENCY_IS_POINT: Final = 0.6
#: how likely ``kr 12:50`` is 12.50 rather than two numbers, and numerals before 円 are an amount
LOCAL_AMOUNT: Final = 0.9
#: how likely ``1/2`` is a half rather than 1 of 2, and 1 and 2 are numbers by themselves
FRACTION: Final = 0.5
#: how likely ``1.5 million`` is 1500000 rather than 1.5 of something
MAGNITUDE_COUNTS: Final = 0.6
#: how likely a part of what reads as no number, such as 2 of ``1,2,3``, is one by itself
_OF_A_LIST: Final = 0.5
#: longer runs of digits cannot be read
_MAX_DIGITS: Final = 40

_MONEY = rf"(?:(?<![^\W\d_])(?:{IN_TEXT})\.?|[A-Za-z]{{0,3}}\$)"
_SPACE = f"[ {TIED}]"
#: a run of digits with marks inside, perhaps in groups of three behind spaces
_RUN = re.compile(
    rf"(?<![\d.,'])\d{{1,3}}(?P<gap>{_SPACE})\d{{3}}(?:(?P=gap)\d{{3}})*(?:[.,]\d+)?(?!\d)"
    r"|(?:(?<![\w.,'])[.,])?\d+(?:[.,']\d+)*"
)
_BEFORE = re.compile(
    rf"(?P<open>\( ?)?"
    rf"(?:(?P<minus>(?<!\w)-)|(?P<spaced>(?<!\w)-{_SPACE})|(?P<word>(?<!\w)(?i:minus|negative){_SPACE}))?"
    rf"(?:(?P<money>{_MONEY}){_SPACE}?(?P<inner>-{_SPACE}?)?)?\Z"
)
_AFTER = re.compile(
    rf"(?P<whole>/-|[.,](?:--?|=))?(?P<minus>-(?![\w-]))?(?P<money>{_SPACE}?{_MONEY})?"
    # a minus behind the currency, which is neither a hyphen nor the dash of a range
    rf"(?P<beyond>(?(money)(?:-(?![\w-]|{_SPACE}?(?:[\d$(]|{_MONEY}))"
    rf"|{_SPACE}-(?=[ {TIED}]*(?:[\r\n;|)]|\Z)))))?"
    rf"(?:{_SPACE}?(?P<side>[CD]R)(?!\w))?(?P<close> ?\))?"
)
#: characters that a sign and a currency before a number take
_REACH = 20
#: what stands before a minus that belongs to the number behind it, not to what is before; ``:-``
#: is a dash
_OPENERS = tuple(":=([|;\t")
_NUMBER_BEFORE = re.compile(rf"\d[.,]?(?:{_SPACE}?{_MONEY})?\Z")
#: spaces that set off a column
_COLUMN = 3
#: money whose currency begins the decimals
_BY_CURRENCY = re.compile(
    rf"(?<![\w.,'$])(?P<whole>\d{{1,3}}(?:[.,'{TIED}]\d{{3}})+|\d{{1,15}})"
    rf"(?P<gap>{_SPACE}?)(?:(?:{IN_TEXT})\.?|(?:US|HK|NT|[ACRS])?\$)(?P=gap)(?P<part>\d\d)"
    rf"(?![\w$]|[.,'/-]\d|{_SPACE}?{_MONEY})"
)
_FRACTION = re.compile(
    r"(?<![\d/.,'])(?:(?P<whole>\d{1,3}) )?(?P<over>\d{1,3})/(?P<under>\d{1,3})(?![\d/]|[.,']\d)"
)
#: hours and minutes, which times of day are read from
_HOURS = re.compile(rf"(?<![\w.,:])\d{{1,2}}{_SPACE}?h{_SPACE}?\d\d(?!\w|[.,:]\d)")
_MAGNITUDE = re.compile(
    rf"(?<![\w.,'])(?P<number>\d{{1,12}}(?:[.,']\d{{1,6}}){{0,3}}){_SPACE}?"
    rf"(?P<word>{'|'.join(sorted(MAGNITUDES, key=len, reverse=True))})(?!\w)",
    re.IGNORECASE,
)
#: the lower parts of fractions that have decimals and are in use; 10/25 is no 0.4
_UNDERS: Final = frozenset({2, 4, 5, 8, 10, 16, 32, 64})
#: decimals of hundredths, or a time of day that does not say so
_BROKEN = re.compile(r"\d+\.\d\d\.\d\d\Z")
_HALF_OF_DAY = re.compile(rf"{_SPACE}?[AP]\.?M\b", re.IGNORECASE)

#: what may stand around the digits of a text that is one number, where ``name`` is a currency
_WORD = rf"(?:(?P<{{}}>[^\W\d_]{{{{1,12}}}})?(?P<{{}}>\$|\.)?{_SPACE}*)"
_WHOLE_BEFORE = re.compile(
    rf"[-+( {TIED}]*(?:(?P<minus>minus|negative){_SPACE}+)?"
    rf"{_WORD.format('name', 'sign')}[-+( {TIED}]*",
    re.IGNORECASE,
)
_WHOLE_AFTER = re.compile(
    rf"(?:/-|[.,](?:--?|=)?)?{_SPACE}*(?P<minus>-)?{_SPACE}*{_WORD.format('name', 'sign')}"
    rf"(?P<beyond>-)?\)?{_SPACE}*{_WORD.format('outer', 'mark')}",
    re.IGNORECASE,
)
#: words that leave a text one number
_BESIDE: Final = NAMES | {"cr", "dr"}
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


def numbers(text: str) -> Iterator[Written[Decimal]]:
    """The numbers of a text, each with what it can mean; first what cannot be read.

    A run that can be several numbers, or reads as none, is followed by its parts.
    """
    marked = plain(text)
    point = _decimal_mark(marked)
    money = list(_by_currency(marked))
    read = _places(one.span for one in money)
    unread = sorted(span for span in unreadable(marked) if span[0] not in read)
    yield from (Written(start, end, {}) for start, end in unread)
    misread = _places(unread)
    several = (*_parted(marked), *_multiplied(marked, point))
    parted = (one for one in several if misread.isdisjoint(range(*one.span)))
    joined = sorted((*money, *parted), key=lambda one: one.span)
    left = _without(marked, [*unread, *(one.span for one in joined)])
    runs = (written for match in _RUN.finditer(left) for written in _written(marked, match, point))
    wholes = (written for one in joined for written in _joined(marked, one, point))
    yield from heapq.merge(wholes, runs, key=lambda written: written.start)


def _places(spans: Iterable[tuple[int, int]]) -> set[int]:
    return {place for span in spans for place in range(*span)}


def _without(marked: str, spans: list[tuple[int, int]]) -> str:
    """A text with something that is no number in these places."""
    kept = list(marked) if spans else []
    for start, end in spans:
        kept[start:end] = "\0" * (end - start)
    return "".join(kept) or marked


def read_number(text: str) -> Decimal | None:
    """The likeliest meaning of a text that is one number, perhaps with a sign and a currency.

    Other words beside it, such as units and magnitudes, make it another thing than this number.
    """
    if len(text) > _LONGEST:
        return None
    marked = plain(text).strip(f" {TIED}")
    joined = next(_by_currency(marked), None)
    run = _RUN.search(marked)
    if joined is not None:
        (start, end), readings = joined.span, joined.readings
    elif run is None or unreadable(marked):
        return None
    else:
        (start, end), readings = run.span(), _unsigned(run[0], None)
    before = _WHOLE_BEFORE.fullmatch(marked, 0, start)
    after = _WHOLE_AFTER.fullmatch(marked, end)
    if before is None or after is None or not readings:
        return None
    if not (_is_currency(before["name"], before["sign"]) and _are_currencies(after)):
        return None
    brackets = "(" in before[0] and ")" in after[0]
    value = max(readings, key=readings.__getitem__)
    negative = before["minus"] or "-" in before[0] or after["minus"] or after["beyond"] or brackets
    return value.copy_negate() if negative else value


def _are_currencies(after: re.Match[str]) -> bool:
    names = (("name", "sign"), ("outer", "mark"))
    return all(_is_currency(after[name], after[sign]) for name, sign in names)


def _is_currency(name: str | None, sign: str | None) -> bool:
    """Whether a word and the sign behind it are a currency, or nothing."""
    if name is None:
        return sign != "."
    return name.casefold() in (DOLLARS if sign == "$" else _BESIDE)


class _Joined(NamedTuple):
    """Numbers that are one, by what stands between them: ``12€50``, ``1/2``, ``12 h 50``; ``parts``
    is how likely they are several."""

    span: tuple[int, int]
    readings: dict[Decimal, float]
    parts: float
    is_money: bool


def _by_currency(marked: str) -> Iterator[_Joined]:
    for match in _BY_CURRENCY.finditer(marked):
        before = _BEFORE.search(marked, max(0, match.start() - _REACH), match.start())
        if before is not None and before["money"]:
            continue  # RM 12 RM 50: two amounts
        value = Decimal(re.sub(r"\D", "", match["whole"]) + "." + match["part"])
        likely = CURRENCY_IS_POINT if match["gap"] else 1.0
        yield _Joined(match.span(), {value: likely}, 1 - likely, is_money=True)
    for span, value in local_amounts(marked):
        yield _Joined(span, {value: LOCAL_AMOUNT}, 1 - LOCAL_AMOUNT, is_money=True)


def _parted(marked: str) -> Iterator[_Joined]:
    """Fractions, and hours with their minutes."""
    for match in _FRACTION.finditer(marked):
        over, under = int(match["over"]), int(match["under"])
        start, readings = match.start("over"), {}
        if 0 < over < under and under in _UNDERS:
            start = match.start()
            readings = {int(match["whole"] or 0) + Decimal(over) / under: FRACTION}
        yield _Joined((start, match.end()), readings, 1 - FRACTION, is_money=False)
    for match in _HOURS.finditer(marked):
        yield _Joined(match.span(), {}, _OF_A_LIST, is_money=False)


def _multiplied(marked: str, point: str | None) -> Iterator[_Joined]:
    """Numbers with a magnitude behind them."""
    for match in _MAGNITUDE.finditer(marked):
        factor = MAGNITUDES[match["word"].casefold()]
        read = _unsigned(match["number"], point)
        likely = {value * factor: MAGNITUDE_COUNTS * share for value, share in read.items()}
        if likely:
            yield _Joined(match.span(), likely, 1 - MAGNITUDE_COUNTS, is_money=True)


def _joined(marked: str, one: _Joined, point: str | None) -> Iterator[Written[Decimal]]:
    start, end = one.span
    if one.readings:
        yield _with_sign(marked, start, end, one.readings, is_money=one.is_money)
    if one.parts:
        for part in re.finditer(rf"\d[\d.,'{TIED}]*", marked[start:end]):
            yield _part(start, part, one.parts, point)


def _written(marked: str, match: re.Match[str], point: str | None) -> Iterator[Written[Decimal]]:
    run = match[0]
    if sum(map(str.isdigit, run)) > _MAX_DIGITS:
        yield Written(*match.span(), {})
        return
    signed = _signed(marked, match, point)
    if signed.readings:
        yield signed
        if match["gap"] == " ":  # two numbers of a table?
            for part in re.finditer(r"[^ ]+", run):
                yield _part(match.start(), part, 1 - SPACE_GROUPS[point], point)
        return
    broken = (
        _BROKEN.match(run) is not None
        and read_date(run) is None
        and _HALF_OF_DAY.match(marked, match.end()) is None
    )
    if broken or {".", ","} <= {*run}:
        yield signed
    for part in re.finditer(r"\d+", run):
        share = _OF_A_LIST if broken or "," in run else 1.0  # 1.2.3 is no list of decimals
        yield _part(match.start(), part, share, point)


def _part(start: int, part: re.Match[str], share: float, point: str | None) -> Written[Decimal]:
    readings = {value: share * own for value, own in _unsigned(part[0], point).items()}
    return Written(start + part.start(), start + part.end(), readings)


def _signed(marked: str, match: re.Match[str], point: str | None) -> Written[Decimal]:
    """A run with the signs around it."""
    unsigned = _unsigned(match[0], point)
    if match["gap"] == " " and unsigned:
        unsigned = {value: SPACE_GROUPS[point] * share for value, share in unsigned.items()}
    is_money = "," in match[0] or "." in match[0] or match["gap"] is not None
    return _with_sign(marked, *match.span(), unsigned, is_money=is_money)


def _with_sign(
    marked: str, start: int, end: int, unsigned: dict[Decimal, float], *, is_money: bool
) -> Written[Decimal]:
    """Readings with the signs around them; the place has those that make them negative."""
    before = _BEFORE.search(marked, max(0, start - _REACH), start)
    after = _AFTER.match(marked, end)
    assert before is not None and after is not None  # both may be empty
    sign, negative = _sign_before(marked, before, is_money or bool(after["money"]))
    if negative:
        start = start if negative == HYPHEN_NEGATES else before.start(sign)
    else:
        is_money = is_money or bool(before["money"])
        negative = _sign_around(before, after, is_money)
        end = after.end("minus") if after["minus"] and is_money and not after["whole"] else end
    readings: dict[Decimal, float] = {}
    for value, share in unsigned.items():
        # copied, for arithmetic rounds what has more than 28 digits
        for meant, likely in ((value.copy_negate(), negative), (value, 1 - negative)):
            if likely and share * likely > readings.get(meant, 0):
                readings[meant] = share * likely
    ordered = sorted(readings.items(), key=lambda item: -item[1])
    return Written(start, end, dict(ordered))


def _sign_before(marked: str, before: re.Match[str], is_money: bool) -> tuple[str, float]:
    """The sign before a number, and how likely it negates."""
    if before["minus"]:
        return "minus", 1.0
    if before["inner"] == "-":
        return "inner", 1.0 if "$" in before["money"] else HYPHEN_NEGATES
    sign = next((name for name in ("spaced", "word", "inner") if before[name]), None)
    if sign is None:
        return "", 0.0
    at = before.start("money" if sign == "inner" else sign)
    line = re.split(r"[\r\n]", marked[max(0, at - _REACH) : at])[-1]
    bare = line.rstrip(f" {TIED}")
    likely = {"spaced": 0.0, "word": MINUS_WORD_NEGATES, "inner": HYPHEN_NEGATES}[sign]
    if _NUMBER_BEFORE.search(bare):  # a range, or a subtraction
        likely = 0.0
    elif sign == "spaced" and bare.endswith(_OPENERS) and not line.endswith(":"):
        likely = SPACED_MINUS_NEGATES
    elif sign == "spaced" and (not bare or len(line) - len(bare) >= _COLUMN):
        likely = LEADING_MINUS_NEGATES if is_money or before["money"] else 0.0
    return sign, likely


def _sign_around(before: re.Match[str], after: re.Match[str], is_money: bool) -> float:
    """How likely brackets, a minus behind a number or a side of a ledger negate it."""
    if after["minus"] and not after["whole"]:
        return MINUS_BEHIND_NEGATES if is_money else 1 - MINUS_BEHIND_NEGATES
    if after["beyond"]:
        return MINUS_BEHIND_NEGATES
    if before["open"] and after["close"]:
        return BRACKETS_NEGATE if is_money else 1 - BRACKETS_NEGATE
    return SIDE_NEGATES if after["side"] and is_money else 0.0


def _unsigned(run: str, point: str | None) -> dict[Decimal, float]:
    """What a run of digits and marks can mean; ``point`` is the document's decimal mark."""
    if len(run) > 2 * _MAX_DIGITS or sum(map(str.isdigit, run)) > _MAX_DIGITS:
        return {}
    readings: dict[Decimal, float] = {}
    for spelling in _SPELLINGS:
        match = spelling.fullmatch(run)
        if match is not None:
            parts = match.groupdict()
            whole = re.sub(r"\D", "", parts["whole"])
            value = Decimal(f"{whole or 0}.{parts['part']}" if parts.get("part") else whole)
            readings.setdefault(value, 1.0)
    if _ONE_GROUP.match(run) is None:
        return dict([next(iter(readings.items()))]) if readings else {}
    decimal, grouped = readings
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
