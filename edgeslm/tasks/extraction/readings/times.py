"""Times of day in any usual spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from typing import Final, NamedTuple

from edgeslm.tasks.extraction.readings.written import TIED, Written, plain, shown

_GAP = rf"[ {TIED}]?"
#: halves of the day without marks, behind a time or, where ``am 10:30`` can be German, before it
_EARLY = r"ص(?:باح[\u064b\u0627]*)?|πμ|π\.?[ ~]?μ|öö|ö\.ö"
_LATE = r"م(?:ساء[\u064b\u0627]*)?|μμ|μ\.?[ ~]?μ|ös|ö\.s"
_HALF = (
    rf"(?:{_GAP}(?:(?P<half>[ap](?:\.?|\.?[ {TIED}])m)|(?P<early>{_EARLY})|(?P<late>{_LATE}))"
    r"(?!\w)\.?)"
)
_HALF_OF_HOUR = rf"(?:{_GAP}(?P<half>[ap](?:\.?|\.[ {TIED}])m)(?!\w)\.?)"
_SPELLINGS: Final = tuple(
    re.compile(spelling, re.IGNORECASE)
    for spelling in (
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?::(?P<second>\d\d))?{_HALF}?(?![\d:])",
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}})[.h](?P<minute>\d\d)(?:\.(?P<second>\d\d))?(?:{_GAP}(?:Uhr|hrs|h)\b|{_HALF})",
        r"(?<![\d:.,])(?P<hour>\d{1,2})h(?P<minute>\d\d)?(?!\w)",
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}})[ {TIED}]h[ {TIED}](?P<minute>\d\d)(?!\w|[.,:]\d)",
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}}){_HALF_OF_HOUR}",
        rf"(?<!\d)(?P<hour>\d{{1,2}}){_GAP}[時时시点點]{_GAP}(?P<minute>\d{{1,2}}){_GAP}[分분]",
        rf"(?<!\d)(?P<hour>\d{{1,2}}){_GAP}[時时시点點](?P<whole>)(?!{_GAP}\d)",
    )
)
#: the half of the day before a time; in small letters ``am`` is a word of German
_AHEAD = re.compile(
    rf"(?:(?P<early>午前|오전|上午|凌晨|清晨|早上|早晨|(?<!\w)(?<!\d[ {TIED}])(?:A\.?M\.?|ÖÖ))"
    rf"|(?P<late>午後|午后|오후|下午|晚上|傍晚|(?<!\w)(?<!\d[ {TIED}])(?:P\.?M\.?|ÖS))){_GAP}\Z"
)
#: characters that a half of the day before a time takes
_REACH = 6
#: what can stand behind a time. A bare sign needs hours and minutes of two digits each (``+1 555``
#: is a phone number), a bare minus also seconds before it: 10:30-11:00 is a range
_OFFSET: Final = re.compile(
    rf"(?:\.\d+)?{_GAP}(?P<zero>Z|UTC|GMT)(?![A-Za-z0-9]|{_GAP}[+-]\d)"
    rf"|(?:(?:\.\d+)?{_GAP}(?:(?:UTC|GMT){_GAP}|(?=\+\d\d:?\d\d))"
    r"|(?<=:\d\d:\d\d)(?:\.\d+)?(?=-\d\d:?\d\d))"
    r"(?P<sign>[+-])(?P<hour>[01]?\d|2[0-3])(?::?(?P<minute>[0-5]\d))?(?![\d:])"
)


class Moment(NamedTuple):
    """A time of day, and the offset from UTC that stands behind it, as ISO 8601 spells it."""

    clock: time
    offset: str | None


def moments(text: str) -> Iterator[Written[Moment]]:
    """The times of a text with their offsets; an offset is no time."""
    visible = plain(text)
    offsets: set[int] = set()
    for spelled in times(text):
        if spelled.start in offsets:
            continue
        offset = _OFFSET.match(visible, spelled.end)
        end = spelled.end
        if offset is not None:
            end = offset.end()
            offsets.update(range(offset.start(), end))
        said = None if offset is None else _iso(**offset.groupdict())
        yield Written(
            spelled.start, end, {Moment(clock, said): p for clock, p in spelled.readings.items()}
        )


def _iso(zero: str | None, sign: str, hour: str, minute: str | None) -> str:
    """An offset as ISO 8601 spells it."""
    if zero is not None:
        return "Z"
    offset = f"{sign}{int(hour):02}:{minute or '00'}"
    return "Z" if offset.endswith("00:00") else offset


def times(text: str) -> Iterator[Written[time]]:
    """The times of a text, by spelling; 12 am is midnight."""
    visible, places = shown(plain(text))
    taken = set[int]()
    for spelling in _SPELLINGS:
        for match in spelling.finditer(visible):
            if match.start() in taken:
                continue
            ahead = _AHEAD.search(visible, max(0, match.start() - _REACH), match.start())
            read = _read(match, ahead)
            if read is not None:
                taken.add(match.start())
                start = match.start() if ahead is None else ahead.start()
                yield Written(places[start], places[match.end() - 1] + 1, {read: 1.0})


def _read(match: re.Match[str], ahead: re.Match[str] | None) -> time | None:
    parts = match.groupdict()
    if "whole" in parts and ahead is None:  # 3時 can be three hours
        return None
    hours = int(parts["hour"])
    if parts.get("half") is not None and not 1 <= hours <= 12:
        return None
    is_late = _is_late(parts, {} if ahead is None else ahead.groupdict())
    if ahead is not None and hours == 12 and ahead[0].startswith("晚上"):  # in the evening
        hours = 0
    elif is_late is not None and hours <= 12:  # 午後22:30 has its half twice
        hours = hours % 12 + 12 * is_late
    try:
        return time(hours, int(parts.get("minute") or 0), int(parts.get("second") or 0))
    except ValueError:
        return None


def _is_late(behind: dict[str, str | None], ahead: dict[str, str | None]) -> bool | None:
    """Whether a time is of the second half of the day; None where nothing says so."""
    half = behind.get("half")
    if half is not None:
        return half[0] in "pP"
    for parts in (behind, ahead):
        if parts.get("early") or parts.get("late"):
            return bool(parts.get("late"))
    return None
