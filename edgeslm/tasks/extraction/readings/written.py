"""What all readers share: a spelling with its readings, and a text with plain digits and marks."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from edgeslm.formats.text import is_invisible

T = TypeVar("T")

#: a space that keeps the groups of a number together: no-break, figure, thin and narrower ones
TIED: Final = "~"
_TIED_SPACES: Final = "\u00a0\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"
_MARKS: Final = {
    **dict.fromkeys(_TIED_SPACES, TIED),
    TIED: "\u2053",  # a swung dash: what a tilde was, it is no space
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043", "-"),
    **dict.fromkeys("\u207b\u208b\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u02bc\u02b9\u00b4\u0060\uff07\u066c", "'"),
    **dict.fromkeys("\uff0c\ufe50\u3001", ","),
    **dict.fromkeys("\uff0e\ufe52\u066b\u2024", "."),
    **dict.fromkeys("\uff0f\u2044\u2215", "/"),
    **dict.fromkeys("\uff1a\ufe55\ua789", ":"),
    **dict.fromkeys("\uff08\ufe59", "("),
    **dict.fromkeys("\uff09\ufe5a", ")"),
    "\uff0b": "+",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """A spelling in a text: half-open code-point offsets, and what it can mean.

    ``readings`` are likeliest first, each with how likely it is (above 0, at most 1), as far as
    a spelling and its document can say. Where it has none, it looks like a value of its kind
    and cannot be read.
    """

    start: int
    end: int
    readings: Mapping[T, float]

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.end


def plain(text: str) -> str:
    """The text, as long as it was, with ASCII digits and marks in place of their likes.

    Decimal digits of any script, no-break and thin spaces (as `TIED`), other spaces, minus
    signs and hyphens, full-width marks, and currency signs (as ``$``).
    """
    if text.isascii() and TIED not in text:
        return text
    return text.translate({ord(character): _plain(character) for character in set(text)})


def _plain(character: str) -> str:
    known = _MARKS.get(character)
    if known is not None:
        return known
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return {"Zs": " ", "Sc": "$"}.get(category, character)


def shown(text: str) -> tuple[str, Sequence[int]]:
    """The text without invisible characters, such as soft hyphens and marks of direction, and
    where each of its characters stands in the text that was given."""
    hidden = {c for c in set(text) if is_invisible(c)}
    if not hidden:
        return text, range(len(text))
    places = [place for place, c in enumerate(text) if c not in hidden]
    return "".join(text[place] for place in places), places
