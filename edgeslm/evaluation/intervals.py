"""Numbers with their uncertainty: Clopper-Pearson for shares, the bootstrap, McNemar's test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95

#: rows of a sample, [resamples, n] -> the statistic of each resample, [resamples]
Statistic = Callable[[NDArray[np.intp]], NDArray[np.float64]]

#: row numbers that are drawn at a time, so that memory stays bounded for any n
_DRAWN = 1_000_000
_BISECTIONS = 60


class Estimate(BaseModel):
    """A value, its 95 % confidence interval, and the number of observations behind it."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    n: int


# --- shares -------------------------------------------------------------------


def share(hits: int, n: int) -> Estimate:
    """``hits`` of ``n`` (at least 1) with the exact two-sided interval of Clopper and Pearson."""
    tail = (1 - CONFIDENCE) / 2
    return Estimate(
        value=hits / n, low=_lower(hits, n, tail), high=1 - _lower(n - hits, n, tail), n=n
    )


def lower_bound(hits: int, n: int) -> float:
    """The exact one-sided lower 95 % bound of a share: it is at least this."""
    return _lower(hits, n, 1 - CONFIDENCE)


def rows_to_claim(accuracy: float) -> int:
    """Rows it takes, with no error among them, to claim an accuracy (0 to 1) at 95 %."""
    return ceil(log(1 - CONFIDENCE) / log(accuracy))


def _lower(hits: int, n: int, tail: float) -> float:
    """The share at which ``hits`` or more of ``n`` have the probability ``tail``."""
    if hits == 0:
        return 0.0
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(hits, n + 1)
    ways = factorials[n] - factorials[k] - factorials[n - k]
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        p = (low + high) / 2
        above = float(np.exp(ways + k * np.log(p) + (n - k) * np.log1p(-p)).sum())
        low, high = (p, high) if above < tail else (low, p)
    return low


# --- all else -----------------------------------------------------------------


def bootstrap(n: int, statistic: Statistic) -> Estimate:
    """The statistic of all ``n`` observations, with the percentile interval of resamples."""
    random = np.random.default_rng(0)
    at_once = max(1, _DRAWN // n)
    values = [
        statistic(random.integers(0, n, (min(at_once, RESAMPLES - done), n)))
        for done in range(0, RESAMPLES, at_once)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    value = statistic(np.arange(n)[None])[0]
    return Estimate(value=float(value), low=float(low), high=float(high), n=n)


def median_of(values: Sequence[float]) -> Estimate:
    """The median with its bootstrap interval."""
    array = np.asarray(values, np.float64)
    return bootstrap(len(values), lambda rows: np.median(array[rows], axis=1))


def percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent))


# --- pairs --------------------------------------------------------------------


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value that two systems are right equally often on the same rows.

    Args:
        only_first, only_second: rows that one system has right and the other wrong.
    """
    n = only_first + only_second
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(min(only_first, only_second) + 1)
    tail = float(np.exp(factorials[n] - factorials[k] - factorials[n - k] - n * log(2)).sum())
    return min(1.0, 2 * tail)


def rows_to_prove(difference: float, disagreeing: int, n: int) -> int:
    """Rows that prove, four times out of five, that a second system is not worse by more.

    For two systems that are equally good, one-sided at 95 % with 80 % power, where the share
    of rows that exactly one has right is as in ``disagreeing`` of ``n`` (one is added, since
    none seen does not mean none).

    Args:
        difference: of the two shares, 0 to 1; 0.005 is half a point.
    """
    normal = NormalDist()
    z = normal.inv_cdf(CONFIDENCE) + normal.inv_cdf(0.8)
    return ceil(z * z * (disagreeing + 1) / (n + 1) / difference**2)
