"""Calibration through a classifier: what is fitted, the threshold, and rows that cannot be used"""

import json

import numpy as np
import pytest

from converters.causal.calibration import _judged_fields as judged_fields
from converters.causal.calibration import _kinds as kinds_of
from converters.causal.calibration import calibrate, calibrate_fields
from converters.data.rows import Row, rows_sha256
from converters.errors import DataError
from edgeslm.errors import InputError, OutputInvalidError
from edgeslm.results import Classification, Extraction, Field, Timing
from edgeslm.tasks.extraction.leaves import leaves

NONE = Timing(0, 0, 0, 0, 0, 0, 0)


def said():
    """A classifier that gives the label a the probability that the text spells."""

    def classify(text):
        a = float(text)
        label = "a" if a >= 0.5 else "b"
        return Classification(label, max(a, 1 - a), {"a": a, "b": 1 - a}, NONE)

    return classify


def rows(*pairs):
    return [Row(id=str(i), input=text, answer=answer) for i, (text, answer) in enumerate(pairs)]


def test_one_that_is_too_sure_is_cooled_down():
    # it claims 99 % and is right in 80 %: the odds of 99 become those of 4
    sample = rows(*[("0.99", "a")] * 80, *[("0.99", "b")] * 20)
    calibration = calibrate(said(), sample)
    assert calibration.temperature == pytest.approx(np.log(99) / np.log(4), rel=1e-3)
    assert calibration.ece_before == pytest.approx(0.19, abs=1e-6)
    assert calibration.ece_after == pytest.approx(0, abs=1e-3)
    assert calibration.n == 100
    assert calibration.fitted_on_sha256 == rows_sha256(sample)
    assert calibration.threshold is None


def test_the_threshold_keeps_the_risk():
    sample = rows(*[("0.99", "a")] * 99, ("0.99", "b"), *[("0.6", "a")] * 50, *[("0.6", "b")] * 50)
    calibration = calibrate(said(), sample, max_risk=0.02)
    sure = 1 / (1 + (1 / 99) ** (1 / calibration.temperature))
    assert calibration.threshold == pytest.approx(sure)
    assert calibrate(said(), sample, max_risk=0.001).threshold is None


def test_a_probability_of_nothing_is_no_error():
    assert calibrate(said(), rows(("1.0", "b"), ("0.9", "a"))).temperature > 1


def test_rows_that_cannot_be_used():
    with pytest.raises(DataError, match=r"data\.split\.development"):
        calibrate(said(), [])
    with pytest.raises(DataError, match="row 1: its label 'c'"):
        calibrate(said(), rows(("0.9", "a"), ("0.9", "c")))

    def refuse(_text):
        raise InputError("the input is empty")

    with pytest.raises(DataError, match="row 0: cannot be classified: the input is empty"):
        calibrate(refuse, rows(("x", "a")))


# --- fields of an extractor -----------------------------------------------------


def extraction(text):
    """What the text spells: a JSON answer and, for each field, a confidence."""
    answer, confidences = json.loads(text)
    fields = {path: Field(confidence, None) for path, confidence in confidences.items()}
    return Extraction(answer, json.dumps(answer), True, fields, NONE)


def extracted(answer, true, confidences):
    return (json.dumps([answer, confidences]), true)


def test_a_field_that_is_too_sure_gets_its_share_and_others_stay_raw():
    rng = np.random.default_rng(0)
    sample = []
    for i in range(200):
        sure = float(rng.uniform(0.5, 1))
        right = rng.random() < sure**4
        said = {"a": "x", "b": str(i), **({"c": 1} if i < 49 else {})}
        sample.append(
            extracted(
                said,
                {**said, "a": "X" if right else "y", "c": i % 2},
                {"$.a": sure, "$.b": 0.9, "$.c": sure},
            )
        )
    calibration = calibrate_fields(extraction, rows(*sample))
    assert list(calibration.fields) == ["$.a"]  # b was always right, c came in too few rows
    fit = calibration.fields["$.a"]
    assert fit.n == 200
    assert fit.ece_after < fit.ece_before / 2
    assert calibration.ece_after == pytest.approx(fit.ece_after)
    assert calibration.n == 200
    assert calibration.fitted_on_sha256 == rows_sha256(rows(*sample))
    assert calibrate_fields(extraction, rows(*sample[:20])) is None


@pytest.mark.parametrize(
    ("said", "true", "right"),
    [
        ({"n": "18.0"}, {"n": "RM 18.00"}, {"$.n": True}),
        ({"n": 18.0}, {"n": 18}, {"$.n": True}),
        ({"d": "2018-03-12"}, {"d": "12/03/2018"}, {"$.d": True}),
        ({"d": None}, {"d": None}, {"$.d": True}),
        ({"d": None}, {}, {"$.d": True}),
        ({"d": None}, {"d": "x"}, {"$.d": False}),
        ({"d": "x"}, {"d": None}, {"$.d": False}),
        ({"l": [{"p": None}, {"p": 1}]}, {"l": [{"p": 1}, {"p": None}]}, {"$.l[0].p": True}),
        ({"l": [2, 1, 1]}, {"l": [1, 2]}, {"$.l[0]": True, "$.l[1]": True, "$.l[2]": False}),
        ({"l": []}, {"l": [1]}, {}),
    ],
)
def test_what_counts_as_right(said, true, right):
    # each path's confidence marks it, so that values can be told apart
    paths = [leaf.path for leaf in leaves(json.dumps(said)) if leaf.value != []]
    marks = {path: (i + 1) / 100 for i, path in enumerate(paths)}
    row = rows(extracted(said, true, marks))[0]
    judged = {c: ok for _, c, ok in judged_fields(extraction, row, kinds_of([row]), "case")}
    assert {path: judged[marks[path]] for path in right} == right


@pytest.mark.parametrize(("fold", "right"), [("none", 0), ("case", 1), ("punctuation", 2)])
def test_what_counts_as_right_is_compared_as_the_gates_say(fold, right):
    said = {"a": "nook", "b": "No. 3"}
    row = rows(extracted(said, {"a": "NOOK", "b": "no 3"}, {"$.a": 0.1, "$.b": 0.2}))[0]
    judged = judged_fields(extraction, row, kinds_of([row]), fold)
    assert sum(ok for *_, ok in judged) == right


def test_rows_that_cannot_be_extracted_from():
    with pytest.raises(DataError, match=r"data\.split\.development"):
        calibrate_fields(extraction, [])

    def refuse(_text):
        raise InputError("the input is empty")

    with pytest.raises(DataError, match="row 0: cannot be extracted from: the input is empty"):
        calibrate_fields(refuse, rows(("x", {})))

    def invalid(_text):
        raise OutputInvalidError("it breaks the schema", json="{}")

    assert calibrate_fields(invalid, rows(("x", {}))) is None
