"""Gold answers and predictions as arrays, row by row: labels, or the values of each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeslm.evaluation.intervals import Statistic
from edgeslm.evaluation.normalize import Kind, Value, compared, count_alike, kind_of
from edgeslm.formats.text import Fold
from edgeslm.tasks.extraction.leaves import field_values, segment

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Measure = Literal["f1", "precision", "recall"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a system answered to one row; with an ``error`` it has no answer and is wrong.

    ``confidence`` (0 to 1) is that of a label, where the system gives one.
    """

    answer: Any = None
    confidence: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels as numbers: ``true`` and ``predicted``, int [n]; the last number is no answer."""

    names: tuple[str, ...]
    true: Ints
    predicted: Ints

    @classmethod
    def read(cls, gold: Sequence[Any], predictions: Sequence[Prediction]) -> Labels:
        _check(gold, predictions)
        pairs = zip(gold, predictions, strict=True)
        said = [(str(true), _label(p)) for true, p in pairs]
        names = sorted({name for pair in said for name in pair if name is not None})
        number: dict[str | None, int] = {name: i for i, name in enumerate(names)}
        number[None] = len(names)
        true = np.array([number[name] for name, _ in said], np.intp)
        predicted = np.array([number[name] for _, name in said], np.intp)
        return cls(tuple(names), true, predicted)

    @property
    def right(self) -> Bools:
        return np.asarray(self.true == self.predicted, np.bool_)

    def statistic(self) -> Statistic:
        right = self.right
        return lambda rows: np.asarray(right[rows].mean(axis=1), np.float64)

    def counts(self, rows: Ints) -> tuple[Ints, Ints, Ints]:
        """How often each label is right, predicted and true in rows [k, n]: int [k, names] each."""
        k, width = len(rows), len(self.names) + 1
        offset = width * np.arange(k)[:, None]

        def count(codes: Ints) -> Ints:
            table = np.bincount((codes + offset).ravel(), minlength=k * width)
            return table.reshape(k, width)[:, :-1]

        hit = np.where(self.right, self.true, len(self.names))
        return count(hit[rows]), count(self.predicted[rows]), count(self.true[rows])

    def macro_f1(self, rows: Ints) -> Floats:
        """The mean F1 of the labels that occur in each resample, [k]."""
        hit, predicted, true = self.counts(rows)
        occurs = predicted + true > 0
        total = ratio(2 * hit, predicted + true).sum(axis=1)
        return np.asarray(total / np.maximum(occurs.sum(axis=1), 1), np.float64)


def _label(prediction: Prediction) -> str | None:
    missing = prediction.error is not None or prediction.answer is None
    return None if missing else str(prediction.answer)


@dataclass(frozen=True, slots=True)
class Fields:
    """For each row and field how many values are right, predicted and true, int [n, fields, 3].

    ``right`` says which whole records are, bool [n]. ``fold`` is how texts were compared.
    """

    kinds: dict[str, Kind]
    fold: Fold
    counts: Ints
    right: Bools
    field_right: Bools

    @classmethod
    def read(
        cls, gold: Sequence[Any], predictions: Sequence[Prediction], fold: Fold = "case"
    ) -> Fields:
        _check(gold, predictions)
        columns: dict[str, list[Any]] = {}
        for answer in (*gold, *(p.answer for p in predictions)):
            for path, _ in field_values(answer):
                columns.setdefault(path, [])
        for answer in gold:
            for path, value in field_values(answer):
                columns[path].append(value)
        kinds = {path: kind_of(values) for path, values in columns.items()}
        counts = np.zeros((len(gold), len(kinds), 3), np.intp)
        right = np.zeros(len(gold), np.bool_)
        answered = np.array([p.error is None for p in predictions])
        for i, (answer, p) in enumerate(zip(gold, predictions, strict=True)):
            predicted = None if p.error is not None else p.answer
            counts[i] = np.reshape(_count(answer, predicted, kinds, fold), (-1, 3))
            whole, said = (_canonical(record, kinds, fold) for record in (answer, predicted))
            right[i] = answered[i] and _alike(whole, said)
        same = (counts[:, :, 0] == counts[:, :, 1]) & (counts[:, :, 0] == counts[:, :, 2])
        return cls(kinds, fold, counts, right, np.asarray(same & answered[:, None], np.bool_))

    def statistic(self) -> Statistic:
        return statistic_of(self.counts.sum(axis=1), "f1")


def statistic_of(counts: Ints, what: Measure) -> Statistic:
    """A score over rows, from counts [n, 3] of right, predicted and true.

    Where nothing was to be found: 1 if nothing was, else 0.
    """

    columns = np.ascontiguousarray(counts.T)  # one at a time is ten times faster than all

    def of(rows: Ints) -> Floats:
        hit, predicted, true = (np.take(column, rows).sum(axis=1) for column in columns)
        nothing = (predicted + true == 0).astype(np.float64)
        if what == "f1":
            return ratio(2 * hit, predicted + true, empty=nothing)
        return ratio(hit, predicted if what == "precision" else true, empty=nothing)

    return of


def _count(
    gold: Any, predicted: Any, kinds: Mapping[str, Kind], fold: Fold
) -> list[tuple[int, int, int]]:
    true, said = _bags(gold, kinds, fold), _bags(predicted, kinds, fold)
    return [
        (count_alike(true[path], said[path]), len(said[path]), len(true[path])) for path in kinds
    ]


def _bags(answer: Any, kinds: Mapping[str, Kind], fold: Fold) -> dict[str, list[Value]]:
    """The values of each field, in any order."""
    bags: dict[str, list[Value]] = {path: [] for path in kinds}
    for path, leaf in field_values(answer):
        value = compared(leaf, kinds[path], fold)
        if value is not None:
            bags[path].append(value)
    return bags


def _alike(one: Any, other: Any) -> bool:
    """Whether two records are the same, as they are compared as a whole."""
    if isinstance(one, Value) and isinstance(other, Value):
        return one.is_like(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(_alike, one, other))
    return one is None and other is None


def _canonical(answer: Any, kinds: Mapping[str, Kind], fold: Fold, field: str = "$") -> Any:
    """The record as it is compared as a whole: normalised, without what is null or empty."""
    if isinstance(answer, Mapping):
        parts = {
            name: _canonical(value, kinds, fold, field + segment(str(name)))
            for name, value in answer.items()
        }
        return {name: part for name, part in parts.items() if part is not None} or None
    if isinstance(answer, list | tuple):
        return [_canonical(value, kinds, fold, field + "[*]") for value in answer] or None
    return compared(answer, kinds.get(field, "text"), fold)


def ratio(part: Ints, whole: Ints, empty: Floats | float = 0.0) -> Floats:
    """Element by element; ``empty`` where there is nothing to divide by."""
    return np.where(whole > 0, part / np.maximum(whole, 1), empty)


def _check(gold: Sequence[Any], predictions: Sequence[Prediction]) -> None:
    if not gold or len(gold) != len(predictions):
        raise ValueError(
            f"each gold answer must have one prediction, not {len(gold)} and {len(predictions)}"
        )
