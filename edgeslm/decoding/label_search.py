"""Scores the labels that can matter: best first down the trie, until the rest is negligible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeslm.decoding.label_scores import LabelTokens, log_softmax_at, score_labels
from edgeslm.engines.engine import Batch, Engine, Logits, Steps

#: labels that are not followed to their end have at most this probability together
UNDECIDED = 1e-4
#: rows of one batch: each costs some 40 % of a batch's first, and may be for nothing
_ROWS = 16
#: after so many batches, a model whose finished labels have less than this share of what is open
#: would rather write something else; then all labels in few large batches are faster
_PATIENCE, _HOPELESS = 4, 0.01


@dataclass(slots=True)
class _Node:
    """A token of the trie. ``label`` is the one that ends here, ``labels`` are those below."""

    token: int
    children: list[_Node] = field(default_factory=list)
    label: int | None = None
    labels: list[int] = field(default_factory=list)


class LabelTrie:
    """The labels' tokens as a tree, made once for many texts."""

    def __init__(self, labels: Sequence[LabelTokens]) -> None:
        self.labels = tuple(labels)
        self.longest = max(map(len, labels))
        self.root = _Node(-1)
        for i, tokens in enumerate(labels):
            node = self.root
            for token in tokens:
                node.labels.append(i)
                below = {child.token: child for child in node.children}
                if token not in below:
                    node.children.append(below.setdefault(token, _Node(token)))
                node = below[token]
            node.labels.append(i)
            node.label = i


@dataclass(slots=True)
class _Open:
    """A node whose probability is known and whose logits are not, and those behind it.

    ``chain`` is the node and what follows up to the next choice, evaluated together. ``score``
    is the node's log-probability, ``depth`` counts the label's tokens before it, ``sequence``
    holds these. ``weight`` is the logarithm of the most that its labels can weigh together.
    """

    chain: list[_Node]
    score: float
    depth: int
    sequence: int
    weight: float

    @property
    def labels(self) -> list[int]:
        return self.chain[0].labels


def search_labels(
    engine: Engine,
    trie: LabelTrie,
    *,
    sequence: int,
    length: int,
    row: Logits,
    forks: Sequence[int],
    temperature: float = 1.0,
) -> Steps[tuple[NDArray[np.float64], int]]:
    """Log-probability of every label that can matter, after a prefilled sequence, step by step.

    Best-first branch and bound: no label is likelier than a prefix of it. The likeliest prefixes
    are followed until all others together have less than UNDECIDED of the probability at this
    temperature, so the likeliest label is among those that were followed, and these have the
    scores of ``labels.score_labels``, but for rounding where rows lie elsewhere in memory. Each
    other prefix's probability, an upper bound, is shared evenly by its labels. Where forks run
    out, or the model wants no label, the rest is scored in whole.

    Args:
        sequence, length, row, forks: as in ``labels.score_labels``.
        temperature: that probabilities are taken at afterwards.

    Returns:
        float64 [len(labels)], and the number of decodes.

    Raises:
        LabelError: a label has more tokens than a batch has outputs.
    """
    search = _Search(len(trie.labels), temperature)
    search.read(trie.root, 0.0, 0, sequence, row)
    row = row.copy()  # it is valid until the next evaluation
    free = list(reversed(forks))
    rows = min(_ROWS, engine.max_outputs)
    decodes = 0
    while chosen := search.choose(rows):
        whole = decodes >= _PATIENCE and search.hopeless
        if whole or len(chosen) > len(free) or trie.longest > engine.max_outputs:
            rest = search.undecided()
            scores, more = yield from score_labels(
                engine,
                [trie.labels[i] for i in rest],
                sequence=sequence,
                length=length,
                row=row,
                forks=forks,
            )
            search.scores[rest] = scores
            return search.scores, decodes + more
        forked, logits = yield from _follow(engine, chosen, [free.pop() for _ in chosen], length)
        search.follow(chosen, forked, logits)
        decodes += 1
    search.settle()
    return search.scores, decodes


def _follow(
    engine: Engine, chosen: Sequence[_Open], targets: Sequence[int], length: int
) -> Steps[tuple[Sequence[int], Logits]]:
    """Evaluate chains, each in a fork of what is before it; the forks, and logits of all rows."""
    for opened, target in zip(chosen, targets, strict=True):
        engine.fork(opened.sequence, target)
    rows = [
        (node.token, length + opened.depth + i, target)
        for opened, target in zip(chosen, targets, strict=True)
        for i, node in enumerate(opened.chain)
    ]
    logits = yield Batch(
        tokens=[token for token, _, _ in rows],
        positions=[position for _, position, _ in rows],
        sequences=[(target,) for _, _, target in rows],
        wanted=[True] * len(rows),
    )
    return targets, logits


class _Search:
    """What is known so far: the scores of finished labels, and the open nodes."""

    def __init__(self, count: int, temperature: float) -> None:
        self.scores = np.zeros(count)
        self._power = 1 / temperature
        # of the finished labels together: less than any single one of these can have
        self._enough = np.log(min(UNDECIDED, 0.5 / count))
        self._open: list[_Open] = []
        self._chosen: list[_Open] = []
        self._finished = -np.inf  # the logarithm of what finished labels weigh together

    def read(self, node: _Node, score: float, depth: int, sequence: int, row: Logits) -> None:
        """Take the logits behind a node: its children are finished labels, or open."""
        tokens = [child.token for child in node.children]
        values = score + log_softmax_at(row, tokens)
        for child, value in zip(node.children, values.tolist(), strict=True):
            weight = self._weight(value, len(child.labels))
            if child.label is not None:
                self.scores[child.label] = value
                self._finished = float(np.logaddexp(self._finished, weight))
            else:
                self._open.append(_Open(_chain(child), value, depth, sequence, weight))

    def _weight(self, score: float, count: int) -> float:
        """The most that labels can weigh whose probabilities add up to exp(score), as logarithm.

        At a temperature above 1 that is where they are all alike, below where one has it all.
        """
        return score * self._power + max(0.0, 1 - self._power) * float(np.log(count))

    def choose(self, rows: int) -> list[_Open]:
        """Take the heaviest open nodes that have to be followed, in so many rows; none at last."""
        self._open.sort(key=lambda opened: -opened.weight)
        weights = np.array([opened.weight for opened in self._open])
        left = np.logaddexp.accumulate(weights[::-1])[::-1]
        sure = self._finished
        count = 0
        for opened, rest in zip(self._open, left.tolist(), strict=True):
            rows -= len(opened.chain)
            if rest <= self._enough + sure or (count and rows < 0):
                break
            sure = float(np.logaddexp(sure, opened.weight))  # at best
            count += 1
        self._chosen, self._open = self._open[:count], self._open[count:]
        return self._chosen

    @property
    def hopeless(self) -> bool:
        """Whether finished labels are next to nothing beside those that are open."""
        weights = [opened.weight for opened in (*self._chosen, *self._open)]
        return bool(self._finished < np.logaddexp.reduce(weights) + np.log(_HOPELESS))

    def follow(self, chosen: Sequence[_Open], sequences: Sequence[int], rows: Logits) -> None:
        """Take the logits of the chosen nodes' chains."""
        at = 0
        for opened, sequence in zip(chosen, sequences, strict=True):
            score = opened.score
            for i, node in enumerate(opened.chain[1:]):
                score += float(log_softmax_at(rows[at + i], [node.token])[0])
            at += len(opened.chain)
            last, depth = opened.chain[-1], opened.depth + len(opened.chain)
            self.read(last, score, depth, sequence, rows[at - 1])
        self._chosen = []

    def undecided(self) -> list[int]:
        """The labels below nodes that were not followed."""
        return [i for opened in (*self._chosen, *self._open) for i in opened.labels]

    def settle(self) -> None:
        """Give labels below open nodes an even share of what they have together at most."""
        for opened in self._open:
            self.scores[opened.labels] = opened.score - np.log(len(opened.labels))


def _chain(node: _Node) -> list[_Node]:
    """A node and those behind it up to the next choice."""
    chain = [node]
    while len(chain[-1].children) == 1 and chain[-1].children[0].label is None:
        chain.append(chain[-1].children[0])
    return chain
