"""The risk bound: it holds as often as it says, and where rows prove nothing it says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeslm.errors import ArgumentError, CalibrationError
from edgeslm.models.cascade.risk import Bound, Outcome, fit_thresholds, outcome
from edgeslm.tasks.calibration import risk_coverage

RISK, PROBABILITY = 0.05, 0.9
FITS = 150
#: more violations than this among FITS has a chance below 1 in 10,000 at 1 - PROBABILITY each
MOST = 31


def world(random, n):
    """Rows of two members that are often wrong where they are unsure, the first more so."""
    sure = random.random((n, 2))
    wrong = np.stack([0.5 * (1 - sure[:, 0]) ** 2, 0.3 * (1 - sure[:, 1])], axis=1)
    return sure, random.random((n, 2)) >= wrong


def true_risk(thresholds):
    """The share of wrong answers in that world, exactly: integrals over the two confidences."""
    first, second = (1.0 if t is None else t for t in thresholds)
    answered = (1 - first) + first * (1 - second)
    wrong = 0.5 * (1 - first) ** 3 / 3 + first * 0.3 * (1 - second) ** 2 / 2
    return wrong / answered if answered else 0.0


def test_the_bound_holds_as_often_as_it_says():
    violations = proved = 0
    for i in range(FITS):
        sure, right = world(np.random.default_rng(i), 1000)
        try:
            bound = fit_thresholds(sure, right, risk=RISK, probability=PROBABILITY)
        except CalibrationError:
            continue
        proved += 1
        violations += true_risk(bound.thresholds) > RISK
    assert proved > FITS / 2, "too few fits to judge the bound by"
    assert violations <= MOST


def test_without_a_bound_it_would_not_hold():
    # The world above can tell a bound from none: the best threshold on the rows themselves.
    violations = 0
    for i in range(FITS):
        sure, right = world(np.random.default_rng(i), 1000)
        naive = risk_coverage(sure[:, 1], right[:, 1]).threshold(RISK)
        violations += true_risk((None, naive)) > RISK
    assert violations > 2 * MOST


def test_rows_that_prove_little_are_refused_with_the_number_it_takes():
    sure, right = world(np.random.default_rng(0), 60)
    with pytest.raises(CalibrationError, match=r"60 rows.*at least 149 sure answers.*the 45 "):
        fit_thresholds(sure, right, risk=0.02, probability=0.95)


def test_a_perfect_member_answers_all():
    sure = np.full((400, 1), 0.8)
    bound = fit_thresholds(sure, np.ones((400, 1), bool), risk=0.02)
    assert bound.thresholds == (0.8,)
    assert (bound.coverage, bound.answered, bound.wrong, bound.chosen) == (1.0, 300, 0, 100)


def test_a_member_that_is_never_right_is_never_asked_for_the_answer():
    random = np.random.default_rng(1)
    sure = random.random((1000, 2))
    right = np.stack([np.zeros(1000, bool), np.ones(1000, bool)], axis=1)
    bound = fit_thresholds(sure, right)
    assert bound.thresholds[0] is None
    assert bound.coverage > 0.99


def test_the_same_rows_give_the_same_bound():
    sure, right = world(np.random.default_rng(3), 1000)
    fits = {
        fit_thresholds(sure, right, risk=RISK, probability=PROBABILITY).model_dump_json()
        for _ in range(3)
    }
    assert len(fits) == 1


@given(
    answered=st.integers(1, 300),
    wrong=st.integers(0, 300),
    risk=st.floats(0.001, 0.999),
)
@settings(deadline=None)
def test_the_chance_is_that_of_the_binomial_distribution(answered, wrong, risk):
    scipy_stats = pytest.importorskip("scipy.stats")
    wrong = min(wrong, answered)
    expected = scipy_stats.binom.cdf(wrong, answered, risk)
    assert Outcome(answered, wrong).chance(risk) == pytest.approx(expected, abs=1e-9)


def test_nothing_answered_proves_nothing():
    assert Outcome(0, 0).chance(0.5) == 1.0


@given(data=st.data())
@settings(deadline=None)
def test_an_outcome_is_what_asking_in_turn_gives(data):
    n, members = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3))
    shares = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    sure = np.array([[data.draw(shares) for _ in range(members)] for _ in range(n)])
    right = np.array([[data.draw(st.booleans()) for _ in range(members)] for _ in range(n)])
    limits = np.array([data.draw(shares | st.just(np.inf)) for _ in range(members)])
    answered = wrong = 0
    for row, truth in zip(sure, right, strict=True):
        for value, good, limit in zip(row, truth, limits, strict=True):
            if value >= limit:
                answered += 1
                wrong += not good
                break
    assert outcome(sure, right, limits) == Outcome(answered, wrong)


@pytest.mark.parametrize(
    ("confidence", "correct", "options", "words"),
    [
        ([0.5, 0.6], [True, False], {}, "rows, members"),
        ([[0.5], [0.6]], [[True]], {}, "rows, members"),
        (np.zeros((4, 0)), np.zeros((4, 0)), {}, "rows, members"),
        ([[0.5], [float("nan")]], [[True], [True]], {}, "between 0 and 1"),
        ([[0.5], [1.5]], [[True], [True]], {}, "between 0 and 1"),
        ([[0.5], [0.6]], [[True], [True]], {"risk": 0}, "risk must be"),
        ([[0.5], [0.6]], [[True], [True]], {"probability": 1}, "confidence must be"),
    ],
)
def test_what_cannot_be_fitted_is_refused(confidence, correct, options, words):
    with pytest.raises((CalibrationError, ArgumentError), match=words):
        fit_thresholds(confidence, correct, **options)


def test_a_bound_whose_counts_cannot_be_is_refused():
    fields = {"thresholds": (0.5,), "risk": 0.1, "confidence": 0.9, "chosen": 9, "tested": 9}
    with pytest.raises(ValidationError, match="answered at most tested"):
        Bound(**fields, answered=10, wrong=0)
