"""Runs for the terminal: one table that is read in ten seconds; and runs side by side"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeslm.bench.report.compare import Cell, Comparison
from edgeslm.bench.report.figures import amount, between, condition, plain, times
from edgeslm.bench.report.schema import BenchReport, Measured, Percentile, TaskRun
from edgeslm.bench.report.summary import lines, machine_line, marks, model_line, remarks

#: columns of a bar
_BAR = 40
_PERCENTILES: tuple[Percentile, ...] = ("p50", "p90", "p95", "p99")


def render(reports: Sequence[BenchReport]) -> RenderableType:
    """All of some runs, one under the other."""
    return Group(*(part for report in reports for part in _report(report)))


def render_comparison(comparison: Comparison) -> RenderableType:
    """Runs side by side: a column each, ratios to the first, and bars of the median requests."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("  figure", no_wrap=True)
    for name in comparison.names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for name, cells in comparison.rows.items():
        table.add_row(Text(f"  {name}"), *map(_cell, cells))
    legend = Text("  × the ratio to the first run with its 95 % interval", "dim")
    remarks = [Text(f"  {remark}", "yellow") for remark in comparison.remarks]
    return Group(table, *_bars(comparison), legend, *remarks)


def _report(report: BenchReport) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(model_line(report), "bold"),
        Text(machine_line(report.machine), "dim"),
        *(Text(mark, "bold red") for mark in marks(report)),
    ]
    if report.tasks or report.load:
        parts.append(_latencies(report))
    parts.append(_lines(lines(report)))
    said = remarks(report)
    parts += [Text(f"  {r}", "yellow" if r.startswith("warning") else "dim") for r in said]
    return [*parts, Text("")]


def _latencies(report: BenchReport) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("  request", overflow="fold")
    for name in (*_PERCENTILES, "n", "per second"):
        table.add_column(name, justify="right", no_wrap=True)
    for task in report.tasks:
        n = f"{len(task.milliseconds):,}"
        table.add_row(f"  {condition(task)}", *_times(task.latency), n, _rate(task))
    for point in report.load:
        rate = f"{point.requests_per_second:.2f}"
        n = f"{point.latency['p50'].n:,}" if "p50" in point.latency else ""
        table.add_row(Text(f"  {plain(point.label, 40)}"), *_times(point.latency), n, rate)
    return table


def _times(latency: Mapping[Percentile, Measured]) -> list[str]:
    """The percentiles as cells, the median with its interval."""
    cells = [amount(latency[p].value, "ms") if p in latency else "" for p in _PERCENTILES]
    if "p50" in latency:
        cells[0] += f" \\{between(latency['p50'], 'ms')}"  # a bracket would be markup
    return cells


def _rate(task: TaskRun) -> str:
    seconds = sum(task.milliseconds) / 1000
    return f"{len(task.milliseconds) / seconds:.2f}" if seconds else ""


def _lines(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=14, style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in rows:
        style = "bold red" if "INVALID" in words else ""
        table.add_row(f"  {name}", Text(words, style))
    return table


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("")
    words = Text(str(cell.figure))
    if cell.ratio is not None:
        style = {"better": "green", "worse": "red", "unclear": "dim"}[cell.change]
        words.append(f" × {times(cell.ratio)}", style)
    return words


def _bars(comparison: Comparison) -> list[RenderableType]:
    """The median request of each run as a bar, under each condition that several runs have."""
    parts: list[RenderableType] = []
    for name, cells in comparison.rows.items():
        known = [
            (run, cell.figure) for run, cell in zip(comparison.names, cells, strict=True) if cell
        ]
        if not name.startswith("request p50") or len(known) < 2:
            continue
        longest = max(figure.value for _, figure in known) or 1.0
        table = Table.grid(padding=(0, 2))
        for run, figure in known:
            bar = Bar(size=longest, begin=0, end=figure.value, width=_BAR, color="blue")
            table.add_row(Text(f"  {run}"), bar, Text(str(figure)))
        parts += [Text(f"  {name}", "bold"), table]
    return parts
