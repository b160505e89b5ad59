"""The label trie: every label's exact log-probability from one prefilled sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeslm.decoding.prompt import Tokenizer
from edgeslm.engines.engine import Batch, Engine, Logits, Steps
from edgeslm.errors import LabelError
from edgeslm.formats.text import is_blank

LabelTokens = tuple[int, ...]


def tokenize_labels(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[LabelTokens, ...]:
    """Each label's tokens and the terminator, as training spells an answer.

    The terminator makes no label a prefix of another, so probabilities add up. Labels of one
    token each cannot be prefixes of another and have none: the prompt's logits say it all.

    Raises:
        LabelError: empty, doubled, or two labels that the tokenizer cannot tell apart.
    """
    end = tokenizer.vocab.end[0]
    seen: dict[LabelTokens, str] = {}
    for text in texts:
        if is_blank(text):
            raise LabelError("a label is empty; give each one a name")
        tokens = (*tokenizer.tokenize(text), end)
        if tokens in seen:
            raise LabelError(f"labels {seen[tokens]!r} and {text!r} are the same to the model")
        seen[tokens] = text
    if len(seen) < 2:
        raise LabelError("give at least two labels")
    if all(len(tokens) == 2 for tokens in seen):  # a token and the terminator
        return tuple(tokens[:1] for tokens in seen)
    return tuple(seen)


def log_softmax_at(row: Logits, tokens: Sequence[int]) -> NDArray[np.float64]:
    """Log-probabilities of ``tokens`` under softmax over the full vocabulary, float64."""
    top = row.max()
    total = np.exp(row - top).sum(dtype=np.float64)
    scores: NDArray[np.float64] = row[list(tokens)].astype(np.float64) - float(top) - np.log(total)
    return scores


@dataclass(slots=True)
class _Node:
    """A token of the trie, below the root. ``parent`` is -1 for the root."""

    token: int
    depth: int
    parent: int
    labels: list[int]


def score_labels(
    engine: Engine,
    labels: Sequence[LabelTokens],
    *,
    sequence: int,
    length: int,
    row: Logits,
    forks: Sequence[int],
) -> Steps[tuple[NDArray[np.float64], int]]:
    """Log-probability of every label after a prefilled sequence, step by step.

    The trie of the labels is decoded as one batch over forks of the sequence (more
    batches where it exceeds the engine's outputs or sequences); a token shared by
    labels is evaluated once. The terminator is only read, never evaluated.

    Args:
        sequence: the prefilled one; ``length`` its tokens; ``row`` the logits after them.
        forks: sequences that may be used, and are left as they are.

    Returns:
        float64 [len(labels)], and the number of decodes.
    """
    scores = np.zeros(len(labels))
    first = list(dict.fromkeys(tokens[0] for tokens in labels))
    at_root = dict(zip(first, log_softmax_at(row, first).tolist(), strict=True))
    for i, tokens in enumerate(labels):
        scores[i] = at_root[tokens[0]]
    decodes = 0
    if max(map(len, labels)) == 1:
        return scores, decodes
    for group in _groups(labels, engine.max_outputs, len(forks)):
        targets = dict(zip(group, forks, strict=False))
        for target in targets.values():
            engine.fork(sequence, target)
        yield from _score_group(labels, targets, length, scores)
        decodes += 1
    return scores, decodes


def _groups(labels: Sequence[LabelTokens], rows: int, sequences: int) -> list[list[int]]:
    """Labels in trie order, cut such that a group's nodes and leaves fit one batch."""
    groups: list[list[int]] = []
    used = 0
    before: LabelTokens = ()
    for i in sorted(range(len(labels)), key=lambda i: labels[i]):
        path = labels[i][:-1]
        if len(path) > rows:
            raise LabelError(
                f"a label has {len(path)} tokens, {rows} are allowed; use a verbalizer"
            )
        new = len(path) - _shared(before, path)
        if not groups or used + new > rows or len(groups[-1]) == sequences:
            groups.append([])
            used, new = 0, len(path)
        groups[-1].append(i)
        used += new
        before = path
    return groups


def _shared(a: LabelTokens, b: LabelTokens) -> int:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def _trie(labels: Sequence[LabelTokens], group: Sequence[int]) -> list[_Node]:
    """Nodes in depth-first order: every sequence sees its tokens in order."""
    nodes: list[_Node] = []
    path: list[int] = []  # node numbers down to the label before
    for i in group:
        tokens = labels[i][:-1]
        keep = _shared(tuple(nodes[n].token for n in path), tokens)
        del path[keep:]
        for depth in range(keep, len(tokens)):
            nodes.append(_Node(tokens[depth], depth, path[-1] if path else -1, []))
            path.append(len(nodes) - 1)
        for n in path:
            nodes[n].labels.append(i)
    return nodes


def _score_group(
    labels: Sequence[LabelTokens],
    forks: dict[int, int],
    length: int,
    scores: NDArray[np.float64],
) -> Steps[None]:
    nodes = _trie(labels, list(forks))
    rows = yield Batch(
        tokens=[node.token for node in nodes],
        positions=[length + node.depth for node in nodes],
        sequences=[tuple(forks[label] for label in node.labels) for node in nodes],
        wanted=[True] * len(nodes),
    )
    for node, row in zip(nodes, rows, strict=True):
        following = {label: labels[label][node.depth + 1] for label in node.labels}
        tokens = list(dict.fromkeys(following.values()))
        log_shares = dict(zip(tokens, log_softmax_at(row, tokens).tolist(), strict=True))
        for label, token in following.items():
            scores[label] += log_shares[token]
