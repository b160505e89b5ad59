"""Thresholds of a cascade, with proof on held-out rows of how many of its answers are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log1p
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgeslm import arguments
from edgeslm.errors import CalibrationError
from edgeslm.formats.card import Share
from edgeslm.tasks.calibration import risk_coverage

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: candidates that lie between "no error seen" and the risk itself
_CANDIDATES = 40
#: one row of so many chooses candidates, the others test them: more of these prove more often
_CHOOSING = 4
_METHOD: Final = "learn then test: fixed sequence, exact binomial, split sample"

Open = Annotated[float, Field(gt=0, lt=1)]


class Bound(BaseModel):
    """What is proved of a cascade, and on what.

    Of the answers that some member was sure enough of, at most the share ``risk`` is wrong; that
    holds with probability ``confidence`` over the draw of the held-out rows. ``thresholds`` are
    the members' (None: this one never is sure enough). Of ``tested`` rows, which the candidates
    were not chosen by, ``answered`` were answered, ``wrong`` of them wrongly; ``chosen`` rows
    the candidates were chosen by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["learn then test: fixed sequence, exact binomial, split sample"] = _METHOD
    thresholds: tuple[Share | None, ...] = Field(min_length=1, max_length=100)
    risk: Open
    confidence: Open
    chosen: int = Field(ge=1)
    tested: int = Field(ge=1)
    answered: int = Field(ge=1)
    wrong: int = Field(ge=0)

    @model_validator(mode="after")
    def _counts_fit(self) -> Bound:
        if not self.wrong <= self.answered <= self.tested:
            raise ValueError("wrong must be at most answered, and answered at most tested")
        return self

    @property
    def coverage(self) -> float:
        """The share of tested rows that a member was sure enough of."""
        return self.answered / self.tested


def fit_thresholds(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    risk: float = 0.02,
    probability: float = 0.95,
    seed: int = 0,
) -> Bound:
    """Thresholds with which a cascade answers much, and proof of its share of errors.

    Learn then Test (Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test: Calibrating
    Predictive Algorithms to Achieve Risk Control", 2021) with a split fixed sequence. A quarter of
    the rows, drawn by ``seed``, chooses candidates and their order. On the others each is tested
    in that order, with the exact binomial test of "more than ``risk`` of its answers are
    wrong" at level 1 - ``probability``, until the first that does not pass. All that passed hold
    together, so the one that answers most is taken. Rows must be drawn like those to come.

    Args:
        confidence: float [n, members], 0 to 1, in the order in which members are asked.
        correct: bool [n, members], whether each member's answer is right.
        risk, probability: each between 0 and 1.

    Raises:
        ArgumentError: a share that is none.
        CalibrationError: confidences out of range, shapes that do not fit, or rows that prove no
            threshold; has the number it takes.
    """
    sure, right = _sample(confidence, correct)
    risk, probability = arguments.share("risk", risk), arguments.share("confidence", probability)
    order = np.random.default_rng(seed).permutation(len(sure))
    chosen, tested = np.split(order, [max(1, len(order) // _CHOOSING)])
    level = 1 - probability
    best: tuple[Floats, Outcome] | None = None
    for thresholds in _candidates(sure[chosen], right[chosen], risk):
        judged = outcome(sure[tested], right[tested], thresholds)
        if judged.chance(risk) > level:
            break
        if best is None or judged.answered > best[1].answered:
            best = thresholds, judged
    if best is None:
        least = ceil(log(level) / log1p(-risk))
        raise CalibrationError(
            f"{len(sure):,} rows do not prove a risk of {risk:g} at {probability:g}: it takes at "
            f"least {least:,} sure answers without an error among the {len(tested):,} that are for "
            "the test, more with some errors; give more rows, a higher risk, or better members"
        )
    thresholds, judged = best
    return Bound(
        thresholds=tuple(None if np.isinf(t) else float(t) for t in thresholds),
        risk=risk,
        confidence=probability,
        chosen=len(chosen),
        tested=len(tested),
        answered=judged.answered,
        wrong=judged.wrong,
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many rows a cascade answers, and how many of them wrongly."""

    answered: int
    wrong: int

    def chance(self, risk: float) -> float:
        """The probability of so few errors or fewer if answers are wrong at this share."""
        if not self.answered:
            return 1.0
        factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, self.answered + 1)))])
        k = np.arange(self.wrong + 1)
        ways = factorials[-1] - factorials[k] - factorials[self.answered - k]
        terms = ways + k * log(risk) + (self.answered - k) * log1p(-risk)
        return min(1.0, float(np.exp(terms).sum()))


def outcome(sure: Floats, right: Bools, thresholds: Floats) -> Outcome:
    """What these thresholds (float [members], infinite: never) do on rows [n, members]."""
    enough = sure >= thresholds
    answered = enough.any(axis=1)
    first = enough.argmax(axis=1)
    good = right[np.arange(len(right)), first]
    return Outcome(int(answered.sum()), int((answered & ~good).sum()))


def _candidates(sure: Floats, right: Bools, risk: float) -> list[Floats]:
    """Thresholds from the one that is likeliest to pass to those that answer more."""
    shares = np.linspace(0, risk, _CANDIDATES)
    candidates = [_thresholds_at(share, sure, right) for share in shares]
    outcomes = [outcome(sure, right, thresholds) for thresholds in candidates]
    # A threshold was put just above an error, so on other rows one more error is to be expected.
    chances = [Outcome(o.answered + 1, o.wrong + 1).chance(risk) for o in outcomes]
    return candidates[int(np.argmin(chances)) :]


def _thresholds_at(share: float, sure: Floats, right: Bools) -> Floats:
    """Each member's lowest threshold with at most this share of errors among rows left to it."""
    left = np.ones(len(sure), np.bool_)
    thresholds = np.full(sure.shape[1], np.inf)
    for i in range(sure.shape[1]):
        if not left.any():
            break
        threshold = risk_coverage(sure[left, i], right[left, i]).threshold(float(share))
        if threshold is not None:
            thresholds[i] = threshold
            left &= sure[:, i] < threshold
    return thresholds


def _sample(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    sure = np.asarray(confidence, np.float64)
    right = np.asarray(correct, np.bool_)
    if sure.ndim != 2 or not sure.shape[1] or sure.shape != right.shape or len(sure) < 2:
        raise CalibrationError(
            f"confidences are {sure.shape} and truths {right.shape}; both are [rows, members], "
            "of at least two rows"
        )
    if not ((sure >= 0) & (sure <= 1)).all():
        raise CalibrationError("a confidence is not between 0 and 1; see which member gives it")
    return sure, right
