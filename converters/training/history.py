"""What a training run has done: the loss of its steps, and its evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores on the development rows. Of an adapter: the mean loss per answer token, and the
    shares of tokens and of whole answers that it would pick (argmax, each after the right
    tokens). Of an encoder: the mean loss per row, its heads' mean accuracy (macro-F1 where
    several labels may hold) as ``tokens``, and the share of rows whose every head is right.
    ``tokens`` is a share of ``count`` things; 0 where its error is not to be reckoned with."""

    step: int
    loss: float
    tokens: float
    answers: float
    count: int = 0

    @property
    def error(self) -> float:
        """The standard error of ``tokens``, as if all of them were independent."""
        return math.sqrt(self.tokens * (1 - self.tokens) / self.count) if self.count else 0.0


@dataclass(slots=True)
class History:
    """What a training run did. ``losses`` are (step, mean loss of its batch)."""

    steps: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    @property
    def peak(self) -> Evaluation | None:
        """The evaluation with most tokens right, then least loss."""
        return max(self.evaluations, key=lambda e: (e.tokens, -e.loss), default=None)

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights are kept: the last within one standard error of the peak.

        A dozen evaluations of few rows have their peak by chance, while the learning rate that
        falls to zero makes later weights the steadier ones (Breiman et al. 1984, the one standard
        error rule).
        """
        peak = self.peak
        if peak is None or not peak.count:
            return peak
        near = (e for e in reversed(self.evaluations) if e.tokens >= peak.tokens - peak.error)
        return next(near)
