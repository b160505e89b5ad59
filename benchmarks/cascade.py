"""A cascade on CLINC150 with out-of-scope texts: coverage, errors and time beside each member.

python -m benchmarks.cascade linear.onnx intents-oos-mini [--risk 0.02] [--curve curve.png]

Texts are those that the recipes' split (by a hash of the
text, 12 % gold) keeps out of training; half of them, by another hash, fit the thresholds, the other
half is answered.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.receipts import ROOT
from edgeslm.calibrate import risk_coverage
from edgeslm.cascade import Cascade
from edgeslm.errors import EdgeslmError
from edgeslm.intervals import Estimate, percentile, share
from edgeslm.model import Model, load
from edgeslm.onnx_model import OnnxModel
from edgeslm.result import Classification
from edgeslm.transfer import publish

#: the share of texts that the recipe of intents-oos-mini never trains on, nor looks at
_GOLD = 0.12

_DATA = ROOT.parent / "shared" / "data"

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What one system did. ``selective`` is the accuracy of what it answered itself."""

    name: str
    coverage: Estimate
    selective: Estimate | None
    accuracy: Estimate
    p50_ms: float
    p95_ms: float
    shares: Mapping[str, float]


def held_out(path: Path) -> tuple[list[Pair], list[Pair]]:
    """Texts to fit thresholds on, and others to answer; each text once."""
    fit: list[Pair] = []
    test: list[Pair] = []
    seen: set[str] = set()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            key = " ".join(row["text"].casefold().split())
            digest = hashlib.sha256(key.encode()).digest()
            if int.from_bytes(digest[:8], "big") / 2**64 < _GOLD and key not in seen:
                (fit if digest[-1] % 2 else test).append((row["text"], row["label"]))
            seen.add(key)
    return fit, test


def alone(
    name: str, classify: Callable[[str], Classification], enough: float | None, rows: Sequence[Pair]
) -> tuple[Found, list[float], list[bool]]:
    """One member by itself, which answers from ``enough`` on; and its curve's points."""
    answers = [classify(text) for text, _ in rows]
    sure = [min(1.0, answer.confidence) for answer in answers]
    right = [answer.label == label for answer, (_, label) in zip(answers, rows, strict=True)]
    own = [enough is not None and confidence >= enough for confidence in sure]
    ms = [answer.timing.total_ms for answer in answers]
    return _found(name, own, right, ms, {}), sure, right


def together(cascade: Cascade, rows: Sequence[Pair]) -> Found:
    """The cascade, with the share of texts that each member was sure enough of."""
    answers = [cascade(text) for text, _ in rows]
    own = [answer.reason == "sure" for answer in answers]
    right = [answer.label == label for answer, (_, label) in zip(answers, rows, strict=True)]
    shares = {
        name: float(np.mean([a.member == name and a.reason == "sure" for a in answers]))
        for name in cascade.members
    }
    return _found("cascade", own, right, [answer.total_ms for answer in answers], shares)


def _found(
    name: str,
    own: Sequence[bool],
    right: Sequence[bool],
    ms: Sequence[float],
    shares: Mapping[str, float],
) -> Found:
    answered = sum(own)
    good = sum(a and b for a, b in zip(own, right, strict=True))
    return Found(
        name=name,
        coverage=share(answered, len(own)),
        selective=share(good, answered) if answered else None,
        accuracy=share(sum(right), len(right)),
        p50_ms=percentile(ms, 50),
        p95_ms=percentile(ms, 95),
        shares=shares,
    )


def draw(
    path: Path,
    curves: Mapping[str, tuple[list[float], list[bool]]],
    cascade: Found,
    risk: float,
) -> None:
    """The risk-coverage curves of the members, and the cascade's point, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, (sure, right) in curves.items():
        curve = risk_coverage(sure, right)
        axes.plot(curve.coverage, curve.risk * 100, label=f"{name} alone")
    if cascade.selective is not None:
        wrong = (1 - cascade.selective.value) * 100
        axes.plot([cascade.coverage.value], [wrong], "*", markersize=14, label="cascade")
    axes.axhline(risk * 100, linestyle="--", color="grey", label="risk asked for")
    axes.set(xlabel="coverage: share of texts answered", ylabel="wrong answers among them, %")
    axes.set_xlim(0, 1)
    axes.legend()
    aside = path.with_name(path.name + ".part")
    figure.savefig(aside, format="png", dpi=120)
    publish(aside, path)


def table(found: Sequence[Found]) -> Iterator[str]:
    """The results as a Markdown table."""
    yield "| system | coverage | right of those | right of all | p50 ms | p95 ms |"
    yield "|---|---|---|---|---|---|"
    for one in found:
        selective = "none" if one.selective is None else _percent(one.selective)
        yield (
            f"| {one.name} | {_percent(one.coverage)} | {selective} | {_percent(one.accuracy)} "
            f"| {one.p50_ms:.2f} | {one.p95_ms:.2f} |"
        )
        for member, part in one.shares.items():
            yield f"| of it, {member} | {part:.1%} | | | | |"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


@click.command()
@click.argument("members", nargs=-1, required=True)
@click.option("--risk", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.02)
@click.option("--confidence", type=click.FloatRange(0, 1), default=0.95, show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="EDGESLM_DATA",
    default=_DATA,
    help="The folder with clinc150.jsonl.gz; default is that of EDGESLM_DATA.",
)
@click.option("--curve", type=click.Path(path_type=Path), help="Write the curve here, as PNG.")
@click.option("--results", type=click.Path(path_type=Path), help="Write the numbers as JSON.")
def main(
    *,
    members: tuple[str, ...],
    risk: float,
    confidence: float,
    data: Path,
    curve: Path | None,
    results: Path | None,
) -> None:
    """Measure MEMBERS (names, or .onnx and .gguf files) alone and as a cascade."""
    try:
        fit, test = held_out(data / "clinc150.jsonl.gz")
        with ExitStack() as stack:
            models = []
            for name in members:
                models.append(_opened(name))
                stack.callback(models[-1].close)
            cascade = Cascade.fit(models, fit, risk=risk, confidence=confidence)
            found = []
            curves = {}
            for name, model, enough in zip(
                cascade.members, models, cascade.thresholds, strict=True
            ):
                one, sure, right = alone(name, model.classifier(), enough, test)
                found.append(one)
                curves[name] = sure, right
            found.append(together(cascade, test))
    except (EdgeslmError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(fit):,} texts fitted on, {len(test):,} answered; {cascade.bound}")
    click.echo("\n".join(table(found)))
    if curve is not None:
        draw(curve, curves, found[-1], risk)
    if results is not None:
        values = [{**asdict(one), **_plain(one)} for one in found]
        aside = results.with_name(results.name + ".part")
        aside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8", newline="\n")
        publish(aside, results)


def _opened(name: str) -> Model | OnnxModel:
    return load(name)


def _plain(one: Found) -> dict[str, object]:
    estimates = {"coverage": one.coverage, "selective": one.selective, "accuracy": one.accuracy}
    return {name: e if e is None else e.model_dump() for name, e in estimates.items()}


if __name__ == "__main__":
    main()
