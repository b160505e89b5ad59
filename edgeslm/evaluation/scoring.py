"""Scores of predictions against gold answers, with intervals; no model is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgeslm.evaluation.intervals import (
    Estimate,
    Statistic,
    bootstrap,
    lower_bound,
    mcnemar,
    rows_to_claim,
    rows_to_prove,
    share,
)
from edgeslm.evaluation.matches import Bools, Fields, Labels, Prediction, ratio, statistic_of
from edgeslm.evaluation.normalize import Kind
from edgeslm.formats.card import CategoryScore
from edgeslm.formats.text import FOLDS, Fold
from edgeslm.tasks.calibration import expected_calibration_error

#: fewer rows of a label or field than this say too little: they could not even claim 90 %
ENOUGH_ROWS: Final = rows_to_claim(0.90)
NOT_ENOUGH = "not enough evidence"

#: pairs of labels that are shown as taken for one another
_WORST_PAIRS = 10
#: a difference of shares that a comparison of two systems should be able to see: half a point
_HALF_POINT = 0.005

#: how far (share of right answers) a linear model may lie behind and still be as good
_AS_GOOD = 0.01

TaskKind = Literal["extract", "classify"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class FieldScore(_Frozen):
    """One field. ``present`` rows have a true value; ``right`` counts rows where the field is
    as it should be, absent ones included, and has the bound of ``right_lower``."""

    kind: Kind
    present: int
    precision: float
    recall: float
    f1: Estimate
    right: CategoryScore


class ExtractionScores(_Frozen):
    """Field-level scores over all fields, and whole records. ``failed`` rows have no answer;
    ``fold`` is how texts were compared."""

    task: Literal["extract"] = "extract"
    metric: Literal["field F1"] = "field F1"
    fold: Fold
    n: int
    failed: int
    f1: Estimate
    precision: Estimate
    recall: Estimate
    exact: Estimate
    fields: dict[str, FieldScore]
    worst: str | None

    @property
    def main(self) -> Estimate:
        return self.f1


class FoldedScores(_Frozen):
    """The scores of an extraction with texts compared in one way."""

    f1: Estimate
    exact: Estimate


class LabelScore(_Frozen):
    """One label. ``right`` is its recall: of the rows that have it, how many were found."""

    precision: float
    f1: float
    right: CategoryScore


class Confusion(_Frozen):
    """How often a true label was taken for another; ``taken_for`` None is no answer."""

    label: str
    taken_for: str | None
    n: int


class ClassificationScores(_Frozen):
    """Accuracy, macro-F1 and calibration error (None: no confidences). ``failed`` rows have
    no answer."""

    task: Literal["classify"] = "classify"
    metric: Literal["accuracy"] = "accuracy"
    n: int
    failed: int
    accuracy: Estimate
    macro_f1: Estimate
    ece: float | None
    labels: dict[str, LabelScore]
    worst: str | None
    confusions: tuple[Confusion, ...]

    @property
    def main(self) -> Estimate:
        return self.accuracy


class Comparison(_Frozen):
    """Two systems on the same rows, in shares: ``difference`` is second minus first.

    ``p_value`` is McNemar's, of rows right as a whole. ``rows_for_half_point`` would prove
    that the second is not worse by half a point.
    """

    metric: str
    difference: Estimate
    only_first: int
    only_second: int
    p_value: float
    rows_for_half_point: int

    @property
    def harms(self) -> bool:
        """Whether the second system is worse, beyond what chance explains."""
        worse = self.only_first > self.only_second and self.p_value < 0.05
        return worse or self.difference.high < 0


Scores = ExtractionScores | ClassificationScores


class Scored(Protocol):
    """Scores of any task, by their main metric."""

    @property
    def metric(self) -> str: ...

    @property
    def main(self) -> Estimate: ...


def score(
    task: TaskKind,
    gold: Sequence[Any],
    predictions: Sequence[Prediction],
    *,
    fold: Fold = "case",
) -> Scores:
    """Score predictions, one for each gold answer (a label's name, or a JSON value).

    A field counts as predicted where it is not null. F1 of fields is over all rows together;
    items of arrays are compared as a bag. Texts are compared as ``fold`` says (see `normal`),
    labels as they are.

    Raises:
        ValueError: no rows, or not one prediction for each.
    """
    if task == "classify":
        return _score_labels(Labels.read(gold, predictions), predictions)
    return _score_fields(Fields.read(gold, predictions, fold), predictions)


def fold_scores(gold: Sequence[Any], predictions: Sequence[Prediction]) -> dict[Fold, FoldedScores]:
    """The main scores of an extraction in each way of comparing texts; raises as `score`."""
    read = {fold: Fields.read(gold, predictions, fold) for fold in FOLDS}
    return {fold: FoldedScores(f1=_f1(one), exact=_exact(one)) for fold, one in read.items()}


def compare(
    task: TaskKind,
    gold: Sequence[Any],
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    *,
    fold: Fold = "case",
) -> Comparison:
    """Compare two systems row by row: the paired bootstrap of the task's metric (field F1 or
    accuracy), and McNemar's exact test of rows that are right as a whole. ``fold`` as for `score`.

    Raises:
        ValueError: no rows, or not one prediction of each system for each.
    """
    a, b = (_read(task, gold, said, fold) for said in (first, second))
    metric = "accuracy" if task == "classify" else "field F1"
    return paired(metric, (a.right, b.right), (a.statistic(), b.statistic()))


def paired(
    metric: str, right: tuple[Bools, Bools], statistics: tuple[Statistic, Statistic]
) -> Comparison:
    """Compare two systems of which it is known which rows each has ``right``, bool [n], and
    how the metric follows from rows."""
    (a, b), (of_a, of_b) = right, statistics
    only_first, only_second, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    return Comparison(
        metric=metric,
        difference=bootstrap(n, lambda rows: of_b(rows) - of_a(rows)),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        rows_for_half_point=rows_to_prove(_HALF_POINT, only_first + only_second, n),
    )


def linear_advice(own: Scored, linear: Scored) -> str | None:
    """Words where a linear model is within a point of a specialist on the same rows, else None."""
    if round(own.main.value - linear.main.value, 9) > _AS_GOOD:
        return None
    ours, theirs = (
        f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
        for estimate in (own.main, linear.main)
    )
    return (
        f"the linear model is as good: ship that ({own.metric} {theirs}, against {ours} of the "
        "specialist)"
    )


def right_rows(
    task: TaskKind,
    gold: Sequence[Any],
    predictions: Sequence[Prediction],
    *,
    fold: Fold = "case",
) -> Bools:
    """Which rows are right as a whole, bool [n]; ``fold`` as for `score`."""
    return _read(task, gold, predictions, fold).right


def _read(
    task: TaskKind, gold: Sequence[Any], predictions: Sequence[Prediction], fold: Fold
) -> Labels | Fields:
    if task == "classify":
        return Labels.read(gold, predictions)
    return Fields.read(gold, predictions, fold)


def category_score(right: Bools) -> CategoryScore:
    """The share of True, bool [n], with its exact lower 95 % bound; of nothing, 0."""
    n, hits = len(right), int(right.sum())
    return CategoryScore(n=n, value=hits / n if n else 0.0, lower=lower_bound(hits, n))


def enough(category: CategoryScore) -> bool:
    """Whether a label or field has rows enough to say something of it."""
    return category.n >= ENOUGH_ROWS


def worst_of(categories: Mapping[str, CategoryScore]) -> str | None:
    """The category with the smallest share, among those with enough rows; None if none has."""
    known = {name: category for name, category in categories.items() if enough(category)}
    return min(known, key=lambda name: (known[name].value, name), default=None)


def _score_labels(labels: Labels, predictions: Sequence[Prediction]) -> ClassificationScores:
    n = len(labels.true)
    right = labels.right
    hit, predicted, true = (counts[0] for counts in labels.counts(np.arange(n)[None]))
    precision, f1 = ratio(hit, predicted), ratio(2 * hit, predicted + true)
    scores = {
        name: LabelScore(
            precision=float(precision[i]),
            f1=float(f1[i]),
            right=category_score(right[labels.true == i]),
        )
        for i, name in enumerate(labels.names)
    }
    return ClassificationScores(
        n=n,
        failed=_failed(predictions),
        accuracy=share(int(right.sum()), n),
        macro_f1=bootstrap(n, labels.macro_f1),
        ece=_ece(predictions, right),
        labels=scores,
        worst=worst_of({name: label.right for name, label in scores.items()}),
        confusions=_confusions(labels),
    )


def _confusions(labels: Labels) -> tuple[Confusion, ...]:
    pairs = Counter(
        (int(true), int(predicted))
        for true, predicted in zip(labels.true, labels.predicted, strict=True)
        if true != predicted
    )
    names = (*labels.names, None)
    return tuple(
        Confusion(label=labels.names[true], taken_for=names[predicted], n=n)
        for (true, predicted), n in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    )[:_WORST_PAIRS]


def _ece(predictions: Sequence[Prediction], right: Bools) -> float | None:
    judged = [
        (p.confidence, hit)
        for p, hit in zip(predictions, right, strict=True)
        if p.confidence is not None
    ]
    if not judged:
        return None
    confidence, correct = zip(*judged, strict=True)
    return expected_calibration_error(np.clip(confidence, 0, 1), correct)


def _score_fields(fields: Fields, predictions: Sequence[Prediction]) -> ExtractionScores:
    n = len(fields.counts)
    total = fields.counts.sum(axis=1)
    scores = {
        path: _score_field(fields, i, kind) for i, (path, kind) in enumerate(fields.kinds.items())
    }
    return ExtractionScores(
        fold=fields.fold,
        n=n,
        failed=_failed(predictions),
        f1=_f1(fields),
        precision=bootstrap(n, statistic_of(total, "precision")),
        recall=bootstrap(n, statistic_of(total, "recall")),
        exact=_exact(fields),
        fields=scores,
        worst=worst_of({path: field.right for path, field in scores.items()}),
    )


def _f1(fields: Fields) -> Estimate:
    return bootstrap(len(fields.counts), fields.statistic())


def _exact(fields: Fields) -> Estimate:
    return share(int(fields.right.sum()), len(fields.right))


def _score_field(fields: Fields, i: int, kind: Kind) -> FieldScore:
    counts = fields.counts[:, i]
    everything = np.arange(len(counts))[None]
    return FieldScore(
        kind=kind,
        present=int((counts[:, 2] > 0).sum()),
        precision=float(statistic_of(counts, "precision")(everything)[0]),
        recall=float(statistic_of(counts, "recall")(everything)[0]),
        f1=bootstrap(len(counts), statistic_of(counts, "f1")),
        right=category_score(fields.field_right[:, i]),
    )


def _failed(predictions: Sequence[Prediction]) -> int:
    return sum(p.error is not None for p in predictions)
