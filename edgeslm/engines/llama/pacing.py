"""How many threads the next evaluation gets: fewer while other programs keep the cores busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

#: Batches of more rows always get the same count, as a rule all threads: with their long products
#: waiting for the slowest costs little, and more threads win more of a busy machine
#: (benchmarks/LOG.md).
LARGE_BATCH = 32
#: evaluations before the first trial, from a change to the next one, and between the rarest
_FIRST_TRIAL = 4
_NEXT_TRIAL = 8
_RAREST_TRIAL = 512
#: evaluations of a trial; the median of three outlives one interruption
_TRIAL_LENGTH = 3
_RECENT = 5
#: a thread count is left for one that is this many times faster
_BETTER = 1.1
#: a trial of one that gains no more than this ends at once (benchmarks/LOG.md)
_HOPELESS = 0.8
#: evaluations that are this many times slower or faster than they were call for a trial
_DRIFT = 1.5
#: no evaluation counts as shorter: a coarse clock may stand still meanwhile
_CLOCK_MS = 0.001
#: how much the least time known of a batch size grows with each evaluation of that size
_FORGET = 1.01


def thread_counts(threads: int) -> list[int]:
    """The counts worth a try, the most first: ``threads``, its half, and so on down to 1."""
    counts = [threads]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts


class Pace:
    """Chooses a thread count by trying its neighbours and keeping the fastest.

    A small batch is a chain of hundreds of short products, and after each one all threads wait
    for the slowest. Where another program holds a core, fewer threads are faster, often by far.
    Trials are three evaluations long. They come soon after the start and after a change, then
    ever more rarely, and at once when evaluations become slower or faster.

    Args:
        threads: the most threads; the counts tried are those of ``thread_counts``.
        start: the count of them to begin with, None for the most.
        large: the count of them for large batches, None for the most.
    """

    def __init__(self, threads: int, *, start: int | None = None, large: int | None = None) -> None:
        self._counts = thread_counts(threads)
        self._large = large or threads
        #: size and milliseconds of the latest evaluations with each count
        self._recent: list[deque[tuple[int, float]]] = [deque(maxlen=_RECENT) for _ in self._counts]
        #: the same as they were when the level was last decided on
        self._settled: list[tuple[int, float]] = []
        #: the least milliseconds by the bits of the number of rows, whatever the thread count
        self._least: dict[int, float] = {}
        self._level = self._counts.index(start or threads)
        self._trial: int | None = None
        self._down = True
        self._evaluations = 0
        self._interval = _FIRST_TRIAL

    def threads(self, rows: int) -> int:
        """The thread count for a batch of ``rows``."""
        if rows > LARGE_BATCH:
            return self._large
        return self._counts[self._level if self._trial is None else self._trial]

    def record(self, rows: int, ms: float, threads: int) -> None:
        """Learn that a batch of ``rows`` took ``ms`` with ``threads``, a count given before."""
        if rows > LARGE_BATCH or len(self._counts) == 1:
            return
        ms = max(ms, _CLOCK_MS)
        size = rows.bit_length()
        self._least[size] = min(ms, self._least.get(size, ms) * _FORGET)
        self._recent[self._counts.index(threads)].append((size, ms))
        self._evaluations += 1
        if self._trial is not None:
            if self._evaluations == _TRIAL_LENGTH or self._gain(self._trial) < _HOPELESS:
                self._decide(self._trial)
        elif self._evaluations >= self._interval:
            self._begin_trial()
        elif self._settled and self._evaluations >= _RECENT:
            self._watch()

    def _slowness(self, evaluations: Iterable[tuple[int, float]]) -> float:
        """The median time of evaluations, by the least that is known now for their size."""
        return median(ms / self._least[size] for size, ms in evaluations)

    def _watch(self) -> None:
        change = self._slowness(self._recent[self._level]) / self._slowness(self._settled)
        if not 1 / _DRIFT < change < _DRIFT:
            self._down = change > 1
            self._interval = max(_NEXT_TRIAL, self._interval // 4)
            self._begin_trial()

    def _begin_trial(self) -> None:
        last = len(self._counts) - 1
        down = self._level == 0 or (self._down and self._level < last)
        self._trial = self._level + (1 if down else -1)
        self._down = not down  # the other neighbour is next
        self._recent[self._trial].clear()
        self._evaluations = 0

    def _gain(self, trial: int) -> float:
        """How many times slower than the trial's count the present one is."""
        return self._slowness(self._recent[self._level]) / self._slowness(self._recent[trial])

    def _decide(self, trial: int) -> None:
        if self._gain(trial) > _BETTER:
            self._level = trial
            self._interval = _NEXT_TRIAL
        else:
            self._interval = min(2 * self._interval, _RAREST_TRIAL)
        self._settled = list(self._recent[self._level])
        self._trial = None
        self._evaluations = 0
