"""Segments: a text cut where spans begin and end, so that spans may overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text, the spans that it lies in, and those that begin and end with it."""

    text: str
    places: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()


def segments(text: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Segment]:
    """The text in pieces that lie wholly in each span or out of it, from the first to the last."""
    edges = {0, len(text)}
    begins: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for place, (start, end) in spans.items():
        edges |= {start, end}
        begins.setdefault(start, []).append(place)
        ends.setdefault(end, []).append(place)
    cuts = sorted(edge for edge in edges if 0 <= edge <= len(text))
    within: list[int] = []
    for start, end in pairwise(cuts):
        within = sorted(
            [*(p for p in within if p not in ends.get(start, ())), *begins.get(start, ())]
        )
        yield Segment(
            text[start:end],
            tuple(within),
            tuple(begins.get(start, ())),
            tuple(ends.get(end, ())),
        )
