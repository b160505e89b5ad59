"""The constrained loop: sample, then check; forced tokens in a batch; a budget that closes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgeslm.engine import Batch, Engine, Logits
from edgeslm.errors import DeadlineError
from edgeslm.grammar import Matcher

#: logits after a position, and the tokens the grammar allows there -> the token to take
Sampler = Callable[[Logits], int]


@dataclass(frozen=True, slots=True)
class Choice:
    """A token where the grammar left a choice: its bytes' place and its probability.

    ``probability`` is renormalised over the allowed tokens.
    """

    start: int
    end: int
    probability: float


@dataclass(slots=True)
class Decoded:
    """Tokens of an answer. ``stopped`` is False if the budget ended before the grammar did."""

    tokens: list[int] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    stopped: bool = False
    decodes: int = 0
    ms: float = 0.0


def seeded_sampler(temperature: float, seed: int) -> Sampler:
    """Sample from softmax(logits / temperature), repeatably."""
    generator = np.random.default_rng(seed)

    def sample(allowed: Logits) -> int:
        scaled = (allowed.astype(np.float64) - float(allowed.max())) / temperature
        weights = np.exp(scaled)
        cumulative = np.cumsum(weights)
        return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))

    return sample


class Decoder:
    """Decodes one answer into a sequence.

    At every position the forced tokens come first, then the token with the highest
    logit among those the grammar allows (or the sampler's). The argmax over the whole
    vocabulary is tried first, since the model usually keeps to the grammar by itself;
    the mask is computed only when the grammar refuses it, or for ``measure``.
    """

    def __init__(
        self,
        engine: Engine,
        matcher: Matcher,
        *,
        sequence: int,
        position: int,
        max_tokens: int,
        sampler: Sampler | None = None,
        measure: bool = True,
    ) -> None:
        self._engine = engine
        self._matcher = matcher
        self._sequence = sequence
        self._position = position
        self._max_tokens = max_tokens
        self._sampler = sampler
        self._measure = measure
        self._end = frozenset(engine.vocab.end)
        self._out = Decoded()
        self._length = 0

    def run(self, row: Logits) -> Decoded:
        """Decode from the logits after the prompt's last token.

        A deadline that passes ends the answer unstopped, like the token budget.

        Raises:
            CancelledError, EngineError.
        """
        start = time.perf_counter()
        with contextlib.suppress(DeadlineError):
            self._loop(row)
        self._out.ms = (time.perf_counter() - start) * 1000
        return self._out

    def _loop(self, row: Logits) -> None:
        pending = self._take_forced()
        while not self._matcher.is_stopped:
            if len(self._out.tokens) >= self._max_tokens:
                return
            if pending:
                row = self._evaluate(pending)
            token = self._choose(row)
            if token in self._end:
                break
            self._append([token])
            pending = [token, *self._take_forced()]
        self._out.stopped = True

    def _take_forced(self) -> list[int]:
        forced = self._matcher.forced()
        forced = forced[: self._max_tokens - len(self._out.tokens)]
        self._append(forced)
        return forced

    def _append(self, tokens: list[int]) -> None:
        if tokens:
            self._matcher.consume(tokens)
            self._out.tokens += tokens
            pieces = self._engine.vocab.pieces
            self._length += sum(len(pieces[token]) for token in tokens)

    def _evaluate(self, tokens: list[int]) -> Logits:
        size = self._engine.batch_size
        for at in range(0, len(tokens), size):
            chunk = tokens[at : at + size]
            rows = self._engine.evaluate(Batch.run(chunk, self._position, self._sequence))
            self._position += len(chunk)
            self._out.decodes += 1
        last: Logits = rows[-1]
        return last

    def _choose(self, row: Logits) -> int:
        if not self._measure and self._sampler is None:
            token = int(row.argmax())
            if self._matcher.accepts(token):
                return token
        mask = self._matcher.mask()
        allowed = np.flatnonzero(mask)
        logits = row[allowed]
        index = int(logits.argmax()) if self._sampler is None else self._sampler(logits)
        token = int(allowed[index])
        if self._measure and len(allowed) > 1:
            share = float(np.exp(logits - logits[index]).sum(dtype=np.float64))
            piece = len(self._engine.vocab.pieces[token])
            self._out.choices.append(Choice(self._length, self._length + piece, 1.0 / share))
        return token
