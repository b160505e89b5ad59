"""The loss curve of a training run as a picture."""

from __future__ import annotations

from pathlib import Path

from converters.errors import require
from converters.training.history import History
from edgeslm.formats.files import publish

#: steps that a training loss is averaged over: single batches are noise
_WINDOW = 20


def draw_curve(path: Path, history: History) -> None:
    """Write the curve of training and development loss as PNG, aside first."""
    require("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    steps = [step for step, _ in history.losses]
    losses = [loss for _, loss in history.losses]
    smooth = [
        sum(losses[max(0, i - _WINDOW + 1) : i + 1]) / min(i + 1, _WINDOW)
        for i in range(len(losses))
    ]
    axes.plot(steps, smooth, label=f"training, mean of {_WINDOW} steps", color="#3b6ea5")
    evaluations = history.evaluations
    axes.plot(
        [e.step for e in evaluations],
        [e.loss for e in evaluations],
        "o-",
        label="development",
        color="#c8553d",
    )
    best = history.best
    if best is not None:
        axes.annotate(
            f"kept: {best.tokens:.1%} of tokens, {best.answers:.1%} of answers right",
            (best.step, best.loss),
            xytext=(0, 12),
            textcoords="offset points",
            ha="right",
        )
    axes.set(xlabel="step", ylabel="loss per answer token", yscale="log")
    axes.legend()
    aside = path.with_name(path.name + ".part")
    figure.savefig(aside, format="png", dpi=120)
    publish(aside, path)
