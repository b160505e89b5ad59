"""What a run of benchmarks.runs.contention found, as plain data, and its section of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.receipts import ROOT
from benchmarks.report.figures import circumstances, times
from benchmarks.report.results.extraction import DEFAULTS, OWN, Setting
from benchmarks.report.results.kept import Frozen, read
from edgeslm.evaluation.intervals import Estimate, bootstrap, percentile

RESULTS = ROOT / "benchmarks" / "results" / "contention.json"
#: busy processes beside which the tail is aimed at, how many times better, and the most that the
#: idle median may take of the peer's
AIM_BUSY, AIM_TAIL, AIM_IDLE = 3, 4.0, 1.03


class Times(Frozen):
    """Milliseconds of edgeslm or a peer beside ``busy`` processes, in the order they were taken."""

    busy: int
    peer: str
    decodes: list[float]
    requests: list[float]


class ContentionRun(Frozen):
    """A run: edgeslm and its peer beside each number of busy processes."""

    setting: Setting
    times: list[Times]
    seconds: float


def kept(path: Path = RESULTS) -> ContentionRun | None:
    """The run that the repository keeps, if there is one."""
    return read(ContentionRun, path)


def summary(values: Sequence[float], digits: int) -> str:
    """p50 / p95 / p99 / max; a percentile of few values is their maximum or near it."""
    numbers = [median(values), percentile(values, 95), percentile(values, 99), max(values)]
    return " / ".join(f"{number:.{digits}f}" for number in numbers)


def ratio(run: ContentionRun, busy: int, percent: float) -> Estimate | None:
    """The peer's percentile of a request's time by edgeslm's, resampled by rounds.

    None where a peer was not measured beside so many processes.
    """
    requests = {times.peer: times.requests for times in run.times if times.busy == busy}
    own, peer = requests.get(OWN), requests.get(DEFAULTS)
    if not own or not peer:
        return None
    n = min(len(own), len(peer))
    pairs = np.asarray([peer[:n], own[:n]], np.float64)

    def statistic(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        theirs, ours = np.percentile(pairs[:, rows], percent, axis=-1)
        return np.asarray(theirs / ours, np.float64)

    return bootstrap(n, statistic)


def section(run: ContentionRun | None) -> str:
    """The section of docs/benchmarks.md; nothing without a run."""
    if run is None:
        return ""
    s = run.setting
    lines = [
        "",
        "## Beside busy programs",
        "",
        "Written by `python -m benchmarks.runs.contention`, a run of its own: "
        f"{circumstances(s, run.seconds)} Model: {s.model}.",
        "",
        "Endless loops run beside each process of edgeslm or a peer; they take turns, each with",
        "its defaults. A request is a receipt with four fields, its fixed prompt already held; a",
        "decode is one token behind 300. Milliseconds as p50 / p95 / p99 / max.",
        "",
        "| busy processes | | decode | request | requests |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {t.busy} | {t.peer} | {summary(t.decodes, 1)} | {summary(t.requests, 0)} "
            f"| {len(t.requests)} |"
            for t in run.times
        ),
        "",
        *_aims(run),
    ]
    return "\n".join(lines) + "\n"


def _aims(run: ContentionRun) -> list[str]:
    tail, idle = ratio(run, AIM_BUSY, 95), ratio(run, 0, 50)
    said = []
    if tail is not None:
        said.append(
            f"- p95 of a request beside {AIM_BUSY}: {DEFAULTS} takes {times(tail)} edgeslm's. "
            f"Aim: {AIM_TAIL:g}; {'reached' if tail.value >= AIM_TAIL else 'missed'}."
        )
    if idle is not None:
        reached = idle.value >= 1 / AIM_IDLE
        said.append(
            f"- Idle median: {DEFAULTS} takes {times(idle)} edgeslm's. "
            f"Aim: edgeslm at most 3 % slower; {'reached' if reached else 'missed'}."
        )
    return said
