"""Bars of median times in groups, as an SVG file that shows in light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import SubElement

from benchmarks.report.results.extraction import OWN
from edgeslm.bench.report import svg

#: a title, and milliseconds by name
Group = tuple[str, Sequence[tuple[str, float]]]

_LEFT, _RIGHT = 150, svg.WIDTH - 60
_ROW, _GAP = 18, 40
_STYLE = """
svg { font: 11px system-ui, sans-serif; background: #fff }
text { fill: #1a1a1a } .title { font-weight: 600 }
.own { fill: #0a7d5a } .peer { fill: #8a94a6 }
@media (prefers-color-scheme: dark) {
  svg { background: #14171c } text { fill: #e6e6e6 } .own { fill: #3cc492 }
}
"""


def drawn(groups: Sequence[Group]) -> str:
    """A group below the other, each with a scale of its own, the fastest first."""
    height = 10 + sum(_GAP + _ROW * len(rows) for _, rows in groups)
    said = "; ".join(title for title, _ in groups)
    root = svg.drawing(height, f"Median times of edgeslm and its peers. {said}.")
    root.set("xmlns", "http://www.w3.org/2000/svg")
    SubElement(root, "style").text = _STYLE
    y = 10.0
    for title, rows in groups:
        y += 14
        svg.text(root, 8, y, title, "title")
        x = svg.scale([ms for _, ms in rows], _LEFT, _RIGHT)
        for name, ms in sorted(rows, key=lambda row: row[1]):
            y += _ROW
            svg.text(root, _LEFT - 6, y, svg.fitted(name, _LEFT - 12), anchor="end")
            svg.bar(root, (_LEFT, x(ms)), y - 4, "own" if name.startswith(OWN) else "peer")
            svg.text(root, x(ms) + 5, y, f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s")
        y += _GAP - 14
    return svg.rendered(root) + "\n"
