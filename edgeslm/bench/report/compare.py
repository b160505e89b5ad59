"""Runs side by side, and the gate: whether a run is really slower than the one before"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgeslm.bench.report.figures import Figure, figures, plain, ratio, times
from edgeslm.bench.report.schema import BenchReport, MachineFacts
from edgeslm.errors import InputError
from edgeslm.evaluation.intervals import Estimate

#: of these, the medians are gated; all else is shown, but one slow request is no slowdown
_GATED: Final = ("request p50", "engine ", "cold start", "warm load")

Change = Literal["better", "worse", "unclear"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of one run; ``ratio`` is to the first run's, with a 95 % interval."""

    figure: Figure
    ratio: Estimate | None

    @property
    def change(self) -> Change:
        """Whether the figure is better than the first run's; unclear if the interval holds 1."""
        if self.ratio is None or self.ratio.low <= 1 <= self.ratio.high:
            return "unclear"
        return "better" if (self.ratio.low > 1) == self.figure.larger_is_better else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side. ``rows`` have a cell for each run, None where it lacks the figure."""

    names: tuple[str, ...]
    rows: dict[str, tuple[Cell | None, ...]]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As one JSON object; ratios are to the first run."""
        return {
            "runs": list(self.names),
            "remarks": list(self.remarks),
            "figures": {
                name: [None if cell is None else _cell_dict(cell) for cell in cells]
                for name, cells in self.rows.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One gated figure. ``slowdown`` is by how much it takes longer, 1 for as long, or None
    where there are too few observations to tell."""

    name: str
    now: Figure
    before: Figure
    slowdown: Estimate | None
    allowed: float

    @property
    def failed(self) -> bool:
        """A real slowdown: the whole interval lies above what is allowed."""
        return self.slowdown is not None and self.slowdown.low > 1 + self.allowed

    def __str__(self) -> str:
        said = f"{self.name}: {self.now}, before {self.before}"
        if self.slowdown is None:
            return f"{said}, too few observations to tell"
        verdict = "SLOWER" if self.failed else "ok"
        return f"{said}, time × {times(self.slowdown)}: {verdict}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of the gate: every gated figure that both runs have."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        return any(check.failed for check in self.checks)


def compare(reports: Sequence[BenchReport]) -> Comparison:
    """Runs side by side, figure by figure, against the first one."""
    by_report = [figures(report) for report in reports]
    names = dict.fromkeys(name for each in by_report for name in each)
    return Comparison(
        tuple(_names(reports)),
        {
            name: tuple(_cell(each.get(name), by_report[0].get(name)) for each in by_report)
            for name in names
        },
        tuple(_differences(reports)),
    )


def require_gated(baseline: BenchReport) -> None:
    """Refuse a baseline that a run cannot be held to.

    Raises:
        InputError: it has no figure that is gated.
    """
    if not any(name.startswith(_GATED) for name in figures(baseline)):
        raise InputError("the baseline has none of the figures that are compared; measure it again")


def require_comparable(
    baseline: BenchReport, machine: MachineFacts, *, model: str, inputs: str, threads: int
) -> None:
    """Refuse a baseline that says nothing about a run to come.

    Args:
        machine, model, inputs, threads: those of the run, as its report will state them.

    Raises:
        InputError: it is of another machine, model, inputs or threads, or its answers were wrong.
    """
    differences = []
    if machine.fingerprint != baseline.machine.fingerprint:
        differences.append(
            f"it is of another machine ({plain(baseline.machine.processor, 60)}, fingerprint "
            f"{plain(baseline.machine.fingerprint, 20)}, here {machine.fingerprint[:20]})"
        )
    if model != baseline.model.name:
        differences.append(f"it is of another model, {plain(baseline.model.name, 60)}")
    if inputs != baseline.inputs:
        differences.append(f"it had other inputs, {plain(baseline.inputs, 60)}")
    if {threads} != _threads(baseline):
        differences.append(f"it ran on {', '.join(map(str, sorted(_threads(baseline))))} threads")
    if baseline.correctness is not None and not baseline.correctness.valid:
        differences.append("it is INVALID, its answers were not right")
    if differences:
        raise InputError(
            f"the baseline says nothing about this run: {'; '.join(differences)}. "
            "Measure a new baseline, or compare all the same with --force"
        )


def regression(report: BenchReport, baseline: BenchReport, allowed: float) -> Verdict:
    """Whether a run is really slower than a baseline: by more than chance and what is allowed.

    Args:
        allowed: the share by which a median may be slower, 0.1 for ten percent.

    Raises:
        InputError: the runs have no figure in common.
    """
    now, before = figures(report), figures(baseline)
    checks = tuple(
        Check(name, figure, before[name], _slowdown(figure, before[name]), allowed)
        for name, figure in now.items()
        if name in before and name.startswith(_GATED)
    )
    if not checks:
        raise InputError(
            "the baseline has no figure that this run has; measure it with the same options"
        )
    return Verdict(checks)


def parse_share(text: str) -> float:
    """``10%`` or ``0.1`` as 0.1.

    Raises:
        InputError: it is neither, or negative.
    """
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise InputError(f"a share must be written like 10% or 0.1, not {text!r}")
    return share


def _slowdown(now: Figure, before: Figure) -> Estimate | None:
    """By what factor it takes longer; for speeds, that is the old one over the new."""
    return ratio(before, now) if now.larger_is_better else ratio(now, before)


def _threads(report: BenchReport) -> set[int]:
    """What its requests ran on; with none, what it would have chosen itself."""
    return {task.threads for task in report.tasks} or {report.machine.threads}


def _names(reports: Sequence[BenchReport]) -> list[str]:
    """What tells the runs apart: the model, and a number where two are of one."""
    models = [plain(report.model.name, 40) for report in reports]
    return [
        model if models.count(model) == 1 else f"{i}: {model}" for i, model in enumerate(models, 1)
    ]


def _differences(reports: Sequence[BenchReport]) -> list[str]:
    """What a reader has to know before the numbers are laid side by side."""
    doubts = []
    if len({report.machine.fingerprint for report in reports}) > 1:
        doubts.append("the runs are of different machines")
    if len({report.inputs for report in reports}) > 1:
        doubts.append("the runs had different inputs, so whole requests are not the same work")
    for name, report in zip(_names(reports), reports, strict=True):
        if report.correctness is not None and not report.correctness.valid:
            doubts.append(f"{name} is INVALID: its answers were not right")
        if report.model.synthetic:
            doubts.append(f"{name} has random weights: for latency only")
        if report.partial:
            doubts.append(f"{name} is partial: it was interrupted")
    return doubts


def _cell(figure: Figure | None, first: Figure | None) -> Cell | None:
    if figure is None:
        return None
    return Cell(figure, None if first is None or first is figure else ratio(figure, first))


def _cell_dict(cell: Cell) -> dict[str, Any]:
    figure = cell.figure
    return {
        "value": figure.value,
        "unit": figure.unit,
        "low": figure.low,
        "high": figure.high,
        "n": figure.n,
        "ratio": None if cell.ratio is None else cell.ratio.model_dump(),
        "change": cell.change,
    }
