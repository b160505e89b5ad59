"""What a run of benchmarks.runs.batches found, as plain data, and its section of the page."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.receipts import ROOT
from benchmarks.report.figures import circumstances
from benchmarks.report.results.extraction import Setting
from benchmarks.report.results.kept import Frozen, read

RESULTS = ROOT / "benchmarks" / "results" / "batches.json"
#: what `map` should reach of the engine's own speed
TARGET = 0.9


class Point(Frozen):
    """One width: requests and rows per second, and the share of the engine's own speed."""

    width: int
    requests: float
    rows: float
    share: float


class Curve(Frozen):
    """One task at growing widths, on ``n`` texts."""

    task: str
    n: int
    points: list[Point]


class BatchesRun(Frozen):
    """A run: all tasks."""

    setting: Setting
    curves: list[Curve]
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether every point has the share that is aimed at."""
        return all(point.share >= TARGET for curve in self.curves for point in curve.points)


def kept(path: Path = RESULTS) -> BatchesRun | None:
    """The run that the repository keeps, if there is one."""
    return read(BatchesRun, path)


def section(run: BatchesRun | None) -> str:
    """The section of docs/benchmarks.md; nothing without a run."""
    if run is None:
        return ""
    s = run.setting
    lines = [
        "",
        "## Many texts together",
        "",
        "Written by `python -m benchmarks.runs.batches`, a run of its own: "
        f"{circumstances(s, run.seconds)} Model: {s.model}.",
        "",
        "`map` with so many texts in progress; widths take turns, and medians are shown. “Of the",
        "engine alone” is the time that the engine's very calls take again with nothing around",
        "them; above 100 % is the noise of few texts.",
        "",
    ]
    for curve in run.curves:
        lines += [table(curve)]
    verdict = "reached" if run.reached else "missed"
    return "\n".join(lines) + f"\nAim: {TARGET:.0%} of the engine alone everywhere; {verdict}.\n"


def table(curve: Curve) -> str:
    """The points as Markdown; the gain is over the first width."""
    points = curve.points
    rows = [
        f"| {p.width} | {p.requests:.2f} | {p.requests / points[0].requests:.2f} | {p.rows:,.0f} "
        f"| {p.share:.0%} |"
        for p in points
    ]
    head = f"{curve.task}, n = {curve.n}"
    columns = "| width | requests/s | gain | rows/s | of the engine alone |"
    return "\n".join([head, "", columns, "| --- " * 5 + "|", *rows]) + "\n"
