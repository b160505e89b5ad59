"""Words on a page -> its lines in reading order: rows of a table whole, text columns one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Final, NamedTuple

from edgeslm.documents.document import Box

#: two words are on one row where they share so much of the smaller one's height
_SHARED_HEIGHT: Final = 0.6
#: all of these are in heights of a line: from where on a gap in a line is shown as two spaces,
#: how wide the gutter of prose or of two blocks is at least, and how high one that ends columns
_WIDE_GAP: Final = 1.0
_PROSE_GUTTER: Final = 1.0
_BLOCK_GUTTER: Final = 5.0
_BLANK: Final = 1.5
#: gutters that are looked at, the widest ones
_MOST_GUTTERS: Final = 8
#: columns of prose have so many lines and words a line; blocks such as addresses so many
_PROSE: Final = (4, 4.0)
_BLOCK: Final = (3, 1.75)
#: the same word twice, so near: a shadow, or bold type that is made by printing twice
_SHADOW: Final = 0.25

_DIGIT: Final = re.compile(r"\d")
#: a word that is no unit or currency
_NAME: Final = re.compile(r"[^\W\d_]{4}")


class Piece(NamedTuple):
    """A word: its box on the page, and ``level``, where it would be if its line were level."""

    text: str
    box: Box
    level: Box


Line = list[Piece]


def lines_of(pieces: Iterable[Piece]) -> list[Line]:
    """The lines of a page in reading order."""
    rows = _rows([piece for piece in pieces if piece.text])
    if not rows:
        return []
    return [*_in_order(rows, median(_height(piece) for row in rows for piece in row))]


def separators(line: Line) -> Iterator[str]:
    """What stands between the words of a line: a space, or two where the gap is wide."""
    high = median(map(_height, line))
    for one, other in pairwise(line):
        yield "  " if other.level.left - one.level.right >= _WIDE_GAP * high else " "


# --- rows -------------------------------------------------------------------------


class _Row:
    """Words that share a height; its top and bottom are the means of theirs."""

    def __init__(self, first: Piece) -> None:
        self.pieces = [first]
        self.top, self.bottom = first.level.top, first.level.bottom

    def takes(self, piece: Piece) -> bool:
        shared = min(self.bottom, piece.level.bottom) - max(self.top, piece.level.top)
        return shared >= _SHARED_HEIGHT * min(self.bottom - self.top, _height(piece))

    def add(self, piece: Piece) -> None:
        count = len(self.pieces)
        self.top = (self.top * count + piece.level.top) / (count + 1)
        self.bottom = (self.bottom * count + piece.level.bottom) / (count + 1)
        self.pieces.append(piece)


def _rows(pieces: list[Piece]) -> list[Line]:
    """Words by rows, from top to bottom and left to right."""
    rows: list[_Row] = []
    for piece in sorted(pieces, key=lambda each: (each.level.top + each.level.bottom, each.level)):
        row = next((row for row in rows[:-3:-1] if row.takes(piece)), None)
        if row is None:
            rows.append(_Row(piece))
        else:
            row.add(piece)
    rows.sort(key=lambda row: row.top + row.bottom)
    return [_without_shadows(sorted(row.pieces, key=lambda each: each.level)) for row in rows]


def _without_shadows(row: Line) -> Line:
    kept = row[:1]
    for piece in row[1:]:
        near = piece.level.left - kept[-1].level.left <= _SHADOW * _height(piece)
        if not (near and piece.text == kept[-1].text):
            kept.append(piece)
    return kept


def _height(piece: Piece) -> float:
    return piece.level.bottom - piece.level.top


# --- columns ----------------------------------------------------------------------


class _Gap(NamedTuple):
    left: float
    right: float


def _in_order(rows: list[Line], high: float) -> Iterator[Line]:
    """Rows as they are, but where several have a gutter between texts: column after column."""
    at = 0
    while at < len(rows):
        end, gutters = _band(rows, at, _PROSE_GUTTER * high, _BLANK * high)
        columns = [*_split(rows[at:end], gutters)]
        if len(columns) > 1 and _are_texts(columns, gutters, high):
            for column in columns:
                yield from filter(None, column)
        else:
            yield from rows[at:end]
        at = end


def _band(
    rows: list[Line], start: int, narrowest: float, blank: float
) -> tuple[int, Sequence[_Gap]]:
    """Where the rows end that have a gutter with this one and the next, and these gutters."""
    gaps = _inner_gaps([piece for row in rows[start : start + 2] for piece in row], narrowest)
    end = start + 1
    while end < len(rows) and _distance(rows[end - 1], rows[end]) <= blank:
        left = [*_clipped(gaps, rows[end], narrowest)]
        if not left:
            break
        gaps = left
        end += 1
    return end, gaps if end > start + 1 else ()


def _distance(above: Line, below: Line) -> float:
    return min(piece.level.top for piece in below) - max(piece.level.bottom for piece in above)


def _inner_gaps(pieces: list[Piece], narrowest: float) -> list[_Gap]:
    """The gaps that no word touches, with words on both sides."""
    gaps: list[_Gap] = []
    reached = float("inf")
    for left, right in sorted((piece.level.left, piece.level.right) for piece in pieces):
        if left - reached >= narrowest:
            gaps.append(_Gap(reached, left))
        reached = right if reached == float("inf") else max(reached, right)
    return sorted(sorted(gaps, key=lambda gap: gap.left - gap.right)[:_MOST_GUTTERS])


def _clipped(gaps: Sequence[_Gap], row: Line, narrowest: float) -> Iterator[_Gap]:
    """What a row leaves of gaps, without those that get too narrow."""
    for gap in gaps:
        left, right = gap
        for piece in row:
            if piece.level.left < right and piece.level.right > left:
                # a word that begins in the gap belongs to its right side, as far as it can
                if piece.level.left - left >= right - piece.level.right:
                    right = piece.level.left
                else:
                    left = piece.level.right
        if right - left >= narrowest:
            yield _Gap(left, right)


def _split(rows: list[Line], gutters: Sequence[_Gap]) -> Iterator[list[Line]]:
    """The parts of rows that lie between gutters, column by column; some may be empty."""
    edges = [-float("inf"), *((gap.left + gap.right) / 2 for gap in gutters), float("inf")]
    for left, right in pairwise(edges):
        yield [[piece for piece in row if left <= _middle(piece) < right] for row in rows]


def _middle(piece: Piece) -> float:
    return (piece.level.left + piece.level.right) / 2


def _are_texts(columns: list[list[Line]], gutters: Sequence[_Gap], high: float) -> bool:
    """Whether columns are prose, or two blocks such as addresses; all else is a table."""
    filled = [[part for part in column if part] for column in columns]
    lines = min(map(len, filled))
    words = min(fmean(map(len, column)) for column in filled if column) if lines else 0
    if any(_share(column, _is_value) >= 0.5 for column in filled):
        return False
    if lines >= _PROSE[0] and words >= _PROSE[1]:
        return True
    wide = min(gap.right - gap.left for gap in gutters) >= _BLOCK_GUTTER * high
    labels = _share(filled[0], lambda part: part[-1].text.endswith(":"))
    return (
        len(columns) == 2 and (lines >= _BLOCK[0] and words >= _BLOCK[1]) and wide and labels < 0.5
    )


def _share(column: list[Line], holds: Callable[[Line], bool]) -> float:
    """In how much of a column's lines something holds."""
    return fmean(map(holds, column)) if column else 0.0


def _is_value(part: Line) -> bool:
    """Whether a part of a row is an amount, a date, a number: what a table's cells hold.

    A town behind its post code, or a number behind the name of its street, is none.
    """
    digits = sum(_DIGIT.search(piece.text) is not None for piece in part)
    names = any(_NAME.search(piece.text) for piece in part)
    return 2 * digits > len(part) or (2 * digits == len(part) and not names)
