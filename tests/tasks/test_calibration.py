"""Temperature, isotonic fit and their measures, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.errors import CalibrationError
from edgeslm.tasks import calibration

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, n: int, labels: int, true_temperature: float):
    """Scores, and truths drawn from them at a temperature."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (n, labels))
    shares = calibration.softmax(scores, true_temperature)
    truth = (shares.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return scores, np.minimum(truth, labels - 1)


@given(seed=SEEDS, labels=st.integers(2, 6), n=st.integers(1, 60))
def test_no_temperature_changes_the_argmax_or_makes_it_worse(seed, labels, n):
    scores, truth = sample(seed, n, labels, 3.0)
    fit = calibration.fit_temperature(scores, truth)
    after = calibration.softmax(scores, fit.temperature)
    assert (after.argmax(axis=1) == scores.argmax(axis=1)).all()
    assert after.sum(axis=1) == pytest.approx(1)
    assert fit.nll_after <= fit.nll_before + 1e-9
    assert calibration.MIN_TEMPERATURE <= fit.temperature <= calibration.MAX_TEMPERATURE + 1e-9


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_sample_is_found(temperature):
    scores, truth = sample(7, 20_000, 5, temperature)
    fit = calibration.fit_temperature(scores, truth)
    assert fit.temperature == pytest.approx(temperature, rel=0.05)
    assert fit.ece_after < 0.015
    assert fit.brier_after <= fit.brier_before + 1e-6
    if temperature != 1.0:
        assert fit.ece_before > 3 * fit.ece_after


@given(seed=SEEDS)
def test_the_temperature_is_the_best_one_there_is(seed):
    scores, truth = sample(seed, 40, 3, 2.0)
    fit = calibration.fit_temperature(scores, truth)
    own = np.arange(len(truth)), truth
    for other in np.geomspace(calibration.MIN_TEMPERATURE, calibration.MAX_TEMPERATURE, 60):
        nll = -np.log(np.maximum(calibration.softmax(scores, other)[own], 1e-300)).mean()
        assert fit.nll_after <= nll + 1e-9


def test_log_probabilities_and_logits_fit_alike():
    scores, truth = sample(3, 200, 4, 2.0)
    shifted = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) - 300
    one, other = (
        calibration.fit_temperature(scores, truth),
        calibration.fit_temperature(shifted, truth),
    )
    assert one.temperature == pytest.approx(other.temperature)
    assert one.ece_before == pytest.approx(other.ece_before)


def test_a_sample_without_errors_ends_at_the_bound():
    fit = calibration.fit_temperature([[0.0, -1.0], [-2.0, 0.0]], [0, 1])
    assert fit.temperature == pytest.approx(calibration.MIN_TEMPERATURE)


def test_a_fit_goes_on_a_card():
    fit = calibration.fit_temperature(*sample(5, 100, 3, 2.0))
    card = fit.to_card(fitted_on_sha256="0" * 64, threshold=0.7)
    assert (card.temperature, card.n, card.threshold) == (fit.temperature, 100, 0.7)
    assert (card.ece_before, card.ece_after) == (fit.ece_before, fit.ece_after)


def test_ece_by_hand():
    # bins of 1/15: .95 and .97 share the last one, .5 stands alone
    ece = calibration.expected_calibration_error([0.95, 0.97, 0.5], [True, False, True])
    assert ece == pytest.approx((abs(0.95 + 0.97 - 1) + 0.5) / 3)
    assert calibration.expected_calibration_error([0.0, 1.0], [False, True]) == 0
    # the border 1/15 closes the first bin, so over- and underconfidence cancel within it
    assert calibration.expected_calibration_error([1 / 15, 0.0], [False, False]) == pytest.approx(
        1 / 30
    )


def test_brier_by_hand():
    shares = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]])
    expected = (0.3**2 + 0.2**2 + 0.1**2 + 2.0) / 2
    assert calibration.brier(shares, np.array([0, 1])) == pytest.approx(expected)


def test_risk_coverage_by_hand():
    curve = calibration.risk_coverage([0.9, 0.8, 0.8, 0.3], [True, False, True, False])
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.3]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert curve.area == pytest.approx(0.5 / 3 + 0.25 * 0.5)
    assert curve.threshold(0.4) == 0.8
    assert curve.threshold(0.5) == 0.3
    assert calibration.risk_coverage([0.5], [False]).threshold(0.9) is None


@given(seed=SEEDS, n=st.integers(1, 40))
def test_the_order_of_equals_changes_no_curve(seed, n):
    rng = np.random.default_rng(seed)
    sure, right = rng.integers(0, 4, n) / 4, rng.random(n) < 0.5
    order = rng.permutation(n)
    one = calibration.risk_coverage(sure, right)
    other = calibration.risk_coverage(sure[order], right[order])
    assert one.risk == pytest.approx(other.risk)
    assert one.area == pytest.approx(other.area)
    assert one.risk[-1] == pytest.approx(1 - right.mean())


@given(seed=SEEDS, n=st.integers(1, 80))
def test_isotonic_is_monotone_and_keeps_the_mean(seed, n):
    rng = np.random.default_rng(seed)
    sure, right = rng.integers(0, 12, n) / 12, rng.random(n) < 0.6
    fit = calibration.fit_isotonic(sure, right, min_points=1)
    line = fit(np.linspace(0, 1, 101))
    assert (np.diff(line) >= 0).all()
    assert line[0] >= 0 and line[-1] <= 1
    assert fit(sure).mean() == pytest.approx(right.mean())
    # no worse a fit than the best constant, which is monotone, too
    assert ((fit(sure) - right) ** 2).mean() <= right.var() + 1e-12


def test_isotonic_by_hand():
    fit = calibration.fit_isotonic([0.1, 0.2, 0.3, 0.4], [True, False, True, True], min_points=4)
    assert fit([0.0, 0.1, 0.25, 0.3, 1.0]).tolist() == [0.5, 0.5, 0.5, 1.0, 1.0]


def test_few_points_are_refused():
    with pytest.raises(CalibrationError, match="at least 50"):
        calibration.fit_isotonic([0.5] * 49, [True] * 49)


@pytest.mark.parametrize(
    ("scores", "truth"),
    [
        ([], []),
        ([[]], [0]),
        ([0.5], [0]),
        ([[0.0, 1.0]], [0, 1]),
        ([[0.0, 1.0]], [2]),
        ([[0.0, 1.0]], [-1]),
        ([[0.0, 1.0]], [0.5]),
        ([[0.0, -np.inf]], [0]),
        ([[0.0, np.nan]], [0]),
    ],
)
def test_samples_without_sense_are_refused(scores, truth):
    with pytest.raises(CalibrationError):
        calibration.fit_temperature(scores, truth)


@pytest.mark.parametrize(
    ("sure", "right"), [([], []), ([0.5], [True, False]), ([1.5], [True]), ([np.nan], [True])]
)
def test_confidences_without_sense_are_refused(sure, right):
    with pytest.raises(CalibrationError):
        calibration.risk_coverage(sure, right)
    with pytest.raises(CalibrationError):
        calibration.expected_calibration_error(sure, right)
