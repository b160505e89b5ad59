"""Observations become statistics: medians and percentiles with their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edgeslm.bench.report.schema import Measured, Percentile
from edgeslm.evaluation.intervals import bootstrap

_PERCENTILES: Final[dict[Percentile, int]] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


def median(values: Sequence[float]) -> Measured:
    """The median of at least one value, with its interval."""
    return _percentile(values, 50)


def percentiles(values: Sequence[float]) -> dict[Percentile, Measured]:
    """p50, p90, p95 and p99 of at least one value, each with its interval."""
    return {name: _percentile(values, percent) for name, percent in _PERCENTILES.items()}


def _percentile(values: Sequence[float], percent: float) -> Measured:
    array = np.asarray(values, np.float64)
    estimate = bootstrap(len(array), lambda rows: np.percentile(array[rows], percent, axis=1))
    return Measured.model_validate(estimate.model_dump())
