"""Scores as a card keeps them: each metric with its interval, categories and baselines"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters.data.rows import Row
from edgeslm.evaluation.intervals import Estimate, share
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import (
    ExtractionScores,
    Scores,
    TaskKind,
    category_score,
    right_rows,
)
from edgeslm.formats.card import CategoryScore, Score
from edgeslm.formats.text import Fold


def card_scores(
    scores: Scores, others: Mapping[str, Scores], *, gold: str, gold_sha256: str
) -> tuple[Score, ...]:
    """The card's scores, the task's own metric first; ``others`` are systems on the same rows.

    For fields, F1 comes by field without a bound, and the share of rows where the field is
    right, absent ones included, with its exact lower bound. For labels it is the share found.
    """

    def kept(
        metric: str,
        estimate: Estimate,
        baselines: dict[str, float],
        categories: dict[str, CategoryScore],
    ) -> Score:
        return Score(
            metric=metric,
            fold=scores.fold if isinstance(scores, ExtractionScores) else "case",
            value=estimate.value,
            interval=(estimate.low, estimate.high),
            n=estimate.n,
            gold=gold,
            gold_sha256=gold_sha256,
            by_category=categories,
            baselines=baselines,
        )

    own = {name: other.main.value for name, other in others.items()}
    if isinstance(scores, ExtractionScores):
        exact = {n: o.exact.value for n, o in others.items() if isinstance(o, ExtractionScores)}
        by_f1 = {
            name: CategoryScore(n=field.present, value=field.f1.value)
            for name, field in scores.fields.items()
        }
        right = {name: field.right for name, field in scores.fields.items()}
        return (
            kept(scores.metric, scores.main, own, by_f1),
            kept("whole record right", scores.exact, exact, right),
        )
    macro = {n: o.macro_f1.value for n, o in others.items() if not isinstance(o, ExtractionScores)}
    recalls = {name: label.right for name, label in scores.labels.items()}
    return (
        kept(scores.metric, scores.main, own, recalls),
        kept("macro-F1", scores.macro_f1, macro, {}),
    )


def scope_scores(
    out_of_scope: str,
    gold: Sequence[Any],
    predictions: Sequence[Prediction],
    *,
    gold_name: str,
    gold_sha256: str,
) -> tuple[Score, ...]:
    """In-scope accuracy and the share found of what is out of scope; of no rows there is none."""
    outside = np.array([answer == out_of_scope for answer in gold])
    right = right_rows("classify", gold, predictions)
    scores = []
    for metric, rows in (("in-scope accuracy", ~outside), ("out-of-scope recall", outside)):
        n = int(rows.sum())
        if n:
            estimate = share(int(right[rows].sum()), n)
            scores.append(
                Score(
                    metric=metric,
                    value=estimate.value,
                    interval=(estimate.low, estimate.high),
                    n=n,
                    gold=gold_name,
                    gold_sha256=gold_sha256,
                )
            )
    return tuple(scores)


def share_by_category(
    task: TaskKind,
    rows: Sequence[Row],
    gold: Sequence[Any],
    predictions: Sequence[Prediction],
    *,
    fold: Fold = "case",
) -> dict[str, CategoryScore]:
    """Rows right as a whole by the category that the data give; {} where they give none."""
    names = np.array([row.category or "" for row in rows])
    right = right_rows(task, gold, predictions, fold=fold)
    return {str(name): category_score(right[names == name]) for name in np.unique(names) if name}
