"""Calibration of a classifier from its logits: temperature, and when a text is out of scope"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from converters.data.rows import Row, rows_sha256
from converters.errors import DataError
from converters.onnx.logits import Logits
from edgeslm.formats.card import Calibration, ClassifyTask
from edgeslm.tasks.calibration import fit_temperature
from edgeslm.tasks.decision import log_sum_exp, softmax

#: what a bound may cost of in-scope accuracy (share of in-scope rows) on development rows
MAX_COST = 0.005

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Texts are out of scope where a score is below ``bound``; shares on the rows it was
    fitted on. ``recall`` is None without out-of-scope rows."""

    by: Literal["probability", "energy"]
    bound: float
    in_scope: float
    recall: float | None


def calibrate_logits(task: ClassifyTask, logits: Logits, rows: Sequence[Row]) -> Calibration:
    """The calibration that the card states for a classifier.

    Args:
        logits: float32 [rows, labels], of the quantized model.
        rows: development rows; rows that were trained on make it too sure of itself.

    Raises:
        DataError: no rows, or one with an unknown label.
    """
    if not rows:
        raise DataError("no development rows to calibrate on; raise data.split.development")
    names = [label.name for label in task.labels]
    truth = np.array([_place(row, names) for row in rows], np.intp)
    fit = fit_temperature(logits, truth)
    card = fit.to_card(fitted_on_sha256=rows_sha256(rows))
    if task.out_of_scope is None:
        return card
    rejection = fit_rejection(logits, truth, names.index(task.out_of_scope), fit.temperature)
    if rejection is None:
        return card
    if rejection.by == "energy":
        return card.model_copy(update={"reject": "energy", "energy": rejection.bound})
    return card.model_copy(update={"threshold": rejection.bound})


def fit_rejection(
    logits: Logits, truth: NDArray[np.intp], out_of_scope: int, temperature: float
) -> Rejection | None:
    """The bound that finds most of what is out of scope.

    It may cost at most MAX_COST of in-scope accuracy. Of the bounds that find as much, the
    lowest is taken; of probability and energy the one that finds more, probability in a tie.
    None where no bound finds more than the likeliest label does, and where there are no
    in-scope rows, or none out of scope.

    Args:
        logits: float32 [rows, labels]. ``truth``: index of the right label, int [rows].
    """
    outside = truth == out_of_scope
    if outside.all() or not outside.any():
        return None
    scores = logits.astype(np.float64)
    said = scores.argmax(axis=1)
    others = np.delete(scores, out_of_scope, axis=1)
    shares = np.delete(softmax(scores, temperature), out_of_scope, axis=1).max(axis=1)
    energy = np.array([log_sum_exp(row) for row in others])
    right = said == truth
    plain = float(right[outside].mean())
    rejections = [
        _best_bound("probability", shares, right, outside),
        _best_bound("energy", energy, right, outside),
    ]
    best = max(rejections, key=lambda rejection: rejection.recall or 0.0)
    return best if (best.recall or 0.0) > plain else None


def _best_bound(
    by: Literal["probability", "energy"], score: Floats, right: Bools, outside: Bools
) -> Rejection:
    """The lowest bound of the greatest recall that the cost allows.

    A higher bound finds more and costs more, so the rows in order of their score say it all.
    """
    floor = float(right[~outside].mean()) - MAX_COST
    best: Rejection | None = None
    for bound in _bounds(score):
        below = score < bound
        in_scope = float((right & ~below)[~outside].mean())
        if in_scope < floor - 1e-9:
            break
        recall = float((right | below)[outside].mean())
        if best is None or recall > (best.recall or 0.0):
            best = Rejection(by, float(bound), in_scope, recall)
    assert best is not None, "the first bound rejects nothing"
    return best


def _bounds(score: Floats) -> Floats:
    """Below all scores, and halfway between each two neighbours."""
    values = np.unique(score)
    return np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])


def _place(row: Row, names: Sequence[str]) -> int:
    try:
        return names.index(row.answer)
    except ValueError:
        raise DataError(f"row {row.id}: its label {row.answer!r} is none of the task's") from None
