"""Fits temperature and threshold on development rows, with the quantized model at runtime"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from converters.errors import DataError
from converters.rows import Row, rows_sha256
from edgeslm.calibrate import fit_temperature, risk_coverage, softmax
from edgeslm.card import Calibration
from edgeslm.errors import EdgeslmError
from edgeslm.result import Classification

#: a probability below this one is taken for it: the logarithm stays finite
_LEAST = 1e-300


def calibrate(
    classify: Callable[[str], Classification],
    rows: Sequence[Row],
    *,
    max_risk: float | None = None,
) -> Calibration:
    """What the card is to say of the classifier's confidence.

    Args:
        classify: the runtime's own classifier, of the quantized model and without a
            calibration (temperature 1).
        rows: development rows; rows that were trained on make it too sure of itself.
        max_risk: share of errors (0 to 1) among answers above the threshold; None, or where
            no threshold gets there: the card has none.

    Raises:
        DataError: no rows, one that cannot be classified, or one with an unknown label.
    """
    if not rows:
        raise DataError("no development rows to calibrate on; raise data.split.development")
    answers = [_classified(classify, row) for row in rows]
    labels = list(answers[0].probabilities)
    truth = np.array([_place(row, labels) for row in rows], np.intp)
    scores = np.log(
        np.maximum([[found.probabilities[label] for label in labels] for found in answers], _LEAST)
    )
    fit = fit_temperature(scores, truth)
    threshold = None
    if max_risk is not None:
        sure = softmax(scores, fit.temperature)
        confidence = np.minimum(sure.max(axis=1), 1.0)
        threshold = risk_coverage(confidence, sure.argmax(axis=1) == truth).threshold(max_risk)
    return fit.to_card(fitted_on_sha256=rows_sha256(rows), threshold=threshold)


def _classified(classify: Callable[[str], Classification], row: Row) -> Classification:
    try:
        return classify(row.input)
    except EdgeslmError as error:
        raise DataError(f"row {row.id}: cannot be classified: {error}") from error


def _place(row: Row, labels: list[str]) -> int:
    try:
        return labels.index(row.answer)
    except ValueError:
        raise DataError(f"row {row.id}: its label {row.answer!r} is none of the task's") from None
