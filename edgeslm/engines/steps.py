"""Work on an engine step by step, so that it can be done alone or many pieces of it together."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from edgeslm.engines.engine import Batch, Engine, Logits
from edgeslm.errors import EdgeslmError

R = TypeVar("R")

#: Yields what is to be evaluated and is sent its logits, which are valid until the next yield;
#: an evaluation that fails is thrown in. Returns what comes of it.
Steps = Generator[Batch, Logits, R]


def drive(engine: Engine, steps: Steps[R]) -> R:
    """Do a piece of work alone."""
    try:
        batch = next(steps)
        while True:
            try:
                rows = engine.evaluate(batch)
            except EdgeslmError as error:
                batch = steps.throw(error)
            else:
                batch = steps.send(rows)
    except StopIteration as stop:
        result: R = stop.value
        return result


def run_steps(tokens: Sequence[int], start: int, sequence: int, size: int) -> Steps[Logits]:
    """A run of one sequence in batches of ``size`` rows; the logits of its last token."""
    for at in range(0, len(tokens), size):
        rows = yield Batch.run(tokens[at : at + size], start + at, sequence)
    last: Logits = rows[-1]
    return last


def merge(batches: Sequence[Batch]) -> Batch:
    """The rows of all batches in one, in order."""
    return Batch(
        tokens=[token for batch in batches for token in batch.tokens],
        positions=[position for batch in batches for position in batch.positions],
        sequences=[sequences for batch in batches for sequences in batch.sequences],
        wanted=[wanted for batch in batches for wanted in batch.wanted],
    )
