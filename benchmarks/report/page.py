"""docs/benchmarks.md and its plot, from the runs that the repository keeps."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.receipts import ROOT
from benchmarks.report import batches as batches_results
from benchmarks.report import bench_runs, extraction
from benchmarks.report import classify as classify_report
from benchmarks.report import contention as contention_results
from benchmarks.report import decode as decode_report
from benchmarks.report.plot import Group, drawn
from benchmarks.report.results import classify as classify_results
from benchmarks.report.results import decode as decode_results
from benchmarks.report.results.extraction import Run
from benchmarks.report.results.kept import Frozen, write

EXTRACTION = ROOT / "benchmarks" / "results" / "spine.json"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")


def publish() -> None:
    """Write both from what is kept."""
    write(PLOT, plot())
    write(PAGE, text())


def keep(path: Path, run: Frozen) -> None:
    """Keep a run in its file, and write both anew."""
    write(path, run.model_dump_json(indent=2) + "\n")
    publish()


def text() -> str:
    """The page, whole."""
    return (
        extraction.page(_extraction())
        + f"\n![Median times of edgeslm and its peers, by task]({PLOT.name})\n"
        + decode_report.section(decode_results.kept())
        + classify_report.section(classify_results.kept())
        + bench_runs.section(bench_runs.kept())
        + batches_results.section(batches_results.kept())
        + contention_results.section(contention_results.kept())
    )


def _extraction() -> Run:
    return Run.model_validate_json(EXTRACTION.read_text(encoding="utf-8"))


def plot() -> str:
    """Median times of edgeslm and its peers, a group of bars for each task."""
    groups: list[Group] = [
        (f"{c.task[0].upper()}{c.task[1:]} (n = {c.n})", [(peer.name, peer.ms) for peer in c.peers])
        for c in _extraction().comparisons
    ]
    decode, classify = decode_results.kept(), classify_results.kept()
    groups += [
        (
            f"{c.task} (n = {c.n}, {run.setting.model})",
            [(peer.name, peer.ms) for peer in c.peers],
        )
        for run in decode
        for c in run.comparisons
    ]
    if classify is not None:
        groups += classify_report.groups(classify)
    return drawn(groups)
