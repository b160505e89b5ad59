"""Runs of `edgeslm bench` that the repository keeps, as a section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.receipts import ROOT
from edgeslm.bench.report import files
from edgeslm.bench.report.schema import BenchReport
from edgeslm.bench.report.summary import card_text, lines, remarks

#: edgeslm bench NAME… --json benchmarks/results/bench/run.json
FOLDER = ROOT / "benchmarks" / "results" / "bench"
#: that of the card says no more of these
_IN_CARD = {"answers", "speed"}


def kept(folder: Path = FOLDER) -> list[BenchReport]:
    """The runs that are kept, by name of their file.

    Raises:
        InputError: one of them is none.
    """
    return [files.read(path) for path in sorted(folder.glob("*.json"))]


def section(reports: Sequence[BenchReport]) -> str:
    """The section; nothing without runs."""
    if not reports:
        return ""
    head = [
        "",
        "## `edgeslm bench` on this machine",
        "",
        "The shareable card of each run in benchmarks/results/bench, and what else it found;",
        "[bench.md](bench.md) says how each number is taken.",
    ]
    return "\n".join([*head, *(_run(report) for report in reports)]) + "\n"


def _run(report: BenchReport) -> str:
    measured = [f"- {name}: {words}" for name, words in lines(report) if name not in _IN_CARD]
    said = [f"- {remark}" for remark in remarks(report)]
    return "\n".join(["", "```text", card_text(report), "```", "", *measured, *said])
