"""Scores of taggers: each head by itself, and rows in which every head is right"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edgeslm.evaluation.intervals import Estimate, Statistic, bootstrap, share
from edgeslm.evaluation.matches import Bools, Floats, Ints, Labels, Prediction, ratio
from edgeslm.evaluation.scoring import (
    ClassificationScores,
    Comparison,
    LabelScore,
    category_score,
    paired,
    score,
    worst_of,
)
from edgeslm.formats.card import Head


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class MultiLabelScores(_Frozen):
    """A head that gives any number of labels. ``exact`` is the share of rows with no label
    missing and none too many; macro-F1 is over the labels that occur."""

    task: Literal["labels"] = "labels"
    metric: Literal["macro-F1"] = "macro-F1"
    n: int
    failed: int
    macro_f1: Estimate
    exact: Estimate
    labels: dict[str, LabelScore]
    worst: str | None

    @property
    def main(self) -> Estimate:
        return self.macro_f1


HeadScores = Annotated[ClassificationScores | MultiLabelScores, Field(discriminator="task")]


class TagScores(_Frozen):
    """Each head's scores, and the rows in which all heads are right. ``failed`` rows have no
    answer; ``worst`` is the label that is found least, as "head: label"."""

    task: Literal["tag"] = "tag"
    metric: Literal["whole record right"] = "whole record right"
    n: int
    failed: int
    exact: Estimate
    heads: dict[str, HeadScores]
    worst: str | None

    @property
    def main(self) -> Estimate:
        return self.exact


def score_tags(
    heads: Sequence[Head], gold: Sequence[Any], predictions: Sequence[Prediction]
) -> TagScores:
    """Score predictions, one for each gold answer: by head a label, or a list of labels.

    A head that a prediction says nothing of is wrong in that row.

    Raises:
        ValueError: no rows, or not one prediction for each.
    """
    right = right_tags(heads, gold, predictions)
    by_head = {head.name: _score_head(head, gold, predictions) for head in heads}
    labels = {
        f"{name}: {label}": own.right
        for name, scores in by_head.items()
        for label, own in scores.labels.items()
    }
    return TagScores(
        n=len(gold),
        failed=sum(p.error is not None for p in predictions),
        exact=share(int(right.sum()), len(gold)),
        heads=by_head,
        worst=worst_of(labels),
    )


def compare_tags(
    heads: Sequence[Head],
    gold: Sequence[Any],
    first: Sequence[Prediction],
    second: Sequence[Prediction],
) -> Comparison:
    """Compare two taggers by the rows in which all heads are right; raises as `score_tags`."""
    a, b = (right_tags(heads, gold, said) for said in (first, second))
    metric = TagScores.model_fields["metric"].default
    return paired(metric, (a, b), (_share_of(a), _share_of(b)))


def right_tags(
    heads: Sequence[Head], gold: Sequence[Any], predictions: Sequence[Prediction]
) -> Bools:
    """Which rows have every head right, bool [n]; raises as `score_tags`."""
    every = [_right(head, gold, predictions) for head in heads]
    return np.asarray(np.all(every, axis=0), np.bool_)


def _right(head: Head, gold: Sequence[Any], predictions: Sequence[Prediction]) -> Bools:
    reader = _Sets if head.multi_label else Labels
    return reader.read(*_column(head, gold, predictions)).right


@dataclass(frozen=True, slots=True)
class _Sets:
    """Sets of labels: ``true`` and ``predicted``, bool [n, names]; ``right``, bool [n]."""

    names: tuple[str, ...]
    true: Bools
    predicted: Bools
    right: Bools

    @classmethod
    def read(cls, gold: Sequence[Any], predictions: Sequence[Prediction]) -> _Sets:
        said = [None if p.error is not None else _labels_of(p.answer) for p in predictions]
        true = [_labels_of(answer) or frozenset() for answer in gold]
        names = tuple(sorted({name for labels in (*true, *said) for name in labels or ()}))
        right = np.array([a == b for a, b in zip(true, said, strict=True)], np.bool_)
        return cls(
            names, _table(true, names), _table([s or frozenset() for s in said], names), right
        )

    def counts(self) -> Ints:
        """How often each label is right, predicted and true in each row, int [names, 3, n]."""
        columns = np.stack([self.true & self.predicted, self.predicted, self.true])
        return np.ascontiguousarray(columns.transpose(2, 0, 1)).astype(np.intp)


def _score_head(
    head: Head, gold: Sequence[Any], predictions: Sequence[Prediction]
) -> ClassificationScores | MultiLabelScores:
    answers, said = _column(head, gold, predictions)
    if head.multi_label:
        return _score_sets(_Sets.read(answers, said), sum(p.error is not None for p in said))
    scores = score("classify", answers, said)
    assert isinstance(scores, ClassificationScores), "as score says of this task"
    return scores


def _score_sets(sets: _Sets, failed: int) -> MultiLabelScores:
    counts = sets.counts()
    labels = {
        name: _label_score(own, sets.predicted[sets.true[:, i], i])
        for i, (name, own) in enumerate(zip(sets.names, counts, strict=True))
    }
    n = len(sets.right)
    return MultiLabelScores(
        n=n,
        failed=failed,
        macro_f1=bootstrap(n, lambda rows: _macro_f1(counts, rows)),
        exact=share(int(sets.right.sum()), n),
        labels=labels,
        worst=worst_of({name: label.right for name, label in labels.items()}),
    )


def _label_score(counts: Ints, hits: Bools) -> LabelScore:
    """One label's, from its counts [3, n]; ``hits`` are of the rows that have it."""
    hit, predicted, true = counts.sum(axis=1, keepdims=True)
    return LabelScore(
        precision=float(ratio(hit, predicted)[0]),
        f1=float(ratio(2 * hit, predicted + true)[0]),
        right=category_score(hits),
    )


def _macro_f1(counts: Ints, rows: Ints) -> Floats:
    """The mean F1 of the labels that occur in each resample, [k]; 1 where none does."""
    total = np.zeros(len(rows))
    occurs = np.zeros(len(rows), np.intp)
    for label in counts:  # one at a time, so that memory does not grow with the labels
        hit, predicted, true = (np.take(column, rows).sum(axis=1) for column in label)
        total += ratio(2 * hit, predicted + true)
        occurs += predicted + true > 0
    return np.asarray(np.where(occurs > 0, total / np.maximum(occurs, 1), 1.0), np.float64)


def _share_of(right: Bools) -> Statistic:
    return lambda rows: np.asarray(right[rows].mean(axis=1), np.float64)


def _column(
    head: Head, gold: Sequence[Any], predictions: Sequence[Prediction]
) -> tuple[list[Any], list[Prediction]]:
    """Gold answers and predictions of one head alone."""
    if not gold or len(gold) != len(predictions):
        raise ValueError(
            f"each gold answer must have one prediction, not {len(gold)} and {len(predictions)}"
        )
    return [answer[head.name] for answer in gold], [_of_head(p, head.name) for p in predictions]


def _of_head(prediction: Prediction, name: str) -> Prediction:
    answer = prediction.answer
    if prediction.error is not None:
        return prediction
    return Prediction(answer.get(name) if isinstance(answer, dict) else None)


def _labels_of(value: Any) -> frozenset[str] | None:
    """A set of labels, also of a single one; None where there is no answer."""
    if isinstance(value, str):
        return frozenset((value,))
    return frozenset(map(str, value)) if isinstance(value, list) else None


def _table(rows: Sequence[frozenset[str] | None], names: Sequence[str]) -> Bools:
    cells = [row is not None and name in row for row in rows for name in names]
    return np.array(cells, np.bool_).reshape(len(rows), len(names))
