"""Tokens of a text in overlapping windows, and which of them are those of each unit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeslm.tasks.reading.layout import Layout

Ints = NDArray[np.int64]


class Windows(NamedTuple):
    """A text as an encoder reads it.

    ``input_ids`` and ``attention_mask`` int64 [windows, length]. ``order`` int64 [tokens]: where
    each token of the text stands among all windows' places, one after the other, in the window
    that shows most on both sides of it. ``starts`` and ``ends`` int64 [units]: the half-open run of
    tokens of each unit; an empty one for a unit without tokens.
    """

    input_ids: Ints
    attention_mask: Ints
    order: Ints
    starts: Ints
    ends: Ints


def unit_spans(layout: Layout) -> list[tuple[int, int]]:
    """The place of each unit in the text, in the order of `unit_features`."""
    spans = [(0, len(layout.text)), *((piece.start, piece.end) for piece in layout.pieces)]
    for candidates in layout.candidates.values():
        spans += [(candidate.start, candidate.end) for candidate in candidates]
    return spans


def in_windows(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    layout: Layout,
    *,
    size: int,
    begin: int,
    end: int,
) -> Windows:
    """Cut a text's tokens into windows of at most ``size``.

    Args:
        ids: without special tokens; ``offsets`` are their half-open places in the text.
        begin, end: the special tokens around each window.
    """
    room = size - 2
    count = len(ids)
    firsts = _firsts(count, room)
    length = min(count, room) + 2
    input_ids = np.zeros((len(firsts), length), np.int64)
    mask = np.zeros((len(firsts), length), np.int64)
    for row, first in enumerate(firsts):
        own = ids[first : first + room]
        input_ids[row, : len(own) + 2] = [begin, *own, end]
        mask[row, : len(own) + 2] = 1
    places = np.arange(count)
    starts = np.array(firsts)
    # how much each window shows on the side of a token where it shows less
    shown = np.minimum(places[None] - starts[:, None], starts[:, None] + room - 1 - places[None])
    edges = (starts[:, None] == 0) & (places[None] < room // 2)
    shown = np.where(edges, room, shown)
    window = shown.argmax(axis=0)
    order = window * length + places - starts[window] + 1
    ends_of = [stop for _, stop in offsets]
    starts_of = [start for start, _ in offsets]
    spans = unit_spans(layout)
    first_token = np.array([bisect_left(ends_of, start + 1) for start, _ in spans], np.int64)
    behind = np.array([bisect_left(starts_of, stop) for _, stop in spans], np.int64)
    return Windows(
        input_ids, mask, order.astype(np.int64), first_token, np.maximum(first_token, behind)
    )


def _firsts(count: int, room: int) -> list[int]:
    """Where windows begin: half of each is in the next one, too; the last ends with the text."""
    if count <= room:
        return [0]
    step = max(1, room // 2)
    firsts = list(range(0, count - room, step))
    return [*firsts, count - room]
