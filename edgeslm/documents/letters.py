"""Characters with their places -> words, whatever way the text runs on the page."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Final, NamedTuple

from edgeslm.documents.document import Box, around
from edgeslm.documents.layout import Piece

#: in heights of a character: a gap that ends a word, where the file has no space there, and how
#: far a character may stand above the one before
_GAP: Final = 0.5
_STEP: Final = 0.5
#: degrees by which text may lean and still count as level, or as upright
_LEAN: Final = 15.0
#: hyphens at the end of a line, as pdfium gives them
_HYPHENS: Final = frozenset((0x02, 0xFFFE))
_LIGATURES: Final = dict(
    zip(range(0xFB00, 0xFB07), ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True)
)
#: what text in another direction is put below, in heights of a character
_APART: Final = 10.0


class Letter(NamedTuple):
    """A code point, its box on the page, and the angle at which it stands, in degrees."""

    code: int
    left: float
    top: float
    right: float
    bottom: float
    angle: float


def words_of(letters: list[Letter]) -> list[Piece]:
    """The words of a page. Text that runs another way than most comes behind all other."""
    ways: dict[float, list[tuple[int, Letter]]] = defaultdict(list)
    for index, letter in enumerate(_paired(letters)):
        ways[_way(letter.angle)].append((index, letter))
    pieces: list[Piece] = []
    below = 0.0
    for way, run in sorted(ways.items(), key=lambda item: (-len(item[1]), item[0])):
        level = _Level(way, [letter.angle for _, letter in run])
        words = [*_words(run, level)]
        if not words:
            continue
        if pieces:
            shift = below - min(word.level.top for word in words)
            words = [word._replace(level=_lower(word.level, shift)) for word in words]
        pieces += words
        lowest = max(word.level.bottom for word in words)
        below = lowest + _APART * (words[0].level.bottom - words[0].level.top)
    return pieces


def _way(angle: float) -> float:
    """The direction in which text runs: level, up, down, upside down, or aslant."""
    straight = round(angle / 90) * 90
    if abs(angle - straight) <= _LEAN:
        return straight % 360
    return round(angle / _LEAN) * _LEAN % 360


def _lower(box: Box, by: float) -> Box:
    return Box(box.left, box.top + by, box.right, box.bottom + by)


def _paired(letters: list[Letter]) -> Iterator[Letter]:
    """Letters, of which two halves of one (as on Windows) are one."""
    high: Letter | None = None
    for letter in letters:
        if high is not None and 0xDC00 <= letter.code < 0xE000:
            code = 0x10000 + ((high.code - 0xD800) << 10) + letter.code - 0xDC00
            yield high._replace(code=code)
            high = None
            continue
        if high is not None:
            yield high
        high = letter if 0xD800 <= letter.code < 0xDC00 else None
        if high is None:
            yield letter
    if high is not None:
        yield high


class _Level:
    """Turns places on the page so that text of one direction is level."""

    def __init__(self, way: float, angles: list[float]) -> None:
        turned = median((angle - way + 180) % 360 - 180 for angle in angles)
        self._same = way == 0 and abs(turned) < 0.01
        angle = math.radians(way + turned)
        self._along, self._across = math.cos(angle), math.sin(angle)
        self._on_its_side = way % 180 == 90

    def box(self, box: Box) -> Box:
        if self._same:
            return box
        x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        wide, high = (box.right - box.left) / 2, (box.bottom - box.top) / 2
        if self._on_its_side:
            wide, high = high, wide
        x, y = x * self._along - y * self._across, x * self._across + y * self._along
        return Box(x - wide, y - high, x + wide, y + high)


def _words(run: list[tuple[int, Letter]], level: _Level) -> Iterator[Piece]:
    """Words of letters that stand one behind the other."""
    word: list[tuple[str, Box, Box]] = []
    last = -1
    for index, letter in run:
        text = _text(letter.code)
        if not text.strip():
            last = -1  # a space, or nothing that is shown
            continue
        box = Box(*letter[1:5])
        here = level.box(box)
        if word and (index != last + 1 or _is_apart(word[-1][2], here)):
            yield _piece(word)
            word = []
        word.append((text, box, here))
        last = index
    if word:
        yield _piece(word)


def _text(code: int) -> str:
    if code in _HYPHENS:
        return "-"
    if code in _LIGATURES:
        return _LIGATURES[code]
    if code < 32 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        return "\ufffd" if code > 32 else ""
    return chr(code)


def _is_apart(one: Box, other: Box) -> bool:
    high = max(one.bottom - one.top, other.bottom - other.top, 0.1)
    step = abs(one.bottom + one.top - other.bottom - other.top) / 2
    gap = other.left - one.right
    return gap > _GAP * high or other.right < one.left or step > _STEP * high


def _piece(word: list[tuple[str, Box, Box]]) -> Piece:
    return Piece(
        "".join(text for text, _, _ in word),
        around([box for _, box, _ in word]),
        around([level for _, _, level in word]),
    )
