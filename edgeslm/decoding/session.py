"""One loaded engine for many callers: requests queue, fixed prompts are evaluated once."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np

from edgeslm import arguments
from edgeslm.decoding.drafts.drafter import CopyDrafter, Marks
from edgeslm.decoding.drafts.length import BatchCost
from edgeslm.decoding.grammar import GrammarTokenizer
from edgeslm.decoding.job import Job
from edgeslm.decoding.prompt import Prompt
from edgeslm.decoding.sequences.leases import Leases
from edgeslm.decoding.sequences.prefix_files import PrefixCache, Weights
from edgeslm.decoding.sequences.prefix_slots import PrefixSlots
from edgeslm.engines.engine import Engine, Logits, Steps, drive, run_steps
from edgeslm.engines.requests import CancelToken, Request, Turns
from edgeslm.errors import DeadlineError, EngineError

R = TypeVar("R")

#: sequence 0 is the request's, the next ones keep fixed prompts; those after are lent to
#: labels and to answers in progress
WORK = 0
PREFIX_SLOTS = 8
FIRST_FREE = 1 + PREFIX_SLOTS


def _wait_seconds(deadline_ms: float) -> float:
    """A deadline as a time that a lock can wait."""
    return min(deadline_ms / 1000, threading.TIMEOUT_MAX)


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


def _split(prompt: Prompt, text: list[int], reuses: bool) -> tuple[tuple[int, ...], list[int]]:
    """A prompt's fixed prefix if it ``reuses`` one, and what is evaluated for this text."""
    prefix, rest = prompt.prefix, [*text, *prompt.suffix]
    if not reuses:
        prefix, rest = (), [*prefix, *rest]
    if not rest:  # logits are wanted after at least one token
        prefix, rest = prefix[:-1], list(prefix[-1:])
    if not rest:
        raise EngineError("the prompt has no tokens: this model's tokenizer drops the text")
    return prefix, rest


class _Shared:
    """What the sessions of one engine have in common."""

    def __init__(self, engine: Engine, saved: PrefixCache | None) -> None:
        self.engine = engine
        self.turns = Turns()
        self.prefixes = PrefixSlots(engine, range(1, FIRST_FREE), saved)
        self.leases = Leases(engine, range(FIRST_FREE, engine.max_sequences))
        self.closed = False
        #: the request that holds the engine, and its deadline in seconds of ``time.monotonic``
        self.under_way: tuple[Request, float | None] | None = None

    @cached_property
    def grammar_tokenizer(self) -> GrammarTokenizer:
        return GrammarTokenizer(self.engine)

    @cached_property
    def marks(self) -> Marks:
        return Marks(self.engine.vocab.pieces)


_known: WeakKeyDictionary[Engine, ReferenceType[_Shared]] = WeakKeyDictionary()
_known_lock = threading.Lock()


def _shared(engine: Engine, saved: PrefixCache | None) -> _Shared:
    """What the engine's other sessions use, or a new one; ``saved`` is that of the first.

    Sessions that did not know of each other would overwrite each other's prompts, and answer
    from those of another task.
    """
    with _known_lock:
        before = _known.get(engine)
        shared = None if before is None else before()
        if shared is None or shared.closed:
            if before is not None and shared is None:  # all are gone, their prompts are not
                for sequence in range(engine.max_sequences):
                    engine.truncate(sequence, 0)
            shared = _Shared(engine, saved)
            _known[engine] = ref(shared)
        return shared


@dataclass(frozen=True, slots=True)
class _Adapter:
    """An adapter that was loaded: its number in the engine, its file's sha256."""

    number: int
    sha256: str


class Session:
    """An engine and what requests share. Safe for many threads; requests take turns.

    ``saved`` keeps fixed prompts for later processes; None keeps them in this one alone. All
    sessions of an engine are one queue, and closing one closes all.
    """

    def __init__(self, engine: Engine, saved: PrefixCache | None = None) -> None:
        self.engine = engine
        self._shared = _shared(engine, saved)
        self._adapter: _Adapter | None = None
        self._removed = False
        self._reuses = True
        self.batch_cost = BatchCost(measured=engine.steady)

    def with_adapter(self, file: Weights) -> Session:
        """A session that answers with an adapter, on the same engine and in the same queue.

        Raises:
            ModelFileError: no adapter for this engine's model, or the file changed meanwhile.
            EngineError: the model is closed.
        """
        other = copy.copy(self)
        with self.request(None):
            number = self.engine.add_adapter(file.path)
            try:
                other._adapter = _Adapter(number, file.verified())
            except BaseException:
                self.engine.remove_adapter(number)
                raise
        other.batch_cost = BatchCost(measured=self.engine.steady)  # an adapter's rows cost more
        return other

    def without_prefixes(self) -> Session:
        """A session on the same engine, in the same queue, that evaluates prompts in whole.

        Raises:
            EngineError: the model is closed. ForkError: another process loaded it.
        """
        self.check_open()
        other = copy.copy(self)
        other._reuses = False
        return other

    def check_open(self) -> None:
        """Raises EngineError after ``close``, ForkError where another process loaded the model."""
        self._shared.turns.check_process()
        if self._shared.closed:
            raise EngineError("the model is closed")
        if self._removed:
            raise EngineError("the adapter is closed")

    @property
    def grammar_tokenizer(self) -> GrammarTokenizer:
        return self._shared.grammar_tokenizer

    def drafter(self, text: Sequence[int]) -> CopyDrafter:
        """What drafts an answer that copies from a text, given as tokens."""
        return CopyDrafter(text, self._shared.marks, self.engine.tokenize)

    @contextmanager
    def request(
        self, deadline_ms: float | None, cancel: CancelToken | None = None
    ) -> Iterator[None]:
        """Hold the engine for one request; the deadline counts from now, queue included.

        Raises:
            CancelledError: cancelled while it waited, or before. DeadlineError: time was up.
            ForkError: another process loaded the model. EngineError: it is closed.
        """
        budget = arguments.deadline(deadline_ms)
        seconds = None if budget is None else _wait_seconds(budget)
        deadline = None if seconds is None else time.monotonic() + seconds
        turns = self._shared.turns
        with turns.open(self, cancel) as request:
            turns.wait(request, seconds)
            self.engine.arm(deadline)
            try:
                # after arming, which forgets a cancel, so that none is missed
                turns.begin(request, self.engine.cancel)
                self.check_open()
                self._shared.leases.collect()
                self._shared.under_way = request, deadline
                yield
            finally:
                self._shared.under_way = None
                self.engine.arm(None)

    def check(self) -> None:
        """Between two pieces of work on a text, while its request holds the engine.

        Raises:
            CancelledError: it was cancelled. DeadlineError: its time is over.
        """
        if self._shared.under_way is None:
            return
        request, deadline = self._shared.under_way
        request.check()
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlineError("the deadline passed before there was an answer")

    def answer(
        self, make: Callable[[], Job[R]], deadline_ms: float | None, cancel: CancelToken | None
    ) -> R:
        """Make one job and do it, in its turn; the making is a part of its time.

        Raises:
            DeadlineError: the deadline passed and the job has no answer by then.
            ArgumentError: ``deadline_ms`` has no meaning. Other errors of the work.
        """
        late, start = None, time.monotonic()
        budget = arguments.deadline(deadline_ms)
        job = make()
        if budget is not None:
            budget = max(0.0, budget - (time.monotonic() - start) * 1000)
        try:
            with self.request(budget, cancel):
                tokens = job.tokens
                self.check()  # making room can take half a second
                self.make_room(job.prompt, tokens, job.reserve)
                lease = self.leases.claim(job.sequences - 1, 0)
                try:
                    drive(self.engine, job.steps((WORK, *lease.sequences), None))
                finally:
                    self.leases.give_back(lease)
        except DeadlineError as error:
            late = error
        return job.finish(late)

    def fill_steps(self, prompt: Prompt, text: list[int], sequence: int) -> Steps[Prefilled]:
        """Evaluate a prompt into an empty sequence, for which room was made, step by step.

        The fixed prefix is there before the first step.
        """
        start = time.perf_counter()
        prefix, rest = _split(prompt, text, self._reuses)
        self.use_adapter()
        cached = self._shared.prefixes.copy_to(sequence, prefix, self._adapter_sha256)
        row = yield from run_steps(rest, len(prefix), sequence, self.engine.batch_size)
        ms = (time.perf_counter() - start) * 1000
        return Prefilled(row, len(prefix) + len(rest), cached, ms)

    def use_adapter(self) -> None:
        """Let the engine evaluate with this session's adapter, or with none."""
        self.engine.use_adapter(None if self._adapter is None else self._adapter.number)

    @property
    def _adapter_sha256(self) -> str | None:
        return None if self._adapter is None else self._adapter.sha256

    @property
    def leases(self) -> Leases:
        """Sequences for labels and for answers in progress. Use within ``request``."""
        return self._shared.leases

    def has_room(self, prompt: Prompt, text: list[int], reserve: int) -> bool:
        """Whether a prompt and its answer fit beside the answers in progress."""
        prefix, rest = _split(prompt, text, self._reuses)
        size = self.engine.context_size
        room = self._shared.prefixes.room(prefix, self._adapter_sha256, size)
        return len(rest) + reserve + self.leases.cells <= room

    def make_room(self, prompt: Prompt, text: list[int], reserve: int, *, copies: int = 1) -> None:
        """Make room for a prompt and its answer; for more of the kind as far as there may be.

        What stands in the way goes: answers in progress, then other fixed prompts. An
        adapter's prompts count as others.

        Raises:
            EngineError: the prompt has no tokens. ResourceError: the memory is too small.
        """
        self.engine.truncate(WORK, 0)
        if self.leases.cells and self.has_room(prompt, text, reserve):
            return
        self.leases.recall()
        prefix, rest = _split(prompt, text, self._reuses)
        adapter, prefixes = self._adapter_sha256, self._shared.prefixes
        one = len(rest) + reserve
        most = prefixes.room(prefix, adapter, self.engine.max_context)
        prefixes.make_room(prefix, adapter, max(one, min(copies * one, most)))

    def cancel(self) -> None:
        """Cancel this session's requests that run or wait now; they raise CancelledError."""
        self._shared.turns.cancel(self)

    def close(self) -> None:
        """Stop what runs, then free the engine; with an adapter, wait and free the adapter alone.

        A second call does nothing, nor does one in a forked child, whose engine is not its own.
        """
        turns = self._shared.turns
        if turns.forked:
            return
        if self._adapter is None:
            self._shared.closed = True
            turns.stop_first()
        with turns.open(self) as request:
            turns.wait(request, None)
            if self._adapter is None:
                self.engine.close()
            elif not self._removed and not self._shared.closed:
                self._removed = True
                with suppress(EngineError):  # an engine that failed has freed everything
                    self._shared.prefixes.forget(self._adapter.sha256)
                    self.engine.remove_adapter(self._adapter.number)
