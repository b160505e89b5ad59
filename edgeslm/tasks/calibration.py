"""Calibration on a development set: temperature, isotonic fit, ECE, Brier score, risk-coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeslm.errors import CalibrationError
from edgeslm.formats.card import MAX_STEPS, Calibration, FieldCalibration
from edgeslm.tasks.decision import softmax

Floats = NDArray[np.float64]

#: equal-width bins of the expected calibration error
ECE_BINS: Final = 15
#: where the temperature is looked for; a sample without an error ends at the lower bound
MIN_TEMPERATURE: Final = 0.05
MAX_TEMPERATURE: Final = 20.0
#: examples below which an isotonic fit says more of the sample than of the model
MIN_ISOTONIC: Final = 50
#: examples that a step of a field's calibration is the mean of, at least
MIN_STEP: Final = 10
#: parts that a field's errors are measured on, each with a fit on the others
FOLDS: Final = 5

_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A temperature, and how probabilities fit the truth at temperature 1 and with it.

    ``nll`` is in nats per example, ``ece`` 0 to 1, ``brier`` 0 to 2.
    """

    temperature: float
    n: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    brier_before: float
    brier_after: float

    def to_card(
        self, *, fitted_on_sha256: str | None = None, threshold: float | None = None
    ) -> Calibration:
        """The part of a card that a classifier is loaded with."""
        return Calibration(
            temperature=self.temperature,
            threshold=threshold,
            fitted_on_sha256=fitted_on_sha256,
            n=self.n,
            ece_before=self.ece_before,
            ece_after=self.ece_after,
        )


def fit_temperature(scores: ArrayLike, truth: ArrayLike) -> TemperatureFit:
    """The temperature that gives the truth the highest likelihood; it never changes the argmax.

    The likelihood is concave in the inverse temperature, so bisection on its slope finds the
    best one between MIN_TEMPERATURE and MAX_TEMPERATURE (Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017).

    Args:
        scores: log-probabilities or logits, float [n, labels].
        truth: index of the right label, int [n].

    Raises:
        CalibrationError: no examples, shapes that do not fit, a score that is not finite.
    """
    table, right = _sample(scores, truth)
    table = table - table.max(axis=1, keepdims=True)
    own = table[np.arange(len(table)), right]
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        expected = (softmax(table, 1 / middle) * table).sum(axis=1)
        if float((expected - own).mean()) < 0:
            low = middle
        else:
            high = middle
    temperature = 2 / (low + high)
    before, after = softmax(table), softmax(table, temperature)
    return TemperatureFit(
        temperature=temperature,
        n=len(right),
        nll_before=_nll(table, right, 1.0),
        nll_after=_nll(table, right, temperature),
        ece_before=_label_ece(before, right),
        ece_after=_label_ece(after, right),
        brier_before=brier(before, right),
        brier_after=brier(after, right),
    )


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean gap of confidence and accuracy over ECE_BINS equal-width bins, weighted by their size.

    A bin is open below and closed above; 0 lies in the first one (Naeini et al., "Obtaining
    Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015).

    Args:
        confidence: float [n], 0 to 1. ``correct``: bool [n].
    """
    sure, right = _judged(confidence, correct)
    bins = np.clip(np.ceil(sure * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=sure - right, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(sure))


def brier(probabilities: Floats, truth: NDArray[np.intp]) -> float:
    """Mean squared distance of probabilities [n, labels] from the truth [n]; 0 to 2."""
    hit = probabilities[np.arange(len(truth)), truth]
    return float(((probabilities**2).sum(axis=1) - 2 * hit + 1).mean())


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What answering only above a confidence costs and gives, surest first.

    ``thresholds``, ``coverage`` (share answered) and ``risk`` (share of errors among those)
    are float [k], one for each distinct confidence. ``area`` under the curve: smaller is
    better; a ranking without worth has the error rate.
    """

    thresholds: Floats
    coverage: Floats
    risk: Floats
    area: float

    def threshold(self, max_risk: float) -> float | None:
        """The confidence that answers most with at most this risk; None if there is none."""
        good = np.flatnonzero(self.risk <= max_risk)
        return float(self.thresholds[good[-1]]) if len(good) else None


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """The risk-coverage curve; equal confidences are answered together.

    Args:
        confidence: float [n], 0 to 1. ``correct``: bool [n].

    Raises:
        CalibrationError: no examples, shapes that do not fit, a confidence outside 0 to 1.
    """
    sure, right = _judged(confidence, correct)
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], 1 - right[order]
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True))
    risk = wrong.cumsum()[last] / (last + 1)
    coverage = (last + 1) / len(sure)
    area = float((risk * np.diff(coverage, prepend=0.0)).sum())
    return RiskCoverage(sure[last], coverage, risk, area)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A step function from confidence to the share that was right; it never falls.

    ``values[i]`` (float [k]) holds from ``starts[i]`` up to the next start; the first one
    holds below it, too.
    """

    starts: Floats
    values: Floats
    n: int

    def __call__(self, confidence: ArrayLike) -> Floats:
        """Calibrated confidences, in the shape of those given."""
        steps = np.searchsorted(self.starts, np.asarray(confidence, np.float64), side="right") - 1
        calibrated: Floats = self.values[np.maximum(steps, 0)]
        return calibrated


def fit_isotonic(
    confidence: ArrayLike, correct: ArrayLike, *, min_points: int = MIN_ISOTONIC
) -> Isotonic:
    """The non-decreasing function of least squares, by pooling adjacent violators.

    Zadrozny & Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates", KDD 2002.

    Args:
        confidence: float [n], 0 to 1. ``correct``: bool [n].

    Raises:
        CalibrationError: fewer than ``min_points`` examples, shapes that do not fit, a
            confidence outside 0 to 1.
    """
    sure, right = _judged(confidence, correct)
    if len(sure) < min_points:
        raise CalibrationError(
            f"an isotonic fit of {len(sure)} examples says little; give at least {min_points}, "
            "or fit a temperature"
        )
    starts, place, counts = np.unique(sure, return_inverse=True, return_counts=True)
    sums = np.bincount(place, weights=right)
    blocks: list[tuple[float, float, int]] = []  # start, sum and count of each
    for start, total, count in zip(starts.tolist(), sums.tolist(), counts.tolist(), strict=True):
        block = (start, total, count)
        while blocks and blocks[-1][1] * block[2] >= block[1] * blocks[-1][2]:
            before = blocks.pop()
            block = (before[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    return Isotonic(
        np.array([start for start, _, _ in blocks]),
        np.array([total / count for _, total, count in blocks]),
        len(sure),
    )


def fit_field(
    confidence: ArrayLike, correct: ArrayLike, rows: ArrayLike
) -> FieldCalibration | None:
    """What the card says of one field's confidence; None where too little is known to say it.

    That is fewer than MIN_ISOTONIC rows, answers that were all right or all wrong, or a fit
    that does not lower the Brier score of rows it was not fitted on.

    Args:
        confidence: float [n], 0 to 1. ``correct``: bool [n].
        rows: int [n], the row that each value is from; a row may have several.

    Raises:
        CalibrationError: shapes that do not fit, a confidence outside 0 to 1.
    """
    group = np.asarray(rows)
    if len(np.unique(group)) < MIN_ISOTONIC:
        return None
    sure, right = _judged(confidence, correct)
    if right.min() == right.max():
        return None
    fold = np.unique(group, return_inverse=True)[1] % FOLDS
    unseen = np.empty_like(sure)
    for i in range(FOLDS):
        unseen[fold == i] = _stepwise(sure[fold != i], right[fold != i])(sure[fold == i])
    before, after = (float(((p - right) ** 2).mean()) for p in (sure, unseen))
    if after >= before:
        return None
    fit = _stepwise(sure, right)
    return FieldCalibration(
        starts=tuple(fit.starts.tolist()),
        values=tuple(fit.values.tolist()),
        n=len(right),
        ece_before=expected_calibration_error(sure, right),
        ece_after=expected_calibration_error(unseen, right),
        brier_before=before,
        brier_after=after,
    )


def _stepwise(sure: Floats, right: Floats) -> Isotonic:
    """An isotonic fit of at most MAX_STEPS steps, each the mean of MIN_STEP examples or more."""
    values, place, counts = np.unique(sure, return_inverse=True, return_counts=True)
    least = max(MIN_STEP, -(-len(sure) // MAX_STEPS))
    starts = [0]
    for i in range(1, len(values)):
        if counts[starts[-1] : i].sum() >= least and counts[i:].sum() >= least:
            starts.append(i)
    step = np.searchsorted(starts, np.arange(len(values)), side="right") - 1
    return fit_isotonic(values[np.array(starts)[step]][place], right, min_points=1)


def _nll(table: Floats, right: NDArray[np.intp], temperature: float) -> float:
    scaled = table / temperature  # the best score of each row is 0
    own = scaled[np.arange(len(right)), right]
    return float((np.log(np.exp(scaled).sum(axis=1)) - own).mean())


def _label_ece(probabilities: Floats, right: NDArray[np.intp]) -> float:
    sure = np.minimum(probabilities.max(axis=1), 1.0)
    return expected_calibration_error(sure, probabilities.argmax(axis=1) == right)


def _sample(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    table, right = np.asarray(scores, np.float64), np.asarray(truth)
    if table.ndim != 2 or right.shape != table.shape[:1] or not table.size:
        raise CalibrationError(
            f"scores of shape {table.shape} and truth of shape {right.shape}: "
            "give scores [n, labels] and truth [n], with at least one example"
        )
    if not np.isfinite(table).all():
        raise CalibrationError("a score is not finite; give log-probabilities or logits")
    if right.dtype.kind not in "iu" or right.min() < 0 or right.max() >= table.shape[1]:
        raise CalibrationError(f"truth must be label numbers from 0 to {table.shape[1] - 1}")
    return table, right.astype(np.intp)


def _judged(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct)
    if sure.ndim != 1 or right.shape != sure.shape or not sure.size:
        raise CalibrationError(
            f"confidence of shape {sure.shape} and correct of shape {right.shape}: "
            "give both as [n], with at least one example"
        )
    if not ((sure >= 0) & (sure <= 1)).all():  # also what is not a number
        raise CalibrationError("a confidence lies outside 0 to 1")
    return sure, right.astype(bool).astype(np.float64)
