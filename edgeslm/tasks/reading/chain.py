"""A linear chain of tags: its best path, and how likely a segment of it is.

The model is a conditional random field (Lafferty, McCallum and Pereira, 2001): a path scores the
sum of its units' scores and of a score for each pair of neighbouring tags. Sums over paths run
forward and backward through the chain, scaled at each unit (Rabiner, 1989, section V.A); where
the scales vanish, since scores lie hundreds apart, in logarithms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Chain:
    """The paths through scores float [units, tags] under transitions float [tags, tags].

    ``transitions[a, b]`` is for tag b behind tag a; ``begin`` float [tags] for the first one.
    There is at least one unit. A score below -700 under the best one forbids its path.
    """

    def __init__(self, scores: Floats, transitions: Floats, begin: Floats) -> None:
        self._scores, self._transitions, self._begin = scores, transitions, begin
        self._logs: _LogSums | None = None
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            self._sum()
        self._path = self._best()
        if not self._holds():
            self._logs = _LogSums(scores, transitions, begin)

    def _sum(self) -> None:
        scores, transitions, begin = self._scores, self._transitions, self._begin
        self._follows = np.exp(transitions - transitions.max())
        self._says = np.exp(scores - scores.max(axis=1, keepdims=True))
        self._says[0] *= np.exp(begin - begin.max())
        count, tags = scores.shape
        self._forward, self._scale = np.empty((count, tags)), np.empty(count)
        follows, says, total = self._follows, self._says, np.add.reduce
        reached = says[0]
        for at, own in enumerate(says):
            if at:
                reached = (reached @ follows) * own
            self._scale[at] = scale = total(reached)
            reached = np.divide(reached, scale, self._forward[at])
        self._backward = np.ones((count, tags))
        for at in range(count - 2, -1, -1):
            behind = says[at + 1] * self._backward[at + 1] / self._scale[at + 1]
            np.matmul(follows, behind, self._backward[at])

    def _holds(self) -> bool:
        """Whether no sum vanished that the likeliest path is a part of."""
        places = np.arange(len(self._path)), self._path
        kept = (self._forward[places] > 0) & (self._backward[places] > 0)
        return bool(kept.all() and (self._scale > 0).all() and np.isfinite(self._backward).all())

    def best(self) -> Ints:
        """The likeliest path, a tag for each unit."""
        return self._path

    def _best(self) -> Ints:
        scores, transitions = self._scores, self._transitions
        reached = scores[0] + self._begin
        came = np.empty(scores.shape, np.intp)
        for at in range(1, len(scores)):
            each = reached[:, None] + transitions
            each.argmax(axis=0, out=came[at])
            reached = scores[at] + np.maximum.reduce(each, axis=0)
        path = np.empty(len(scores), np.intp)
        path[-1] = reached.argmax()
        for at in range(len(scores) - 1, 0, -1):
            path[at - 1] = came[at, path[at]]
        return path

    def segment(self, start: int, end: int, first: int, inside: int) -> float:
        """The probability that units ``start`` to ``end`` (half-open) are one segment: ``first``,
        then ``inside`` to the last of them, and not behind it."""
        if self._logs is not None:
            return self._logs.segment(start, end, first, inside)
        share, previous = self._forward[start, first], first
        for at in range(start + 1, end):
            share *= self._follows[previous, inside] * self._says[at, inside] / self._scale[at]
            previous = inside
        if end == len(self._scores):
            return float(share)
        behind = self._follows[previous] * self._says[end] * self._backward[end] / self._scale[end]
        return float(share * (behind.sum() - behind[inside]))

    def without(self, tag: int) -> float:
        """The probability that no unit has this tag."""
        if self._logs is not None:
            return self._logs.without(tag)
        says = self._says.copy()
        says[:, tag] = 0.0
        reached = says[0] / self._scale[0]
        for at in range(1, len(says)):
            reached = (reached @ self._follows) * says[at] / self._scale[at]
        return float(reached.sum())


class _LogSums:
    """Logarithms of the same sums: slower, for any scores."""

    def __init__(self, scores: Floats, transitions: Floats, begin: Floats) -> None:
        self._scores, self._transitions, self._begin = scores, transitions, begin
        self._forward = self._sums(scores)
        self._backward = np.zeros_like(scores)
        for at in range(len(scores) - 2, -1, -1):
            behind = transitions + scores[at + 1] + self._backward[at + 1]
            self._backward[at] = np.logaddexp.reduce(behind, axis=1)
        self._all = np.logaddexp.reduce(self._forward[-1])

    def _sums(self, scores: Floats) -> Floats:
        """Of the paths that lead to each tag of each unit."""
        sums = np.empty_like(scores)
        sums[0] = scores[0] + self._begin
        for at in range(1, len(scores)):
            each = sums[at - 1][:, None] + self._transitions
            sums[at] = scores[at] + np.logaddexp.reduce(each, axis=0)
        return sums

    def segment(self, start: int, end: int, first: int, inside: int) -> float:
        share, previous = self._forward[start, first], first
        for at in range(start + 1, end):
            share += self._transitions[previous, inside] + self._scores[at, inside]
            previous = inside
        if end < len(self._scores):
            behind = self._transitions[previous] + self._scores[end] + self._backward[end]
            share += np.logaddexp.reduce(np.delete(behind, inside))
        return float(np.exp(min(0.0, share - self._all)))

    def without(self, tag: int) -> float:
        scores = self._scores.copy()
        scores[:, tag] = -np.inf
        return float(np.exp(min(0.0, np.logaddexp.reduce(self._sums(scores)[-1]) - self._all)))
