"""Dates in any usual spelling: any order, months by name, CJK, two-digit years."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Final, Literal, NamedTuple

from edgeslm.tasks.extraction.readings.names import WEEKDAYS, folded_name, month_of
from edgeslm.tasks.extraction.readings.written import TIED, Written, plain, shown

#: what a date of three plain numbers begins with; ``short``: ``DEC 12 23``, whose year can be
#: another number
Order = Literal["day", "month", "year", "short"]

#: two-digit years are those of 1970 to 2069
FIRST_SHORT_YEAR: Final = 1970
#: other years are those of another calendar, or numbers of another kind; and where all is numbers
#: and the year comes last, as in ``12 - 20/1000``, earlier ones are
FIRST_YEAR: Final = 1000
LAST_YEAR: Final = 2199
_FIRST_YEAR_BEHIND: Final = 1700
#: how likely each order is, where no other date of the document shows its own
ORDERS: Final[dict[Order, float]] = {"day": 0.6, "month": 0.3, "year": 0.1}
#: how likely ``DEC 12 23``, without a comma, is a day of 2023
SHORT_YEAR_BEHIND: Final = 0.7
#: how likely the order is that the document's other dates have
DECIDED: Final = 0.95

_GAP = rf"[ {TIED}]"
#: marks of dates with all digits of the year and no spaces
_RARE_MARKS = r"\\_·"
#: the same mark between all numbers: in ``REG #19- 10/03/2018`` the 19 is none of the date's
_BETWEEN = rf"(?:{_GAP}?(?P<mark>[-/.{_RARE_MARKS}]){_GAP}?|{_GAP})"
_AGAIN = rf"(?(mark){_GAP}?(?P=mark){_GAP}?|{_GAP})"
_CLOSE = rf"[-/. {TIED}]{{0,3}}"
_LOOSE = rf"[-/., {TIED}]{{0,3}}"
_DAY = r"(?P<day>\d{1,2})(?:(?:st|nd|rd|th|er|ste|de|e|[oa])(?![^\W\d_])|[ºª°])?"
_NAME = rf"(?:(?:of|de){_GAP}|d')?(?P<name>[^\W\d_](?:[^\W\d_]|[\u0300-\u036f]){{0,30}})"
#: not 06 of ``#2- 24/06/2018``, which has its own year
_SHORT = r"'?\d{2}(?![\d:]|[.,/]\d|-\d{4}(?!\d))"
_YEAR = rf"(?P<year>\d{{4}}(?!\d)|{_SHORT})"
_CJK_DIGIT: Final = dict(zip("〇○零一二三四五六七八九", "000123456789", strict=True))
_CJK = f"[0-9十{''.join(_CJK_DIGIT)}]"
#: eras count their years from the one after this
_ERAS: Final = {"令和": 2018, "平成": 1988, "昭和": 1925, "大正": 1911, "民国": 1911, "民國": 1911}

#: what a date begins with: a number or word, or an era
_START = re.compile(rf"(?<!\d)\d|(?<![^\W\d_])[^\W\d_]|{'|'.join(_ERAS)}|[{''.join(_CJK_DIGIT)}]")


def _compiled(*spellings: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(spelling, re.IGNORECASE) for spelling in spellings)


_OF_ERA = (
    rf"(?P<era>{'|'.join(_ERAS)})? ?(?P<years>元|{_CJK}{{1,4}}) ?年 ?"
    rf"(?P<months>{_CJK}{{1,3}}) ?月 ?(?P<days>{_CJK}{{1,3}})(?: ?[日号號])?"
)
#: by whether a digit or a word begins them
_SPELLINGS: Final = {
    True: _compiled(
        rf"(?P<year>\d{{4}}){_BETWEEN}(?P<month>\d{{1,2}}){_AGAIN}(?P<day>\d{{1,2}})(?!\d)",
        rf"(?P<a>\d{{1,2}}){_BETWEEN}(?P<b>\d{{1,2}}){_AGAIN}(?P<c>\d{{4}}(?!\d)|{_SHORT})",
        rf"{_DAY}{_CLOSE}(?:day{_GAP})?{_NAME}{_LOOSE}(?:del?{_GAP})?{_YEAR}",
        rf"(?P<year>\d{{4}})\.?{_GAP}gada{_GAP}{_DAY}{_CLOSE}{_NAME}",
        rf"(?P<year>\d{{4}})(?:{_GAP}m\.)?{_LOOSE}{_NAME}{_CLOSE}{_DAY}(?!\d)",
        r"(?P<year>(?:19|20)\d\d)(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12]\d|3[01])(?!\d)",
        r"(?P<year>\d{4}|\d\d) ?[년年] ?(?P<month>\d{1,2}) ?[월月] ?(?P<day>\d{1,2})"
        r"(?: ?[일日号號])?",
        _OF_ERA,
    ),
    False: _compiled(
        _OF_ERA,
        rf"{_NAME}{_CLOSE}{_DAY}"
        rf"(?:[,. {TIED}]{{1,3}}(?P<year>\d{{4}})(?!\d)|, ?(?P<short>{_SHORT})"
        rf"|{_GAP}(?P<bare>\d\d)(?![\d:]|[.,/]\d|-\d{{4}}(?!\d)|{_GAP}\d{{4}}(?!\d)))",
    ),
}
_OF_OTHERS: Final = (
    rf"(?P<month>{_CJK}{{1,3}}) ?[월月] ?{_CJK}{{1,3}} ?[일日号號]",
    rf"(?:{'|'.join(_ERAS)})? ?(?:元|{_CJK}{{1,4}}) ?[년年] ?{_CJK}{{1,3}} ?[월月]",
    r"(?<![-/.\w])(?=[\d/.-]*[OlI])[\dOlI]{1,2}([-/.])[\dOlI]{1,2}\1(?:[\dOlI]{4}|[\dOlI]{2})(?!\w)",
)
#: a date without its year or its day, one with letters for digits, one of another language, and
#: one of numbers that no day has
_UNREAD: Final = {
    True: _compiled(
        rf"{_DAY}{_CLOSE}{_NAME}",
        *_OF_OTHERS,
        rf"\d{{1,2}}\.?{_GAP}(?:[^\W\d_]|[^\x00-\u02ff\s]){{3,14}}\.?{_GAP}(?=(?:19|2[05])\d\d(?!\d))",
        r"\d{1,2}([-/.|])\d{1,2}\1(?:19|2\d)\d\d(?!\d)",
        r"(?<![-/.\w])(?:19|20)\d\d([-/.])[0-3]?\d\1[0-3]?\d(?!\w|[-/.]\d)",
    ),
    False: _compiled(rf"{_NAME}{_CLOSE}{_DAY}(?![\d:]|[.,]\d)", *_OF_OTHERS),
}
_RARE = re.compile(r"(?:\d{4}\D\d+\D\d+|\d+\D\d+\D\d{4})\Z")
_WORD = re.compile(r"\d+|[^\W\d_]+")
_ROMAN = re.compile(r"[ivx]+\Z", re.IGNORECASE)
_SPACED = re.compile(rf"[^-/.,'\w]*\w+{_GAP}\w+{_GAP}\w+\Z")
_ENGLISH: Final = frozenset("jan feb mar apr may jun jul aug sep oct nov dec".split())  # noqa: SIM905  a table
_TIME = re.compile(
    r"(?:[T ,]|\bat\b|\bum\b)* ?\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AP]\.?M\.?)?"
    r"( ?Z| ?[+-]\d\d:?\d\d| Uhr)?\Z",
    re.IGNORECASE,
)
#: characters of a text that can be one date as a whole
_LONGEST: Final = 80
_SMALL = "am d den der il el le on the r roku г года р року"
#: words that stand beside a date and say nothing
_BESIDE: Final = WEEKDAYS.union(_SMALL.split())


class _Spelled(NamedTuple):
    """A place that looks like a date, and the dates that each order gives; None: order is clear."""

    start: int
    end: int
    by_order: dict[Order | None, date]


def dates(text: str) -> Iterator[Written[date]]:
    """The dates of a text in order, each with what it can mean; without a reading, it looks like
    a date and cannot be read whole."""
    visible, places = shown(plain(text))
    spellings = list(_spelled(visible))
    order = _own_order(spellings)
    for start, end, by_order in spellings:
        yield Written(places[start], places[end - 1] + 1, _likely(by_order, order))


def read_date(text: str, *, day_first: bool = True) -> date | None:
    """The date that a whole text is, perhaps with a day of the week and a time; None if none.

    Of three plain numbers the first is the day or the month, by ``day_first``; what this order
    cannot mean is read in the other.
    """
    if len(text) > _LONGEST:
        return None
    marked = shown(plain(text))[0].strip(f" {TIED}()")
    marked = _TIME.sub("", marked).rstrip(f" {TIED},")
    if re.fullmatch(r"\d{8}", marked):  # only as a whole: in a text it may be any number
        dotted = [
            f"{marked[:2]}.{marked[2:4]}.{marked[4:]}",
            f"{marked[:4]}.{marked[4:6]}.{marked[6:]}",
        ]
        whole = [read_date(spelling, day_first=day_first) for spelling in reversed(dotted)]
        return next((day for day in whole if day is not None), None)
    readable = [spelled for spelled in _spelled(marked) if spelled.by_order]
    if len(readable) != 1:
        return None
    start, end, by_order = readable[0]
    words = re.findall(r"\w+", marked[:start] + " " + marked[end:])
    if any(folded_name(word) not in _BESIDE for word in words):
        return None
    orders: tuple[Order | None, ...] = ("day", "month") if day_first else ("month", "day")
    return next(by_order[order] for order in (None, *orders, "year", "short") if order in by_order)


def is_date(value: str) -> bool:
    """Whether a value is an ISO 8601 date, as the readings of a date are compared."""
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _spelled(marked: str) -> Iterator[_Spelled]:
    at = 0
    while (start := _START.search(marked, at)) is not None:
        place = start.start()
        spelling = _read_at(marked, place) or _unread_at(marked, place)
        if spelling is not None:
            yield spelling
        # what cannot be read may begin a word too early
        at = spelling.end if spelling is not None and spelling.by_order else _next(marked, place)


def _next(marked: str, at: int) -> int:
    if marked[at] in _CJK_DIGIT:
        return at + 1
    run = _WORD.match(marked, at)
    return at + 1 if run is None else run.end()


def _read_at(marked: str, at: int) -> _Spelled | None:
    for spelling in _SPELLINGS[marked[at].isdecimal()]:
        match = spelling.match(marked, at)
        by_order = _by_order(match) if match is not None else {}
        if match is not None and by_order:
            return _Spelled(at, match.end(), by_order)
    return None


def _unread_at(marked: str, at: int) -> _Spelled | None:
    for spelling in _UNREAD[marked[at].isdecimal()]:
        match = spelling.match(marked, at)
        if match is not None:
            name = match.groupdict().get("name")
            # short names are words of other kinds, too
            if name is None or (month_of(name) and (len(name) > 3 or name == "May")):
                return _Spelled(at, match.end(), {})
    return None


def _by_order(match: re.Match[str]) -> dict[Order | None, date]:
    parts = {name: value for name, value in match.groupdict().items() if value is not None}
    if "mark" in parts and parts["mark"] not in "-/." and not _RARE.match(match[0]):
        return {}
    if "a" in parts:
        return _of_numbers(match, parts["a"], parts["b"], parts["c"])
    if "years" in parts:
        year = _cjk_number(parts["years"])
        year_text = str(_ERAS[parts["era"]] + year) if "era" in parts else str(year)
        day = _date(year_text, str(_cjk_number(parts["months"])), str(_cjk_number(parts["days"])))
        return {} if day is None else {None: day}
    month = parts.get("month")
    year_text = parts.get("year") or parts.get("short") or parts["bare"]
    if "name" in parts:
        if not _names_a_month(parts["name"], match[0], year_text):
            return {}
        month = str(month_of(parts["name"]))
    assert month is not None
    day = _date(year_text, month, parts["day"])
    return {} if day is None else {"short" if "bare" in parts else None: day}


def _of_numbers(match: re.Match[str], a: str, b: str, c: str) -> dict[Order | None, date]:
    """The dates of three plain numbers, by order."""
    if len(c) == 4 and int(c) < _FIRST_YEAR_BEHIND:
        return {}
    read: dict[Order, date | None] = {"day": _date(c, b, a), "month": _date(c, a, b)}
    if len(c) == 2:  # 18-10-19 can begin with the year
        read["year"] = _date(a, b, c)
        text, start, end = match.string, *match.span()
        if text[start - 1 : start] == "'" != text[end : end + 1] and read["year"]:  # '23-12-12
            read = {"year": read["year"]}
    return {order: day for order, day in read.items() if day is not None}


def _names_a_month(name: str, spelled: str, year: str) -> bool:
    """Whether a word is a month: 12 x 25 and 2 out 10 are none, 12.X.25 and 2 out 2010 are."""
    folded = folded_name(name)
    if month_of(name) is None:
        return False
    if _SPACED.match(spelled) is None:
        return True
    return not _ROMAN.match(name) and (len(year) == 4 or len(folded) > 3 or folded in _ENGLISH)


def _date(year: str, month: str, day: str) -> date | None:
    number = int(year.lstrip("'"))
    if len(year.lstrip("'")) <= 2:
        number += 2000 if number < FIRST_SHORT_YEAR % 100 else 1900
    if not FIRST_YEAR <= number <= LAST_YEAR:
        return None
    try:
        return date(number, int(month), int(day))
    except ValueError:
        return None


def _cjk_number(written: str) -> int:
    """``二〇二三``, ``十二``, ``二十``, ``12`` or the first year of an era."""
    digits = "".join(_CJK_DIGIT.get(character, character) for character in written)
    if digits == "元":
        return 1
    tens, ten, ones = digits.rpartition("十")
    if not ten:
        return int(digits)
    if not (tens + ones).isdigit() and tens + ones:
        return 0
    return 10 * int(tens or 1) + int(ones or 0)


def _own_order(spellings: list[_Spelled]) -> Order | None:
    """The order of the dates that only one can mean, where they agree."""
    clear = {next(iter(spelled.by_order)) for spelled in spellings if len(spelled.by_order) == 1}
    clear -= {None, "short"}
    return clear.pop() if len(clear) == 1 else None


def _likely(by_order: dict[Order | None, date], own: Order | None) -> dict[date, float]:
    """Each date that a spelling can mean, likeliest first."""
    if "short" in by_order:
        return {by_order["short"]: SHORT_YEAR_BEHIND}
    if len(set(by_order.values())) == 1:
        return {next(iter(by_order.values())): 1.0}
    if own in by_order:
        return {by_order[own]: DECIDED}
    shares: dict[date, float] = {}
    for order, day in by_order.items():
        assert order is not None  # a clear one is the only one
        shares[day] = shares.get(day, 0) + ORDERS[order]
    whole = sum(shares.values())
    return {day: share / whole for day, share in sorted(shares.items(), key=lambda it: -it[1])}
