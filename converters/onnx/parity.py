"""Parity of encoders: how far two models' answers to the same texts lie apart, head by head"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from converters.gates.reports import Divergence, FloatParity
from converters.onnx.logits import Logits
from edgeslm.formats.card import Task
from edgeslm.tasks.decision import sigmoid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from converters.encoder.model import EncoderModel

Floats = NDArray[np.float64]
#: a probability below this is taken for it: the logarithm stays finite
_LEAST = 1e-12


def torch_logits(model: EncoderModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Logits:
    """What torch says of texts, one by one without padding: float32 [texts, labels]."""
    import torch

    rows = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            rows.append(model(ids, torch.ones_like(ids))[0].numpy())
    return np.stack(rows)


def float_parity(task: Task, reference: Logits, other: Logits) -> FloatParity:
    """Compare the same float weights in two libraries."""
    kl, same = _compared(task, reference, other)
    return FloatParity(len(kl), float(kl.mean()), float(kl.max()), float(same.mean()))


def divergence(task: Task, reference: Logits, other: Logits) -> Divergence:
    """Compare float with rounded weights, at the answer of each head to each text.

    Of a head with one label the whole distributions are compared, of a multi-label head the
    mean over its labels; its best label counts where both give it, or neither.

    Args:
        reference: float32 [texts, labels of all heads]; ``other`` likewise.
    """
    kl, same = _compared(task, reference, other)
    return Divergence(kl=float(kl.mean()), top1=float(same.mean()), n=len(kl))


def _compared(task: Task, reference: Logits, other: Logits) -> tuple[Floats, Floats]:
    """KL in nats and agreement, both float64 [texts * heads]."""
    pairs = [
        (_binary if multi_label else _categorical)(reference[:, columns], other[:, columns])
        for columns, multi_label in _heads(task)
    ]
    return (
        np.concatenate([kl for kl, _ in pairs]),
        np.concatenate([same for _, same in pairs]),
    )


def _heads(task: Task) -> Iterator[tuple[slice, bool]]:
    """The columns of each head, and whether several of its labels may hold."""
    if task.kind == "classify":
        yield slice(0, len(task.labels)), False
    elif task.kind == "tag":
        start = 0
        for head in task.heads:
            yield slice(start, start + len(head.labels)), head.multi_label
            start += len(head.labels)


def _categorical(reference: Logits, other: Logits) -> tuple[Floats, Floats]:
    a, b = _log_softmax(reference), _log_softmax(other)
    kl = (np.exp(a) * (a - b)).sum(axis=1)
    return kl, (a.argmax(axis=1) == b.argmax(axis=1)).astype(np.float64)


def _binary(reference: Logits, other: Logits) -> tuple[Floats, Floats]:
    p, q = (np.clip(sigmoid(x), _LEAST, 1 - _LEAST) for x in (reference, other))
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    best = np.arange(len(p)), p.argmax(axis=1)
    return kl.mean(axis=1), ((p[best] >= 0.5) == (q[best] >= 0.5)).astype(np.float64)


def _log_softmax(logits: Logits) -> Floats:
    scores = logits.astype(np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    result: Floats = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return result
