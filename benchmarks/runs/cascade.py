"""A cascade on held-out rows of a build: coverage, errors and time beside each member alone.

python -m converters data converters/recipes/intents-oos-mini.toml --data FOLDER --work build
python -m benchmarks.runs.cascade build/intents-oos-mini/data linear.onnx intents-oos-mini

No member has seen the gold rows, so half of them, by a hash of the text, fit thresholds and the
other half is answered. With --fit development all gold rows are answered, but the bound is then
less than proved, for the development rows have chosen the members' settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import click
import numpy as np

from benchmarks.report.figures import percent
from benchmarks.report.results.kept import Frozen, write
from converters.data.rows import read_rows
from edgeslm.errors import EdgeslmError
from edgeslm.evaluation.intervals import Estimate, bootstrap, percentile, share
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import Comparison, compare
from edgeslm.formats.files import publish
from edgeslm.models.cascade.cascade import Cascade
from edgeslm.models.load import load
from edgeslm.models.model import Model
from edgeslm.results import CascadeAnswer, Classification
from edgeslm.tasks.calibration import risk_coverage

#: texts that every system answers before time is taken
_WARM_UP = 20
#: colour and line of the members' curves
_STYLES = (("#0b3c8c", "-"), ("#b02a00", "--"), ("#1d6b2c", "-."))

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """One system's answer to one text. ``own`` is whether it was sure enough to give it, and
    ``member`` who gave it."""

    label: str
    confidence: float
    own: bool
    member: str
    ms: float


Ask = Callable[[str], Said]


class SystemResult(Frozen):
    """What one system did. ``selective`` is the accuracy of what it answered itself, ``inside``
    and ``outside`` that of all answers to texts in and out of scope (None: no such texts)."""

    name: str
    coverage: Estimate
    selective: Estimate | None
    accuracy: Estimate
    inside: Estimate | None
    outside: Estimate | None
    mean_ms: Estimate
    p50_ms: float
    p95_ms: float
    shares: dict[str, float]


class Against(Frozen):
    """The cascade against its last member alone, on the same texts: accuracies, all answers
    counted, and ``time``, its mean milliseconds in parts of the member's."""

    member: str
    comparison: Comparison
    time: Estimate


class Results(Frozen):
    """All that a run found, as it is written."""

    fitted_on: int
    bound: dict[str, object]
    systems: tuple[SystemResult, ...]
    against: Against


def held_out(folder: Path, fit: Literal["gold", "development"]) -> tuple[list[Pair], list[Pair]]:
    """Texts to fit thresholds on, and others to answer, of what the data step wrote.

    Raises:
        DataError: a file of rows is missing or damaged.
    """
    gold = [(row.input, str(row.answer)) for row in read_rows(folder / "gold.jsonl")]
    if fit == "gold":
        half = [hashlib.sha256(f"fit {text}".encode()).digest()[-1] % 2 for text, _ in gold]
        return (
            [pair for pair, one in zip(gold, half, strict=True) if one],
            [pair for pair, one in zip(gold, half, strict=True) if not one],
        )
    rows = read_rows(folder / "development.jsonl")
    return [(row.input, str(row.answer)) for row in rows], gold


def alone(name: str, classify: Callable[[str], Classification], enough: float | None) -> Ask:
    """One member by itself, which is sure of its answers from ``enough`` on (None: never)."""

    def ask(text: str) -> Said:
        answer = classify(text)
        confidence = min(1.0, answer.confidence)
        own = enough is not None and confidence >= enough
        return Said(answer.label, confidence, own, name, answer.timing.total_ms)

    return ask


def together(cascade: Callable[[str], CascadeAnswer]) -> Ask:
    """The cascade."""

    def ask(text: str) -> Said:
        answer = cascade(text)
        own = answer.reason == "sure"
        return Said(answer.label, answer.confidence or 0.0, own, answer.member, answer.total_ms)

    return ask


def ask_all(systems: Mapping[str, Ask], rows: Sequence[Pair]) -> dict[str, list[Said]]:
    """Every system's answers; text by text all of them, in turning order, so that whatever else
    the machine does meets all alike."""
    for text, _ in rows[:_WARM_UP]:
        for ask in systems.values():
            ask(text)
    said: dict[str, list[Said]] = {name: [] for name in systems}
    names = list(systems)
    for i, (text, _) in enumerate(rows):
        for turn in range(len(names)):
            name = names[(i + turn) % len(names)]
            said[name].append(systems[name](text))
    return said


def judge(
    name: str, said: Sequence[Said], rows: Sequence[Pair], out_of_scope: str | None = None
) -> SystemResult:
    """Score one system's answers to rows."""
    right = _right(said, rows)
    outside = np.array([label == out_of_scope for _, label in rows])
    own = np.array([one.own for one in said])
    times = [one.ms for one in said]
    ms = np.array(times)
    sure = [one.member for one in said if one.own]
    return SystemResult(
        name=name,
        coverage=share(int(own.sum()), len(own)),
        selective=_share(right[own]),
        accuracy=share(int(right.sum()), len(right)),
        inside=_share(right[~outside]),
        outside=_share(right[outside]),
        mean_ms=bootstrap(len(ms), lambda resample: ms[resample].mean(axis=1)),
        p50_ms=percentile(times, 50),
        p95_ms=percentile(times, 95),
        shares={member: sure.count(member) / len(said) for member in dict.fromkeys(sure)},
    )


def against(
    member: str, own: Sequence[Said], cascade: Sequence[Said], rows: Sequence[Pair]
) -> Against:
    """Compare the cascade with a member that answers everything itself."""
    truth = [label for _, label in rows]
    first, second = ([Prediction(one.label) for one in said] for said in (own, cascade))
    ms = np.array([[one.ms for one in said] for said in (own, cascade)])
    return Against(
        member=member,
        comparison=compare("classify", truth, first, second),
        time=bootstrap(
            len(rows), lambda drawn: ms[1][drawn].mean(axis=1) / ms[0][drawn].mean(axis=1)
        ),
    )


def _right(said: Sequence[Said], rows: Sequence[Pair]) -> np.ndarray:
    return np.array([one.label == label for one, (_, label) in zip(said, rows, strict=True)])


def _share(right: np.ndarray) -> Estimate | None:
    return share(int(right.sum()), len(right)) if len(right) else None


# --- what is shown ------------------------------------------------------------


def draw(
    path: Path,
    members: Mapping[str, Sequence[Said]],
    rows: Sequence[Pair],
    cascade: SystemResult,
    risk: float,
) -> None:
    """The risk-coverage curves of the members, and the cascade's point, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (name, said), (color, style) in zip(members.items(), cycle(_STYLES), strict=False):
        curve = risk_coverage([one.confidence for one in said], _right(said, rows))
        axes.plot(curve.coverage, curve.risk * 100, style, color=color, label=f"{name} alone")
    if cascade.selective is not None:
        kept = cascade.selective
        axes.errorbar(
            [cascade.coverage.value],
            [(1 - kept.value) * 100],
            yerr=[[(kept.high - kept.value) * 100], [(kept.value - kept.low) * 100]],
            fmt="*",
            color="black",
            markersize=12,
            capsize=3,
            label="cascade, 95 % interval",
        )
    axes.axhline(risk * 100, linestyle=":", color="black", label="risk asked for")
    axes.set(xlabel="coverage: share of texts answered", ylabel="wrong answers among them, %")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.grid(color="0.85")
    axes.legend()
    aside = path.with_name(path.name + ".part")
    figure.savefig(aside, format="png", dpi=120)
    publish(aside, path)


def table(systems: Sequence[SystemResult]) -> Iterator[str]:
    """The results as a Markdown table."""
    yield (
        "| system | coverage | right of those | right of all | in scope | out of scope found "
        "| mean ms | p50 | p95 |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in systems:
        shares = (one.coverage, one.selective, one.accuracy, one.inside, one.outside)
        cells = " | ".join("none" if cell is None else percent(cell, digits=1) for cell in shares)
        mean = f"{one.mean_ms.value:.2f} [{one.mean_ms.low:.2f}, {one.mean_ms.high:.2f}]"
        yield f"| {one.name} | {cells} | {mean} | {one.p50_ms:.2f} | {one.p95_ms:.2f} |"
        if len(one.shares) > 1:
            for member, part in one.shares.items():
                yield f"| of it, {member} | {part:.1%} | | | | | | | |"


def words(compared: Against) -> str:
    """The comparison with a member alone, as a sentence."""
    difference, time = compared.comparison.difference, compared.time
    return (
        f"Against {compared.member} alone: {difference.value * 100:+.2f} points of all answers "
        f"[{difference.low * 100:+.2f}, {difference.high * 100:+.2f}], McNemar p = "
        f"{compared.comparison.p_value:.2g}; mean time {time.value:.0%} [{time.low:.0%}, "
        f"{time.high:.0%}] of its"
    )


@click.command()
@click.argument("rows", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("members", nargs=-1, required=True)
@click.option("--risk", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.02)
@click.option("--confidence", type=click.FloatRange(0, 1), default=0.95, show_default=True)
@click.option("--fit", type=click.Choice(["gold", "development"]), default="gold")
@click.option("--out-of-scope", default="oos", show_default=True, help="The label of such texts.")
@click.option("--curve", type=click.Path(path_type=Path), help="Write the curve here, as PNG.")
@click.option("--results", type=click.Path(path_type=Path), help="Write the numbers as JSON.")
def main(
    *,
    rows: Path,
    members: tuple[str, ...],
    risk: float,
    confidence: float,
    fit: Literal["gold", "development"],
    out_of_scope: str,
    curve: Path | None,
    results: Path | None,
) -> None:
    """Measure MEMBERS (names, or .onnx and .gguf files) alone and as a cascade, on the rows
    that the data step of their recipe left in the folder ROWS."""
    try:
        fitted, test = held_out(rows, fit)
        with ExitStack() as stack:
            models = [_opened(name, stack) for name in members]
            cascade = Cascade.fit(models, fitted, risk=risk, confidence=confidence)
            said = ask_all(_systems(cascade, models), test)
    except (EdgeslmError, OSError) as error:
        raise click.ClickException(str(error)) from error
    assert cascade.bound is not None, "it was fitted"
    measured = Results(
        fitted_on=len(fitted),
        bound=cascade.bound.model_dump(mode="json"),
        systems=tuple(judge(name, own, test, out_of_scope) for name, own in said.items()),
        against=against(cascade.members[-1], said[cascade.members[-1]], said["cascade"], test),
    )
    click.echo(f"{len(fitted):,} texts fitted on, {len(test):,} answered; {cascade.bound}")
    click.echo("\n".join([*table(measured.systems), "", words(measured.against)]))
    if curve is not None:
        own = {name: said[name] for name in cascade.members}
        draw(curve, own, test, measured.systems[-1], risk)
    if results is not None:
        write(results, measured.model_dump_json(indent=1) + "\n")


def _opened(name: str, stack: ExitStack) -> Model:
    model = load(name)
    stack.callback(model.close)
    return model


def _systems(cascade: Cascade, models: Sequence[Model]) -> dict[str, Ask]:
    """Each member by its name, and last the cascade."""
    each = zip(cascade.members, models, cascade.thresholds, strict=True)
    systems = {name: alone(name, model.classifier(), enough) for name, model, enough in each}
    return {**systems, "cascade": together(cascade)}


if __name__ == "__main__":
    main()
