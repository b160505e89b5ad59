"""Requests: the calls that run on a loaded model or wait for it, and how each is cancelled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeslm.errors import ArgumentError, CancelledError, DeadlineError, ForkError


class CancelToken:
    """Cancels the calls that it is given to, while they run or wait: ``call(text, cancel=token)``.

    From any thread, and for good: a call that gets a cancelled token is not begun. One token may
    be given to many calls, of any models.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._stops: dict[int, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the calls that have this token; they raise CancelledError."""
        with self._lock:
            self._cancelled = True
            stops = list(self._stops.values())
        for stop in stops:
            stop()

    def check(self) -> None:
        """Raises CancelledError after ``cancel``."""
        if self._cancelled:
            raise CancelledError("the request was cancelled")

    @contextmanager
    def stops(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` at a cancel within the block; raises CancelledError after one."""
        with self._lock:
            self._stops[id(stop)] = stop
        try:
            self.check()
            yield
        finally:
            with self._lock:
                del self._stops[id(stop)]


def check_token(token: object) -> None:
    """Refuse what is no CancelToken where one may be given."""
    if token is not None and not isinstance(token, CancelToken):
        raise ArgumentError(f"cancel must be an edgeslm.CancelToken, not {type(token).__name__}")


def check_process(loaded_in: int) -> None:
    """Refuse to use what another process loaded, by its id: a fork has none of its threads."""
    if os.getpid() != loaded_in:
        raise ForkError(
            "a model was loaded before this process was forked, and its threads are not here; "
            'start children with multiprocessing.get_context("spawn"), and load models there'
        )


class Request:
    """One call under way. ``owner`` is whose it is; ``stop`` ends what it runs, while it does."""

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.cancelled = False
        self.stop: Callable[[], None] | None = None
        self.woken = threading.Event()

    def check(self) -> None:
        """Raises CancelledError where it was cancelled."""
        if self.cancelled:
            raise CancelledError("the request was cancelled")


class Requests:
    """The requests of one engine, of one process. Those of a forked child are refused."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open: list[Request] = []

    def check_process(self) -> None:
        """Raises ForkError where another process loaded the model."""
        check_process(self._process)

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that loaded the model."""
        return os.getpid() != self._process

    @contextmanager
    def open(self, owner: object, token: CancelToken | None = None) -> Iterator[Request]:
        """One request, from here to the end of the block.

        Raises:
            CancelledError: ``token`` was cancelled before.
            ForkError: another process loaded the model.
        """
        self.check_process()  # before any lock: a thread that is not here may hold it
        check_token(token)
        request = Request(owner)
        with self._lock:
            self._open.append(request)
        try:
            if token is None:
                yield request
            else:
                with token.stops(lambda: self._cancel(request)):
                    yield request
        finally:
            with self._lock:
                self._open.remove(request)
                self._next()

    def begin(self, request: Request, stop: Callable[[], None]) -> None:
        """From now on ``stop`` ends what the request runs; raises CancelledError."""
        with self._lock:
            request.check()
            request.stop = stop

    def cancel(self, owner: object) -> None:
        """Cancel what an owner runs or waits for; what begins later is not met."""
        if self.forked:
            return
        with self._lock:
            mine = [request for request in self._open if request.owner is owner]
        for request in mine:
            self._cancel(request)

    def _cancel(self, request: Request) -> None:
        with self._lock:  # held until it is stopped, so that it cannot end and the next be hit
            if request not in self._open:
                return
            request.cancelled = True
            if request.stop is not None:
                request.stop()
            request.woken.set()

    def _next(self) -> None:
        """What happens when one has ended, with the lock held."""


class Turns(Requests):
    """Requests that run one after the other, in the order in which they came."""

    def wait(self, request: Request, seconds: float | None) -> None:
        """Wait for the request's turn.

        Raises:
            CancelledError: it was cancelled meanwhile. DeadlineError: the time is over.
        """
        with self._lock:
            self._next()
        request.woken.wait(seconds)
        with self._lock:
            request.check()
            if self._open[0] is not request:
                raise DeadlineError("the deadline passed while other requests were being answered")

    def stop_first(self) -> None:
        """Cancel the one whose turn it is."""
        with self._lock:
            first = self._open[0] if self._open else None
        if first is not None:
            self._cancel(first)

    def _next(self) -> None:
        if self._open:
            self._open[0].woken.set()
