"""How far a model's answers move when its weights are rounded: KL and agreement, by position"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.causal.encode import Encoded
from converters.errors import DataError
from converters.gates.reports import Divergence
from edgeslm.engines.engine import Batch, Engine, Logits
from edgeslm.formats.files import Progress, silent


def divergence(
    reference: Path | Engine, other: Path | Engine, rows: Sequence[Encoded]
) -> Divergence:
    """Compare two models of one vocabulary at the answers' positions; see `divergences`."""
    return divergences(reference, [other], rows)[0]


def divergences(
    reference: Path | Engine,
    others: Sequence[Path | Engine],
    rows: Sequence[Encoded],
    *,
    progress: Progress = silent,
) -> list[Divergence]:
    """Compare models with a reference, which is evaluated once. All are loaded together.

    Raises:
        DataError: no rows, or one longer than a model's context.
        ModelFileError, ResourceError: a file cannot be loaded.
    """
    if not rows:
        raise DataError("no rows to compare models on; give some of the development set")
    kl, same, n = np.zeros(len(others)), np.zeros(len(others)), 0
    with ExitStack() as stack:
        first, *rest = (stack.enter_context(_opened(model)) for model in (reference, *others))
        for engine in (first, *rest):
            engine.resize(min(engine.max_context, max(len(row.tokens) for row in rows)))
        for done, row in enumerate(rows):
            progress("comparing", done, len(rows))
            wanted = _log_probabilities(answer_logits(first, row))
            n += len(wanted)
            for i, engine in enumerate(rest):
                other = _log_probabilities(answer_logits(engine, row))
                kl[i] += float((np.exp(wanted) * (wanted - other)).sum())
                same[i] += int((wanted.argmax(axis=1) == other.argmax(axis=1)).sum())
    return [
        Divergence(kl=total / n, top1=equal / n, n=n)
        for total, equal in zip(kl.tolist(), same.tolist(), strict=True)
    ]


def answer_logits(engine: Engine, row: Encoded) -> Logits:
    """Logits that each token of the answer is read from: float32 [answer tokens, vocabulary].

    Raises:
        DataError: the row is longer than the engine's context.
    """
    if len(row.tokens) > engine.context_size:
        raise DataError(
            f"row {row.id}: {len(row.tokens)} tokens, over the context of {engine.context_size}; "
            "leave it out"
        )
    engine.arm(None)
    engine.truncate(0, 0)
    prompt = row.start - 1
    for at in range(0, prompt, engine.batch_size):
        part = row.tokens[at : min(at + engine.batch_size, prompt)]
        engine.evaluate(Batch.run(part, at, 0, wanted=0))
    answer = row.tokens[prompt:-1]
    # the engine's memory is used again by the next call
    parts = [
        engine.evaluate(Batch.run(part, prompt + at, 0, wanted=len(part))).copy()
        for at in range(0, len(answer), engine.max_outputs)
        for part in [answer[at : at + engine.max_outputs]]
    ]
    return np.concatenate(parts)


def _log_probabilities(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities: NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=1, keepdims=True)
    )
    return probabilities


@contextmanager
def _opened(model: Path | Engine) -> Iterator[Engine]:
    """The engine of a file for the time of a comparison; an engine as it is."""
    if not isinstance(model, Path):
        yield model
        return
    from edgeslm.engines.llama.engine import LlamaEngine

    engine = LlamaEngine(model)
    try:
        yield engine
    finally:
        engine.close()
