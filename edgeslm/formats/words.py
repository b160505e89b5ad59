"""Words of a text: what it may be cut into without breaking a character or a word."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from edgeslm.formats.text import is_invisible

#: as the inside of a character class of a regular expression: scripts that write no spaces, Thai,
#: Lao, Myanmar, Khmer and CJK, and Hangul, where a syllable may be cut off
UNSPACED: Final = (
    r"\u0e00-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e50-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\u2e80-\ud7ff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
#: a decomposed syllable: it goes on with its vowels and finals
_HANGUL: Final = (
    r"[\u1100-\u115f\ua960-\ua97f]+[\u1160-\u11a7\ud7b0-\ud7c6]*[\u11a8-\u11ff\ud7cb-\ud7fb]*"
)
_FLAG: Final = "[\U0001f1e6-\U0001f1ff]{2}"
#: joins the consonant before it to the one behind it, in Myanmar and Khmer
_STACKS: Final = "\u1039\u17d2"
_JOINER: Final = "\u200d"
#: sounding marks of half-width Katakana, and skin tones of emoji: marks by use
_ALSO_MARKS: Final = frozenset("\uff9e\uff9f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_ASCII: Final = re.compile(r"[^\W\d_]+|\d+|.", re.ASCII | re.DOTALL)
#: white space and control characters
_BLANK: Final = re.compile(r"[\s\x00-\x1f]+")


def one_line(text: str) -> str:
    """A text with each run of white space as one space, and without marks that are on nothing."""
    flat = _BLANK.sub(" ", text).strip()
    marks = _marks(flat)
    if marks:
        on_nothing = re.compile(f"(?:(?<= )|(?<![\\s\\S]))[{_escaped(marks)}]+")
        flat = _BLANK.sub(" ", on_nothing.sub("", flat)).strip()
    return flat


def parts(text: str) -> list[str]:
    """A text on one line, cut into words, numbers, spaces and marks; joined they are the text.

    A cut is never within a grapheme cluster, or within the letters or digits of a word (Unicode
    Standard Annex #29, word boundaries), but between letters and digits and at marks inside
    words it may be, so that ``RM12.50`` and ``l'eau`` have parts. Of the scripts that write no
    spaces each cluster is a part.
    """
    if text.isascii():
        return _ASCII.findall(text)
    return [match[0] for match in _cutter(_marks(text)).finditer(text)]


def _marks(text: str) -> str:
    """The marks that a text has, each once."""
    return "".join(sorted(c for c in set(text) if not c.isascii() and is_mark(c)))


def _escaped(marks: str) -> str:
    return "".join(f"\\U{ord(mark):08x}" for mark in marks)


def is_mark(character: str) -> bool:
    """Whether a character belongs to the one before it: accents, vowel signs, joiners, and what
    is invisible."""
    category = unicodedata.category(character)
    return category[0] == "M" or character in _ALSO_MARKS or is_invisible(character)


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that writes no spaces between words."""
    return _UNSPACED_ONE.match(character) is not None


_UNSPACED_ONE: Final = re.compile(f"[{UNSPACED}]")


@lru_cache(maxsize=64)
def _cutter(marks: str) -> re.Pattern[str]:
    """The pattern of parts, where these are the marks of a text."""
    escaped = _escaped(marks)
    mark = f"[{escaped}]*" if marks else ""
    letter = rf"(?:(?![{escaped}{UNSPACED}\u1100-\u11ff\ua960-\ua97f])[^\W\d_])"
    goes_on = f"(?:{letter}|[{escaped}])*" if marks else f"{letter}*"
    return re.compile(
        rf"(?:{_HANGUL}|[{UNSPACED}]){mark}(?:(?<=[{_STACKS}])[{UNSPACED}]{mark})*"
        rf"|{letter}{goes_on}"
        rf"|(?:\d{mark})+"
        rf"|{_FLAG}"
        rf"|.{mark}(?:(?<={_JOINER}).{mark})*",
        re.DOTALL,
    )
