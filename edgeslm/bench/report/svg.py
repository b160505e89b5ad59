"""SVG drawings: scales, axes and marks as an element tree, so that every text is escaped"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from math import floor, log10
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

#: units of a drawing, one a pixel where it has its full width: a phone's width less the margins
WIDTH: Final = 360
#: a letter of the 11 pixel text on average
_LETTER: Final = 5.8
_TICKS: Final = 5
#: the top of a scale where all values are 0
_LEAST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Scale:
    """From values, from 0 to ``top``, to places between ``start`` and ``end``."""

    top: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (self.end - self.start) * value / self.top, 1)

    def ticks(self) -> list[float]:
        """Round values from 0 to the top, at most six."""
        raw = self.top / _TICKS
        power = 10 ** floor(log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
        return list(takewhile(lambda value: value <= self.top * 1.001, (i * step for i in count())))


def scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that holds 0 and all values with a little room."""
    return Scale(max([*values, _LEAST]) * 1.04, start, end)


def drawing(height: float, description: str) -> Element:
    """An empty drawing with what a reader who does not see it is told."""
    box = f"0 0 {WIDTH} {height:g}"
    return Element("svg", {"viewBox": box, "role": "img", "aria-label": description})


def rendered(svg: Element) -> str:
    return tostring(svg, encoding="unicode")


# --- marks ------------------------------------------------------------------------


def line(parent: Element, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
    """A straight line; ``style`` is a class of the page's style sheet, here and below."""
    (x1, y1), (x2, y2) = start, end
    places = {"x1": f"{x1:g}", "y1": f"{y1:g}", "x2": f"{x2:g}", "y2": f"{y2:g}"}
    SubElement(parent, "line", {**places, "class": style})


def dot(
    parent: Element, x: float, y: float, style: str, tip: str = "", *, radius: float = 3
) -> None:
    """A filled circle; ``tip`` shows while the pointer is over it."""
    places = {"cx": f"{x:g}", "cy": f"{y:g}", "r": f"{radius:g}"}
    _tip(SubElement(parent, "circle", {**places, "class": style}), tip)


def bar(
    parent: Element,
    x: tuple[float, float],
    y: float,
    style: str,
    tip: str = "",
    *,
    height: float = 12,
) -> None:
    """A horizontal bar from ``x[0]`` to ``x[1]``, at least one pixel wide, ``y`` its middle."""
    width = max(1.0, x[1] - x[0])
    places = {"x": f"{x[0]:g}", "y": f"{y - height / 2:g}", "width": f"{width:g}"}
    shape = {**places, "height": f"{height:g}", "rx": "2", "class": style}
    _tip(SubElement(parent, "rect", shape), tip)


def path(parent: Element, points: Sequence[tuple[float, float]], style: str) -> None:
    """A line through points."""
    places = " ".join(f"{x:g},{y:g}" for x, y in points)
    SubElement(parent, "polyline", {"points": places, "class": style})


def text(
    parent: Element,
    x: float,
    y: float,
    words: str,
    style: str = "",
    *,
    anchor: str = "start",
) -> None:
    """One line of text with its baseline at ``y``."""
    places = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor, "class": style}
    SubElement(parent, "text", places).text = words


def fitted(words: str, width: float) -> str:
    """A text cut to what fits ``width`` pixels."""
    letters = max(2, int(width / _LETTER))
    return words if len(words) <= letters else words[: letters - 1] + "…"


def _tip(shape: Element, words: str) -> None:
    if words:
        SubElement(shape, "title").text = words


def _inside(x: float, words: str) -> str:
    """The anchor that keeps words at ``x`` within the drawing; in their middle if there is room."""
    half = len(words) * _LETTER / 2
    if x < half:
        return "start"
    return "end" if x > WIDTH - half else "middle"


# --- axes -------------------------------------------------------------------------


def across(
    parent: Element, x: Scale, y: tuple[float, float], label: Callable[[float], str]
) -> None:
    """Upright grid lines between ``y[0]`` and ``y[1]`` with their values below them."""
    for value in x.ticks():
        place = x(value)
        line(parent, (place, y[0]), (place, y[1]), "grid")
        words = label(value)
        text(parent, place, y[1] + 14, words, "tick", anchor=_inside(place, words))


def upright(
    parent: Element, y: Scale, x: tuple[float, float], label: Callable[[float], str]
) -> None:
    """Level grid lines between ``x[0]`` and ``x[1]`` with their values left of them."""
    for value in y.ticks():
        place = y(value)
        line(parent, (x[0], place), (x[1], place), "grid")
        text(parent, x[0] - 6, place + 4, label(value), "tick", anchor="end")
