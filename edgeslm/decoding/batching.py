"""Many texts at once: continuous batching over the sequences of one engine, in order."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeslm import arguments
from edgeslm.decoding.job import Job
from edgeslm.decoding.sequences.leases import Lease
from edgeslm.decoding.session import Session
from edgeslm.engines.engine import Batch, Engine, Logits, Steps, merge
from edgeslm.engines.requests import CancelToken, check_token
from edgeslm.errors import (
    CancelledError,
    DeadlineError,
    EdgeslmError,
    ResourceError,
)

R = TypeVar("R")

#: answers that are in progress together, if the caller does not say
DEFAULT_WIDTH = 8
#: texts that may be taken beyond the one whose answer is next, for each one in progress
_AHEAD = 4


@dataclass(slots=True)
class _Place(Generic[R]):
    """What became of one text.

    ``steps`` is its work in progress, ``batch`` the next of it, ``served`` the number of
    the evaluation that last held some of it.
    """

    text: str
    deadline: float | None
    job: Job[R] | None = None
    lease: Lease | None = None
    steps: Steps[None] | None = None
    batch: Batch | None = None
    served: int = 0
    result: R | EdgeslmError | None = None


def answer_all(
    session: Session,
    texts: Iterable[str],
    job_of: Callable[[str], Job[R]],
    *,
    width: int,
    deadline_ms: float | None,
    cancel: CancelToken | None = None,
) -> Generator[R | EdgeslmError, None, None]:
    """The answer to each text in order, or the error in its place.

    ``texts`` is read as answers can begin, at most a few times ``width`` ahead, and never
    while the engine is held. Other requests take turns with each answer. A cancelled token ends it
    with CancelledError, after the answers that are there.

    Raises:
        ArgumentError: ``texts`` is one text, or ``width`` or ``deadline_ms`` has no meaning.
    """
    arguments.many(texts)
    width, deadline_ms = arguments.count("width", width), arguments.deadline(deadline_ms)
    check_token(cancel)
    batcher = _Batcher(session, job_of, width, deadline_ms)
    return _answers(session, iter(texts), batcher, cancel)


def _answers(
    session: Session, texts: Iterator[str], batcher: _Batcher[R], cancel: CancelToken | None
) -> Generator[R | EdgeslmError, None, None]:
    more = True
    try:
        while True:
            while more and batcher.wanted:
                taken = list(itertools.islice(texts, 1))
                more = bool(taken)
                for text in taken:
                    batcher.add(text)
            if not batcher.waiting:
                return
            with session.request(None, cancel):
                batcher.turn(more)
            yield from batcher.ready()
    finally:
        batcher.close()


class _Batcher(Generic[R]):
    """Texts from the first whose answer was not given yet to the last that was taken."""

    def __init__(
        self,
        session: Session,
        job_of: Callable[[str], Job[R]],
        width: int,
        deadline_ms: float | None,
    ) -> None:
        self._session = session
        self._engine: Engine = session.engine
        self._job_of = job_of
        self._width = width
        self._patience = None if deadline_ms is None else deadline_ms / 1000
        self._places: deque[_Place[R]] = deque()
        self._paused = time.monotonic()
        self._evaluations = 0
        # above so many rows an engine that is steady below rounds otherwise
        steady = self._engine.steady
        self._rows = self._engine.max_outputs if steady else self._engine.batch_size

    @property
    def waiting(self) -> int:
        """Texts without an answer that was given."""
        return len(self._places)

    @property
    def wanted(self) -> int:
        """Texts that can begin."""
        unanswered = sum(place.result is None for place in self._places)
        return max(0, min(self._width - unanswered, _AHEAD * self._width - len(self._places)))

    def add(self, text: str) -> None:
        """Take one more text. Its time begins with the next turn."""
        deadline = None if self._patience is None else self._paused + self._patience
        self._places.append(_Place(text, deadline))

    def ready(self) -> Iterator[R | EdgeslmError]:
        """The answers that are next in order."""
        while self._places and self._places[0].result is not None:
            result = self._places.popleft().result
            assert result is not None
            yield result

    def turn(self, more: bool) -> None:
        """Work until an answer can be given or, if there are ``more`` texts, one can begin."""
        self._resume()
        while self._places[0].result is None and not (more and self.wanted):
            self._begin()
            self._expire()
            self._evaluate()
        self._paused = time.monotonic()

    def close(self) -> None:
        """Give up what is in progress. From any thread: the engine may be another's."""
        for place in self._places:
            self._leave(place)
        self._places.clear()

    def _resume(self) -> None:
        """Take up again what other requests have left as it was, and begin the rest anew."""
        away = time.monotonic() - self._paused
        for place in self._places:
            if place.deadline is not None:  # the time between turns is not the answer's
                place.deadline += away
            if place.lease is not None and place.lease.recalled:
                self._leave(place)
        self._session.use_adapter()

    def _begin(self) -> None:
        """Begin what there is room for, in order."""
        self._session.leases.collect()
        for place in self._places:
            if place.result is None and place.steps is None:
                try:
                    if not self._open(place):
                        return
                except EdgeslmError as error:
                    self._end(place, error)

    def _open(self, place: _Place[R]) -> bool:
        """Begin one text; False where it has to wait until others are answered."""
        job = place.job = place.job or self._job_of(place.text)
        session, leases = self._session, self._session.leases
        others = len(self._running())
        if others and not session.has_room(job.prompt, job.tokens, job.reserve):
            return False
        self._make_room(job, 1 if others else self._width)
        cells = len(job.tokens) + len(job.prompt.suffix) + job.reserve
        lease = leases.lend(job.sequences, cells)
        if lease is None and others:
            return False
        place.lease = lease or leases.claim(job.sequences, cells)
        place.steps = job.steps(place.lease.sequences, lambda: len(self._running()) - 1)
        self._advance(place, None)
        return True

    def _make_room(self, job: Job[R], copies: int) -> None:
        try:
            self._session.make_room(job.prompt, job.tokens, job.reserve, copies=copies)
        except ResourceError:
            if copies == 1:
                raise
            self._session.make_room(job.prompt, job.tokens, job.reserve)

    def _expire(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.result is None and place.deadline is not None and place.deadline <= now:
                late = DeadlineError("the deadline passed before there was an answer")
                if place.steps is not None:
                    self._advance(place, late)
                elif place.job is not None:
                    self._finish(place, place.job, late)

    def _evaluate(self) -> None:
        """One evaluation for as many answers as it holds."""
        chosen = self._choose()
        if not chosen:
            return
        self._evaluations += 1
        try:
            rows = self._engine.evaluate(merge([batch for _, batch in chosen]))
        except EdgeslmError as error:
            cancelled = isinstance(error, CancelledError)
            for place in self._running() if cancelled else [place for place, _ in chosen]:
                self._advance(place, error)
            return
        at = 0
        for place, batch in chosen:
            end = at + sum(batch.wanted)
            place.served = self._evaluations
            self._advance(place, rows[at:end])
            at = end

    def _choose(self) -> list[tuple[_Place[R], Batch]]:
        """What to evaluate next: a prompt that needs a batch of its own, or rows of many."""
        pending = [(place, place.batch) for place in self._running() if place.batch is not None]
        chosen: list[tuple[_Place[R], Batch]] = []
        rows = outputs = 0
        for place, batch in sorted(pending, key=lambda item: item[0].served):
            if len(batch.tokens) > self._rows:
                return [(place, batch)]
            rows += len(batch.tokens)
            outputs += sum(batch.wanted)
            if rows > self._rows or outputs > self._engine.max_outputs:
                break
            chosen.append((place, batch))
        return chosen

    def _running(self) -> list[_Place[R]]:
        return [place for place in self._places if place.steps is not None]

    def _advance(self, place: _Place[R], sent: Logits | EdgeslmError | None) -> None:
        """Go on with a text's work: begin it, or send it logits or an error."""
        steps, job = place.steps, place.job
        assert steps is not None
        assert job is not None
        try:
            if sent is None:
                place.batch = next(steps)
            elif isinstance(sent, EdgeslmError):
                place.batch = steps.throw(sent)
            else:
                place.batch = steps.send(sent)
        except StopIteration:
            self._finish(place, job)
        except DeadlineError as late:
            self._finish(place, job, late)
        except EdgeslmError as error:
            self._end(place, error)

    def _finish(self, place: _Place[R], job: Job[R], late: DeadlineError | None = None) -> None:
        try:
            self._end(place, job.finish(late))
        except EdgeslmError as error:
            self._end(place, error)

    def _end(self, place: _Place[R], result: R | EdgeslmError) -> None:
        place.result = result
        self._leave(place)

    def _leave(self, place: _Place[R]) -> None:
        """Forget all of a text's work; where it has no result, it begins anew."""
        if place.lease is not None:
            self._session.leases.give_back(place.lease)
        place.lease = place.steps = place.batch = place.job = None
