"""Checks of the gate: what one is, and those that hold a specialist to trivial baselines"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.gates.baselines import LINEAR
from converters.recipe.recipe import Gates
from edgeslm.evaluation.intervals import Estimate
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import (
    ClassificationScores,
    Comparison,
    Scores,
    TaskKind,
    compare,
    linear_advice,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One demand. ``bound`` None: nothing is demanded, the value is there to be read."""

    name: str
    passed: bool
    value: float
    bound: float | None
    words: str


def beats(scores: Scores, trivial: Mapping[str, Scores], gates: Gates) -> list[Check]:
    """Whether the whole interval lies above the best trivial baseline on the same rows; and for
    labels, whether macro-F1 does: its value, since few rows of rare labels make its interval wide.
    """
    if not trivial:
        return []
    own = {name: other.main.value for name, other in trivial.items()}
    low = f"lower end of {scores.metric} {scores.main.low:.1%}"
    checks = [_beats_best("best trivial baseline", low, scores.main.low, own, gates)]
    if isinstance(scores, ClassificationScores):
        macro = {
            name: other.macro_f1.value
            for name, other in trivial.items()
            if isinstance(other, ClassificationScores)
        }
        words, value = f"macro-F1 {percent(scores.macro_f1)}", scores.macro_f1.value
        checks.append(_beats_best("best baseline in macro-F1", words, value, macro, gates))
    return checks


def _beats_best(
    name: str, words: str, value: float, trivial: Mapping[str, float], gates: Gates
) -> Check:
    best = max(trivial, key=lambda other: trivial[other])
    bound = trivial[best]
    passed = value > bound or not gates.beat_baselines
    shown = bound if gates.beat_baselines else None
    return Check(name, passed, value, shown, f"{words}, must be above the {bound:.1%} of {best}")


def keeps_up(
    task: TaskKind,
    gold: Sequence[Any],
    said: Sequence[Prediction],
    trivial: Mapping[str, Sequence[Prediction]],
    *,
    scores: Mapping[str, Scores],
    gates: Gates,
) -> list[Check]:
    """Whether the best trivial baseline is no better on the same rows, beyond what chance explains.

    For inputs whose like were in training: a lookup may know of them all that can be known.
    ``scores`` are the baselines'.
    """
    if not trivial:
        return []
    best = max(trivial, key=lambda name: scores[name].main.value)
    comparison = compare(task, gold, trivial[best], said, fold=gates.fold)
    points = comparison.difference.value * 100
    words = (
        f"{change(comparison)} against the {scores[best].main.value:.1%} of {best}, "
        f"McNemar p = {comparison.p_value:.3g}; must be no worse"
    )
    passed = not comparison.harms or not gates.beat_baselines
    shown = 0.0 if gates.beat_baselines else None
    return [Check("best trivial baseline", passed, points, shown, words)]


def advice(scores: Scores, trivial: Mapping[str, Scores]) -> list[Check]:
    """Whether the linear baseline makes the specialist unnecessary."""
    if LINEAR not in trivial:
        return []
    words = linear_advice(scores, trivial[LINEAR])
    value = trivial[LINEAR].main.value
    return [] if words is None else [Check("linear model", True, value, None, words)]


def change(comparison: Comparison) -> str:
    """A difference in points, with its interval."""
    low, high = comparison.difference.low * 100, comparison.difference.high * 100
    return f"{comparison.difference.value * 100:+.2f} points [{low:+.2f}, {high:+.2f}]"


def percent(estimate: Estimate) -> str:
    """In percent, with its interval."""
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
