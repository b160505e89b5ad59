"""Intervals and tests of pairs, against published values and the definitions they come from"""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.evaluation import intervals
from edgeslm.evaluation.intervals import (
    bootstrap,
    lower_bound,
    mcnemar,
    rows_to_claim,
    rows_to_prove,
    share,
)


def test_clopper_pearson_against_published_values():
    half = share(50, 100)
    assert (half.value, half.low, half.high) == pytest.approx((0.5, 0.3983, 0.6017), abs=1e-4)
    none = share(0, 10)
    assert (none.low, none.high) == pytest.approx((0, 0.3085), abs=1e-4)
    assert lower_bound(950, 1000) == pytest.approx(0.93714, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval_and_mirrors_its_opposite(case):
    hits, n = case
    estimate, opposite = share(hits, n), share(n - hits, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low == pytest.approx(1 - opposite.high)
    assert estimate.low <= lower_bound(hits, n) <= estimate.value


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.floats(0.05, 0.95))
def test_the_lower_bound_is_too_high_in_at_most_one_case_of_twenty(n, truth):
    wrong = sum(
        comb(n, hits) * truth**hits * (1 - truth) ** (n - hits)
        for hits in range(n + 1)
        if lower_bound(hits, n) > truth
    )
    assert wrong <= 0.05 + 1e-9


def test_rows_that_a_claim_takes():
    assert [rows_to_claim(share) for share in (0.90, 0.95, 0.98)] == [29, 59, 149]
    assert lower_bound(29, 29) >= 0.90 > lower_bound(28, 28)


@pytest.mark.parametrize(
    ("first", "second", "p"), [(0, 0, 1.0), (1, 9, 0.021484), (9, 1, 0.021484), (5, 5, 1.0)]
)
def test_mcnemar_against_the_binomial_test(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p, abs=1e-6)


def test_half_a_point_takes_thousands_of_rows():
    assert rows_to_prove(0.005, 20, 1000) == 5189  # 6.18 * 0.021 / 0.005**2
    assert rows_to_prove(0.005, 40, 1000) > rows_to_prove(0.005, 20, 1000)


def test_the_bootstrap_is_the_same_however_few_rows_are_drawn_at_a_time(monkeypatch):
    values = np.random.default_rng(1).normal(size=400)

    def mean(rows):
        return values[rows].mean(axis=1)

    whole = bootstrap(400, mean)
    monkeypatch.setattr(intervals, "_DRAWN", 1000)
    parts = bootstrap(400, mean)
    error = values.std() / 20
    assert whole.value == parts.value == pytest.approx(values.mean())
    for estimate in (whole, parts):
        assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.1)
