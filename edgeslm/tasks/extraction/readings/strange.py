"""What looks like a number and cannot be read as one by its first digits."""

from __future__ import annotations

import re

from edgeslm.tasks.extraction.readings.written import TIED

_SPACE = f"[ {TIED}]"
#: letters that a scanner takes for digits, among digits: it looks like money and is not to be read
_SCANNED = re.compile(
    r"(?<![\w.,])(?=[\d.,]*[OoIl])(?=[OoIl.,]*\d)[\dOoIl]{1,9}(?:[.,][\dOoIl]{3})*[.,][\dOoIl]{2}(?!\w)"
)
#: marks and invisible characters that no number has between digits, powers, fractions, thousands
#: by a letter, and numbers to the base of 16
_STRANGE = re.compile(
    r"(?<![\w.,])\d(?:[\d.,']{0,80}(?:"  # so many: each apostrophe begins another search
    r"(?:(?:[\u00ad\u200b-\u200f\u2060-\u2064\ufeff_·˙‧•。]+|\.\.+|,,+|\$|\^[-+]?)\d[\d.,']*)+"
    r"|[eE][+-]?\d+(?!\w)"
    r"|[¼-¾⅐-⅞]"
    r"|[kKM](?!\w)"
    r"|[千万萬億亿]\d*"
    rf"|{_SPACE}?[×x*]{_SPACE}?10(?:\^[-+]?\d+|-?[⁰¹²³⁴-⁹]+)"
    r")|(?<=0)[xX][\da-fA-F]{1,16}(?!\w))"
)
#: fractions by themselves, and several digits in circles; one is a bullet
_SIGNS = re.compile(r"(?<!\d)[¼-¾⅐-⅞]|[①-⑳⓪❶-❿]{2,}")


def unreadable(marked: str) -> set[tuple[int, int]]:
    """The spans of a text that look like a number and cannot be read."""
    kinds = (_SCANNED, _STRANGE) if marked.isascii() else (_SCANNED, _STRANGE, _SIGNS)
    return {match.span() for kind in kinds for match in kind.finditer(marked)}
