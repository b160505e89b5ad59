"""Times of day in any usual spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from typing import Final

from edgeslm.tasks.extraction.readings.written import TIED, Written, plain, shown

_GAP = rf"[ {TIED}]?"
_HALF = rf"(?:{_GAP}(?P<half>[ap])\.?m\b\.?)"
_SPELLINGS: Final = tuple(
    re.compile(spelling, re.IGNORECASE)
    for spelling in (
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?::(?P<second>\d\d))?{_HALF}?(?![\d:])",
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}})[.h](?P<minute>\d\d)(?:\.(?P<second>\d\d))?(?:{_GAP}(?:Uhr|hrs|h)\b|{_HALF})",
        r"(?<![\d:.,])(?P<hour>\d{1,2})h(?P<minute>\d\d)?(?!\w)",
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}})[ {TIED}]h[ {TIED}](?P<minute>\d\d)(?!\w|[.,:]\d)",
        rf"(?<![\d:.,])(?P<hour>\d{{1,2}}){_HALF}",
        rf"(?P<hour>\d{{1,2}}){_GAP}[時时시]{_GAP}(?P<minute>\d{{1,2}}){_GAP}[分분]",
    )
)


def times(text: str) -> Iterator[Written[time]]:
    """The times of a text, by spelling; 12 am is midnight."""
    visible, places = shown(plain(text))
    taken = set[int]()
    for spelling in _SPELLINGS:
        for match in spelling.finditer(visible):
            read = _time(**match.groupdict())
            if read is not None and match.start() not in taken:
                taken.add(match.start())
                yield Written(places[match.start()], places[match.end() - 1] + 1, {read: 1.0})


def _time(
    hour: str, minute: str | None = None, second: str | None = None, half: str | None = None
) -> time | None:
    hours = int(hour)
    if half is not None:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half.lower() == "p" else 0)
    try:
        return time(hours, int(minute or 0), int(second or 0))
    except ValueError:
        return None
