"""Latency under load: beside busy neighbours, with several callers, by threads, and for long."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from statistics import median

from edgeslm.bench.machine import sensors
from edgeslm.bench.report.schema import LoadPoint, SustainedPoint
from edgeslm.bench.report.statistics import percentiles
from edgeslm.children import launch_child
from edgeslm.errors import MachineError

#: answers the i-th request
Request = Callable[[int], object]

#: fewer requests of a condition give no percentile; so many are made however long they take
MIN_REQUESTS = 5
_WINDOWS = 60
_SHORTEST_WINDOW_S = 1.0


# --- neighbours ---------------------------------------------------------------


@contextmanager
def neighbours(n: int) -> Iterator[None]:
    """``n`` processes that keep a core busy each, or try to; they end with the block.

    Raises:
        MachineError: one of them could not be started.
    """
    with ExitStack() as stack:
        for _ in range(n):
            stack.enter_context(_neighbour())
        yield


@contextmanager
def _neighbour() -> Iterator[None]:
    child = launch_child(
        "edgeslm.bench.parts.busy_child",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with child:
        try:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise MachineError("a busy neighbour ended before it was busy; try fewer of them")
            yield
        finally:
            child.kill()


# --- conditions ---------------------------------------------------------------


def beside_neighbours(
    request: Request, counts: Iterable[int], seconds: float
) -> Iterator[LoadPoint]:
    """Requests one after the other, beside each number of busy processes.

    Args:
        seconds: for each number; five requests are made in any case.

    Raises:
        MachineError: a neighbour could not be started.
    """
    for n in counts:
        with neighbours(n):
            spent, times = _call(request, 1, seconds)
        yield _point(f"{n} busy", spent, times, busy=n)


def with_callers(request: Request, counts: Iterable[int], seconds: float) -> Iterator[LoadPoint]:
    """Each number of callers at once, who ask again as soon as they are answered.

    Latency is what a caller waits, time in the queue included.

    Args:
        seconds: for each number; each caller makes five requests in any case.
    """
    for n in counts:
        spent, times = _call(request, n, seconds)
        yield _point(f"{n} callers" if n > 1 else "1 caller", spent, times, callers=n)


def with_threads(
    open_request: Callable[[int], AbstractContextManager[Request]],
    counts: Iterable[int],
    seconds: float,
) -> Iterator[LoadPoint]:
    """Requests one after the other, with each number of threads for computing.

    Args:
        open_request: loads the model with so many threads, and gives what asks it.
        seconds: for each number; five requests are made in any case.
    """
    for n in counts:
        with open_request(n) as request:
            request(0)  # the first one also evaluates the fixed prompt
            spent, times = _call(request, 1, seconds)
        yield _point(f"{n} threads" if n > 1 else "1 thread", spent, times, threads=n)


def sustained(request: Request, minutes: float) -> Iterator[SustainedPoint]:
    """Requests without a pause, in up to 60 windows: does the machine slow down as it heats up?"""
    numbers = count()
    start = time.perf_counter()
    end = start + 60 * minutes
    window_s = max(_SHORTEST_WINDOW_S, 60 * minutes / _WINDOWS)
    while time.perf_counter() < end:
        _, times = _answer(request, numbers, window_s, least=1)
        yield SustainedPoint(
            seconds=time.perf_counter() - start,
            milliseconds=median(times),
            temperature=sensors.temperature(),
            clock_mhz=sensors.clock_mhz(),
        )


# --- calls --------------------------------------------------------------------


def _call(request: Request, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Seconds in all, and the milliseconds of each request of all callers together.

    An error of one caller ends the others, and is raised.
    """
    numbers = count()
    if callers == 1:
        return _answer(request, numbers, seconds, MIN_REQUESTS)
    times: list[float] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def caller() -> None:
        try:
            times.extend(_answer(request, numbers, seconds, MIN_REQUESTS, stop)[1])
        except BaseException as error:  # noqa: BLE001  raised again by the thread that waits
            errors.append(error)
            stop.set()

    start = time.perf_counter()
    threads = [threading.Thread(target=caller) for _ in range(callers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()  # Ctrl-C while waiting: the callers end after the request under way
    if errors:
        raise errors[0]
    return time.perf_counter() - start, times


def _answer(
    request: Request,
    numbers: Iterator[int],
    seconds: float,
    least: int,
    stop: threading.Event | None = None,
) -> tuple[float, list[float]]:
    """One caller: requests until the time is up, and at least so many."""
    times: list[float] = []
    start = now = time.perf_counter()
    while len(times) < least or now - start < seconds:
        if stop is not None and stop.is_set():
            break
        before = now
        request(next(numbers))
        now = time.perf_counter()
        times.append((now - before) * 1000)
    return now - start, times


def _point(
    label: str,
    spent: float,
    times: list[float],
    *,
    busy: int = 0,
    callers: int = 1,
    threads: int | None = None,
) -> LoadPoint:
    return LoadPoint(
        label=label,
        busy=busy,
        callers=callers,
        threads=threads,
        requests_per_second=len(times) / spent,
        latency=percentiles(times),
    )
