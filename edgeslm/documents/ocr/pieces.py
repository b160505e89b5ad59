"""What an OCR engine says, as words that know where they would be if the page were level."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Final, NamedTuple

from edgeslm.documents.document import Box
from edgeslm.documents.layout import Piece

_WORD: Final = re.compile(r"\S+")
_QUARTER: Final = math.pi / 2

Point = tuple[float, float]
Corners = tuple[Point, Point, Point, Point]


class ReadLine(NamedTuple):
    """A line that was read, and its corners: left upper, right upper, right lower, left lower."""

    text: str
    corners: Corners


def pieces_of(lines: Sequence[ReadLine], scale: float) -> list[Piece]:
    """The words of lines that were read; ``scale`` makes units of the page of pixels.

    A line's box is divided among its words in proportion to their characters.
    """
    lean = _lean(lines)
    return [piece for line in lines for piece in _words(line, lean, scale)]


def _lean(lines: Iterable[ReadLine]) -> float:
    """The angle, in radians, at which the longer half of those lines run that run as most do."""
    ways: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for line in lines:
        angle = _angle(line.corners)
        way = round(angle / _QUARTER) % 4
        rest = (angle - way * _QUARTER + math.pi) % (2 * math.pi) - math.pi
        ways[way].append((math.dist(line.corners[0], line.corners[1]), rest))
    if not ways:
        return 0.0
    way = max(ways, key=lambda each: sum(size for size, _ in ways[each]))
    longer = sorted(ways[way])[len(ways[way]) // 2 :]
    return way * _QUARTER + median([rest for _, rest in longer])


def _angle(corners: Sequence[Point]) -> float:
    (x0, y0), (x1, y1) = corners[0], corners[1]
    return math.atan2(y1 - y0, x1 - x0)


def _words(line: ReadLine, lean: float, scale: float) -> Iterator[Piece]:
    count = len(line.text)
    for match in _WORD.finditer(line.text):
        corners = [*_part(line.corners, match.start() / count, match.end() / count)]
        corners = [(x * scale, y * scale) for x, y in corners]
        yield Piece(match[0], _box(corners), _box([_turned(point, -lean) for point in corners]))


def _part(corners: Sequence[Point], start: float, end: float) -> Iterator[Point]:
    """The corners of a part of a line, from one share of its length to another."""
    top, bottom = (corners[0], corners[1]), (corners[3], corners[2])
    for (one, other), share in ((top, start), (top, end), (bottom, end), (bottom, start)):
        yield one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])


def _turned(point: Point, angle: float) -> Point:
    x, y = point
    return (
        x * math.cos(angle) - y * math.sin(angle),
        x * math.sin(angle) + y * math.cos(angle),
    )


def _box(corners: Sequence[Point]) -> Box:
    xs, ys = zip(*corners, strict=True)
    return Box(min(xs), min(ys), max(xs), max(ys))
