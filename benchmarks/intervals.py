"""Numbers with their uncertainty: Wilson's interval for shares, the bootstrap for all else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

RESAMPLES = 2000
CONFIDENCE = 0.95

#: rows of a sample, [resamples, n] -> the statistic of each resample, [resamples]
Statistic = Callable[[NDArray[np.intp]], NDArray[np.float64]]


class Estimate(BaseModel):
    """A value, its 95 % confidence interval, and the number of observations behind it."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    n: int


def share(hits: int, n: int) -> Estimate:
    """``hits`` of ``n`` with Wilson's interval, which also holds near 0 and 1."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(value=p, low=max(0.0, middle - half), high=min(1.0, middle + half), n=n)


def bootstrap(n: int, statistic: Statistic) -> Estimate:
    """The statistic of all ``n`` observations, with the percentile interval of resamples."""
    rows = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(rows), [tail, 1 - tail])
    value = statistic(np.arange(n)[None])[0]
    return Estimate(value=float(value), low=float(low), high=float(high), n=n)


def median_of(values: Sequence[float]) -> Estimate:
    """The median with its bootstrap interval."""
    array = np.asarray(values, np.float64)
    return bootstrap(len(values), lambda rows: np.median(array[rows], axis=1))


def percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent))
