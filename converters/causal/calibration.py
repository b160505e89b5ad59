"""Fits temperature and threshold on development rows, with the quantized model at runtime"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from converters.data.rows import Row, rows_sha256
from converters.errors import DataError
from edgeslm.errors import EdgeslmError, OutputInvalidError
from edgeslm.evaluation.normalize import Kind, compared, kind_of, normal
from edgeslm.formats.card import Calibration
from edgeslm.formats.text import Fold
from edgeslm.results import Classification, Extraction
from edgeslm.tasks.calibration import fit_field, fit_temperature, risk_coverage
from edgeslm.tasks.decision import softmax
from edgeslm.tasks.extraction.leaves import field_of, leaves

#: a probability below this one is taken for it: the logarithm stays finite
_LEAST = 1e-300


def calibrate(
    classify: Callable[[str], Classification],
    rows: Sequence[Row],
    *,
    max_risk: float | None = None,
) -> Calibration:
    """The calibration that the card states for a classifier.

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
        np.maximum(
            [[answer.probabilities[label] for label in labels] for answer in answers], _LEAST
        )
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


def calibrate_fields(
    extract: Callable[[str], Extraction[Any]], rows: Sequence[Row], *, fold: Fold = "case"
) -> Calibration | None:
    """The calibration that the card states for an extractor, field by field.

    A field stays raw where `fit_field` finds too little to say. A value is right if the row's
    answer has it, in any spelling that ``fold`` allows, for that field; items of arrays are
    compared as a bag.

    Args:
        extract: the runtime's own extractor, of the quantized model and without a calibration.
        rows: development rows; rows that were trained on make it too sure of itself.

    Returns:
        None where no field has a calibration.

    Raises:
        DataError: no rows, or one that cannot be extracted from.
    """
    if not rows:
        raise DataError("no development rows to calibrate on; raise data.split.development")
    judged: dict[str, list[tuple[float, bool, int]]] = defaultdict(list)
    kinds = _kinds(rows)
    for number, row in enumerate(rows):
        for field, confidence, right in _judged_fields(extract, row, kinds, fold):
            judged[field].append((confidence, right, number))
    fits = {field: fit_field(*zip(*sample, strict=True)) for field, sample in judged.items()}
    fields = {field: fit for field, fit in fits.items() if fit is not None}
    if not fields:
        return None
    weights = [fit.n for fit in fields.values()]
    return Calibration(
        fields=fields,
        fitted_on_sha256=rows_sha256(rows),
        n=len(rows),
        ece_before=float(np.average([fit.ece_before for fit in fields.values()], weights=weights)),
        ece_after=float(np.average([fit.ece_after for fit in fields.values()], weights=weights)),
    )


def _judged_fields(
    extract: Callable[[str], Extraction[Any]], row: Row, kinds: Mapping[str, Kind], fold: Fold
) -> Iterator[tuple[str, float, bool]]:
    """Field, raw confidence and whether it is right, of every value that the model wrote."""
    try:
        answer = extract(row.input)
    except OutputInvalidError:  # a value that breaks a rule is never answered, surely or not
        return
    except EdgeslmError as error:
        raise DataError(f"row {row.id}: cannot be extracted from: {error}") from error
    true = _true_values(row)
    for field, said in _values(answer.json).items():
        kind = kinds.get(field, "text")
        true_values = (compared(value, kind, fold) for _, value in true[field])
        left = [value for value in true_values if value is not None]
        # null is right where nothing is left to say, so it is judged last
        for path, value in sorted(said, key=lambda item: normal(item[1], kind) is None):
            one = compared(value, kind, fold)
            alike = [other for other in left if one is not None and one.is_like(other)]
            right = bool(alike) if one is not None else not left
            if alike:
                left.remove(one if one in alike else alike[0])
            confidence = answer.fields[path].confidence
            if answer.complete or confidence > 0:  # 0: a budget cut or filled it
                yield field, confidence, right


def _kinds(rows: Sequence[Row]) -> dict[str, Kind]:
    """How the values of each field are compared."""
    values: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        for field, true in _true_values(row).items():
            values[field] += [float(v) if isinstance(v, Decimal) else v for _, v in true]
    return {field: kind_of(true_values) for field, true_values in values.items()}


def _true_values(row: Row) -> defaultdict[str, list[tuple[str, Any]]]:
    return _values(json.dumps(row.answer, ensure_ascii=False))


def _values(answer: str) -> defaultdict[str, list[tuple[str, Any]]]:
    """Paths and values of each field of a JSON text; an empty array or object has none."""
    values: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
    for leaf in leaves(answer):
        if not isinstance(leaf.value, dict | list):
            values[field_of(leaf.path)].append((leaf.path, leaf.value))
    return values
