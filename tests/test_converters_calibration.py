"""Calibration through a classifier: what is fitted, the threshold, and rows that cannot be used"""

import numpy as np
import pytest

from converters.calibration import calibrate
from converters.errors import DataError
from converters.rows import Row, rows_sha256
from edgeslm.errors import InputError
from edgeslm.result import Classification, Timing

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
    found = calibrate(said(), sample)
    assert found.temperature == pytest.approx(np.log(99) / np.log(4), rel=1e-3)
    assert found.ece_before == pytest.approx(0.19, abs=1e-6)
    assert found.ece_after == pytest.approx(0, abs=1e-3)
    assert found.n == 100
    assert found.fitted_on_sha256 == rows_sha256(sample)
    assert found.threshold is None


def test_the_threshold_keeps_the_risk():
    sample = rows(*[("0.99", "a")] * 99, ("0.99", "b"), *[("0.6", "a")] * 50, *[("0.6", "b")] * 50)
    found = calibrate(said(), sample, max_risk=0.02)
    sure = 1 / (1 + (1 / 99) ** (1 / found.temperature))
    assert found.threshold == pytest.approx(sure)
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
