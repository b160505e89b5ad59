"""The seam: token ids in, logits out, over sequences that fork; and how work on it is written."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeslm.errors import EdgeslmError

Logits = NDArray[np.float32]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Vocab:
    """What the logic needs to know of a tokenizer.

    ``pieces[i]`` are the bytes of token i (empty for control tokens), which may be
    half a character. ``control`` maps the id of each control token to its text.
    ``bos`` is None where the model wants none. ``end`` are the tokens that end an
    answer (end of turn, end of text); ``end[0]`` is the one that follows an answer
    in training.
    """

    pieces: tuple[bytes, ...]
    control: Mapping[int, str]
    bos: int | None
    end: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.pieces)


@dataclass(slots=True)
class Batch:
    """Tokens to evaluate together. Row i belongs to every sequence of ``sequences[i]``.

    ``positions`` are absolute within a sequence; ``wanted`` says which rows' logits
    are read. A token that lies in several sequences is evaluated once and shared.
    """

    tokens: list[int]
    positions: list[int]
    sequences: list[tuple[int, ...]]
    wanted: list[bool]

    @classmethod
    def run(cls, tokens: Sequence[int], start: int, sequence: int, wanted: int = 1) -> Batch:
        """A run of one sequence from position ``start``; logits of the last ``wanted`` rows."""
        n = len(tokens)
        return cls(
            tokens=list(tokens),
            positions=list(range(start, start + n)),
            sequences=[(sequence,)] * n,
            wanted=[i >= n - wanted for i in range(n)],
        )


class Engine(Protocol):
    """A loaded model. One caller at a time; ``cancel`` alone may come from another thread.

    Sequences are numbered 0 to ``max_sequences - 1`` and start empty. They share
    ``context_size`` cells of memory: a forked prefix takes none of its own.
    """

    @property
    def vocab(self) -> Vocab: ...

    @property
    def chat_template(self) -> str | None:
        """The template of the model file, None where it has none."""

    @property
    def context_size(self) -> int:
        """Cells of memory that all sequences share."""

    @property
    def max_context(self) -> int:
        """The most cells that ``resize`` gives."""

    @property
    def max_sequences(self) -> int: ...

    @property
    def batch_size(self) -> int:
        """The most rows of one batch."""

    @property
    def max_outputs(self) -> int:
        """The most rows of one batch whose logits are read."""

    @property
    def steady(self) -> bool:
        """Whether a row's logits are the same bits whatever else its batch holds."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of ``text``, with no BOS and no space added in front.

        With ``special`` control tokens in the text become their ids; without it
        ``<|im_end|>`` stays the characters it is made of.
        """

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The bytes of a run of tokens; they may end within a character."""

    def evaluate(self, batch: Batch) -> Logits:
        """Evaluate a batch of at most ``batch_size`` rows.

        Returns:
            float32 [number of wanted rows, vocab.size], in the order of the rows;
            valid until the next call of this engine. Copy what must last.

        Raises:
            CancelledError, DeadlineError: stopped; the rows of this batch are removed.
            EngineError: no room left for the rows, or the library failed.
        """

    def fork(self, source: int, target: int) -> None:
        """Make ``target`` an equal of ``source`` without copying; what it held is dropped."""

    def truncate(self, sequence: int, length: int) -> None:
        """Drop all of the sequence from position ``length`` on."""

    def save(self, sequence: int) -> bytes:
        """The sequence's state, for ``restore`` on the same model and build."""

    def restore(self, sequence: int, state: bytes) -> None:
        """Put a saved state back; raises EngineError where it does not fit."""

    def resize(self, context_size: int) -> None:
        """Make room for at least this many cells. All sequences are dropped."""

    def add_adapter(self, path: Path) -> int:
        """Load a LoRA adapter beside the model; its number for ``use_adapter``, never given twice.

        Raises:
            ModelFileError: no adapter, or not one for this model; nothing was loaded.
        """

    def remove_adapter(self, adapter: int) -> None:
        """Free an adapter; where the model is closed, it is freed already."""

    def use_adapter(self, adapter: int | None) -> None:
        """Evaluate with this adapter from now on, with none for None.

        Sequences keep what they hold: one that was begun with another adapter must not go on.

        Raises:
            EngineError: there is no such adapter, or it was removed.
        """

    def arm(self, deadline: float | None) -> None:
        """Begin a request: no cancel is pending; ``deadline`` is in ``time.monotonic`` seconds."""

    def cancel(self) -> None:
        """Stop the evaluation under way, from any thread."""

    def close(self) -> None:
        """Free everything; a second call does nothing."""


# --- work, step by step --------------------------------------------------------

#: A generator that yields batches and receives their logits, valid until the next yield; an
#: evaluation that fails is thrown in. One driver runs one job, or many together.
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
