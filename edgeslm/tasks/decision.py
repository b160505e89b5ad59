"""From logits to answers: probabilities, the label that is said, and when none is sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeslm.formats.card_facts import Bounds

if TYPE_CHECKING:
    from edgeslm.formats.card import Calibration, ClassifyTask

Scores = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """The index of the label that is said, and every label's probability, float64 [labels].

    ``confidence`` is that of the decision: the label's own probability, but where no label was
    sure enough, how sure it is that the likeliest is not right.
    """

    label: int
    probabilities: NDArray[np.float64]
    confidence: float

    @classmethod
    def likeliest(cls, probabilities: NDArray[np.float64]) -> Decision:
        """The label of the highest probability."""
        best = int(probabilities.argmax())
        return cls(best, probabilities, float(probabilities[best]))


@dataclass(frozen=True, slots=True)
class Rule:
    """How a classifier's label is chosen: the likeliest, or ``out_of_scope`` where none is sure.

    ``threshold`` bounds the probability of the likeliest other label, ``energy`` the
    log-sum-exp of the logits of the others, before the temperature; None is no bound. What is
    below a threshold is out of scope as surely as the likeliest label is wrong, 1 - its
    probability; what is below an energy, by the logistic function of what is missing, at the
    temperature (from 0.5 on).
    """

    temperature: float = 1.0
    out_of_scope: int | None = None
    threshold: float | None = None
    energy: float | None = None

    @classmethod
    def of(cls, task: ClassifyTask, calibration: Calibration | None) -> Rule:
        """The rule that a card promises."""
        labels = [label.name for label in task.labels]
        return cls.within(calibration or Bounds(), labels, task.out_of_scope)

    @classmethod
    def within(
        cls, bounds: Bounds | Calibration, labels: Sequence[str], out_of_scope: str | None
    ) -> Rule:
        """The rule of these bounds; ``out_of_scope`` is said only where it is one of the labels."""
        if out_of_scope is None or out_of_scope not in labels:
            return cls(bounds.temperature)
        by_energy = bounds.reject == "energy"
        return cls(
            bounds.temperature,
            labels.index(out_of_scope),
            None if by_energy else bounds.threshold,
            bounds.energy if by_energy else None,
        )

    def __call__(self, logits: Scores) -> Decision:
        """Decide on the logits (or log-probabilities) of one text, [labels]."""
        probabilities = softmax(logits, self.temperature)
        likeliest = Decision.likeliest(probabilities)
        if self.out_of_scope is None or likeliest.label == self.out_of_scope:
            return likeliest
        if self.threshold is not None and likeliest.confidence < self.threshold:
            return Decision(self.out_of_scope, probabilities, 1 - likeliest.confidence)
        if self.energy is not None:
            missing = self.energy - log_sum_exp(np.delete(logits, self.out_of_scope))
            if missing > 0:
                sure = float(sigmoid(np.array(missing), self.temperature))
                return Decision(self.out_of_scope, probabilities, sure)
        return likeliest


def softmax(logits: Scores, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities at a calibrated temperature of logits [labels], or of rows [n, labels].

    They add up to 1 over the labels.
    """
    scores = logits.astype(np.float64)
    weights = np.exp((scores - scores.max(axis=-1, keepdims=True)) / temperature)
    shares: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: Scores, temperature: float = 1.0) -> NDArray[np.float64]:
    """The probability of each label by itself, at a calibrated temperature."""
    scores = logits.astype(np.float64) / temperature
    shares: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * scores))  # exp would overflow
    return shares


def log_sum_exp(logits: Scores) -> float:
    """The energy of logits, with its sign turned: large where the model knows the text."""
    scores = logits.astype(np.float64)
    top = scores.max()
    return float(top + np.log(np.exp(scores - top).sum()))


def picked(probabilities: NDArray[np.float64], threshold: float) -> Sequence[int]:
    """The labels of a multi-label head from ``threshold`` on, likeliest first."""
    order = np.argsort(-probabilities, kind="stable")
    return [int(i) for i in order if probabilities[i] >= threshold]
