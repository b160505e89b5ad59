"""One loaded engine for many callers: requests queue, fixed prompts are evaluated once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeslm.draft import BatchCost
from edgeslm.engine import Batch, Engine, Logits
from edgeslm.errors import DeadlineError, EngineError
from edgeslm.grammar import GrammarTokenizer
from edgeslm.prefix_cache import PrefixCache
from edgeslm.prompt import Prompt

#: sequence 0 is the request's, the next ones keep fixed prompts; labels use those after
WORK = 0
PREFIX_SLOTS = 8
FIRST_FREE = 1 + PREFIX_SLOTS


def _wait_seconds(deadline_ms: float) -> float:
    """A deadline as a time that a lock can wait: one in the past is 0, one without end is years."""
    return min(max(0.0, deadline_ms / 1000), threading.TIMEOUT_MAX)


@dataclass(slots=True)
class Prefilled:
    """A prompt in sequence WORK: the logits after its last token, and what it cost."""

    row: Logits
    length: int
    cached: int
    ms: float

    @classmethod
    def nothing(cls) -> Prefilled:
        """What a deadline leaves that passes before the prompt is evaluated."""
        return cls(np.empty(0, np.float32), 0, 0, 0.0)


class Session:
    """An engine and what requests share. Safe for many threads; requests take turns.

    ``saved`` keeps fixed prompts for later processes; None keeps them in this one alone.
    """

    def __init__(self, engine: Engine, saved: PrefixCache | None = None) -> None:
        self.engine = engine
        self._saved = saved
        self._lock = threading.Lock()
        self._prefixes: OrderedDict[tuple[int, ...], int] = OrderedDict()
        self._closed = False
        self.batch_cost = BatchCost(measured=engine.steady)

    @cached_property
    def grammar_tokenizer(self) -> GrammarTokenizer:
        return GrammarTokenizer(self.engine)

    @cached_property
    def string_closers(self) -> tuple[int, ...]:
        """Tokens that begin with a quotation mark, the longest first."""
        pieces = self.engine.vocab.pieces
        found = [token for token, piece in enumerate(pieces) if piece[:1] == b'"']
        return tuple(sorted(found, key=lambda token: -len(pieces[token])))

    @contextmanager
    def request(self, deadline_ms: float | None) -> Iterator[None]:
        """Hold the engine for one request; the deadline counts from now, queue included."""
        seconds = None if deadline_ms is None else _wait_seconds(deadline_ms)
        deadline = None if seconds is None else time.monotonic() + seconds
        if not self._lock.acquire(timeout=-1 if seconds is None else seconds):
            raise DeadlineError("the deadline passed while other requests were being answered")
        try:
            self.engine.arm(deadline)
            try:
                # asked after arming, which forgets a cancel, so that close() is never missed
                if self._closed:
                    raise EngineError("the model is closed")
                yield
            finally:
                self.engine.arm(None)
        finally:
            self._lock.release()

    def prefill(self, prompt: Prompt, text: list[int], reserve: int) -> Prefilled:
        """Evaluate a prompt into WORK, its fixed prefix from the cache.

        ``reserve`` cells are kept free for the answer. Call within ``request``.
        """
        start = time.perf_counter()
        rest = [*text, *prompt.suffix]
        prefix = prompt.prefix
        if not rest:  # logits are wanted after at least one token
            prefix, rest = prefix[:-1], list(prefix[-1:])
        if not rest:
            raise EngineError("the prompt has no tokens: this model's tokenizer drops the text")
        self.engine.truncate(WORK, 0)
        self._make_room(prefix, len(rest) + reserve)
        cached = self._prefix_into_work(prefix)
        row = self._run(rest, len(prefix), WORK)
        ms = (time.perf_counter() - start) * 1000
        return Prefilled(row, len(prefix) + len(rest), cached, ms)

    def _prefix_into_work(self, prefix: tuple[int, ...]) -> int:
        if not prefix:
            return 0
        slot = self._prefixes.get(prefix)
        cached = len(prefix)
        if slot is None:
            slot = self._free_slot()
            cached = self._fill(slot, prefix)
            self._prefixes[prefix] = slot
        self._prefixes.move_to_end(prefix)
        self.engine.fork(slot, WORK)
        return cached

    def _fill(self, slot: int, prefix: tuple[int, ...]) -> int:
        """A prefix into an empty sequence; how many of its tokens were not evaluated."""
        if self._saved is not None and self._restore(self._saved, slot, prefix):
            return len(prefix)
        self._run(list(prefix), 0, slot)
        if self._saved is not None:
            self._saved.put(prefix, lambda: self.engine.save(slot))
        return 0

    def _restore(self, saved: PrefixCache, slot: int, prefix: tuple[int, ...]) -> bool:
        state = saved.get(prefix)
        if state is None:
            return False
        try:
            self.engine.restore(slot, state)
        except EngineError:
            saved.drop(prefix)
            return False
        return True

    def _free_slot(self) -> int:
        if len(self._prefixes) == PREFIX_SLOTS:
            self._evict()
        used = set(self._prefixes.values())
        slot = next(s for s in range(1, FIRST_FREE) if s not in used)
        self.engine.truncate(slot, 0)  # what a cancelled prefill left
        return slot

    def _evict(self) -> None:
        _, slot = self._prefixes.popitem(last=False)
        self.engine.truncate(slot, 0)

    def _make_room(self, prefix: tuple[int, ...], more: int) -> None:
        """Grow the context, or drop other prefixes where it cannot grow."""
        others = sum(len(kept) for kept in self._prefixes if kept != prefix)
        need = len(prefix) + more
        if need + others <= self.engine.context_size:
            return
        if self.engine.context_size < self.engine.max_context:
            target = max(need + others, 2 * self.engine.context_size)
            self.engine.resize(min(target, self.engine.max_context))
            self._prefixes.clear()
        while need + sum(map(len, self._prefixes)) > self.engine.context_size and self._prefixes:
            oldest = next(iter(self._prefixes))
            if oldest == prefix:
                if len(self._prefixes) == 1:
                    break
                self._prefixes.move_to_end(prefix)
            self._evict()

    def _run(self, tokens: list[int], start: int, sequence: int) -> Logits:
        """Evaluate a run in batches; the logits row of its last token."""
        size = self.engine.batch_size
        for at in range(0, len(tokens), size):
            chunk = tokens[at : at + size]
            rows = self.engine.evaluate(Batch.run(chunk, start + at, sequence))
        last: Logits = rows[-1]
        return last

    def cancel(self) -> None:
        """Stop the request that runs now; it raises CancelledError. Queued ones go on."""
        self.engine.cancel()

    def close(self) -> None:
        """Stop what runs, then free the engine. A second call does nothing."""
        self._closed = True
        self.engine.cancel()
        with self._lock:
            self.engine.close()
