"""What memory and arithmetic of this machine give at most: measured, not looked up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgeslm.engines.device import machine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: bytes read in one pass: several times the caches of a desktop, a small part of its memory
_READ_BYTES = 512 * 1024 * 1024
#: but no more than this part of the free memory
_MEMORY_PART = 8
#: rows of the square matrices; their product keeps every core busy for milliseconds
_ROWS = 1024
SECONDS = 1.0


def read_bandwidth(seconds: float = SECONDS, *, n_bytes: int | None = None) -> float:
    """Bytes per second at which all usable cores together read memory: the best pass of many.

    Args:
        n_bytes: size of what is read; default is 512 MB, or an eighth of the free memory.
    """
    import numpy as np

    threads = machine.usable_cores()
    n_bytes = n_bytes or min(_READ_BYTES, machine.available_memory() // _MEMORY_PART)
    items = max(1, n_bytes // threads // 8)
    with ThreadPoolExecutor(threads) as pool:
        # each thread fills what it reads, so that it lies in the memory next to its core
        parts: list[NDArray[np.int64]] = list(
            pool.map(lambda _: np.ones(items, np.int64), range(threads))
        )

        def read() -> None:
            # numpy's maximum of integers is vectorized, lets go of the interpreter's lock, and
            # was the fastest of its reductions where they were compared
            list(pool.map(np.max, parts))

        return threads * items * 8 / _best(read, seconds)


def matrix_peak(seconds: float = SECONDS, *, rows: int = _ROWS) -> float:
    """Operations per second of a float32 matrix product with numpy's library: the best of many.

    A product of n x n matrices counts as 2 n^3 operations.
    """
    import numpy as np

    left = np.random.default_rng(0).standard_normal((rows, rows), dtype=np.float32)
    out = np.empty_like(left)
    return 2 * rows**3 / _best(lambda: np.matmul(left, left, out=out), seconds)


def _best(work: Callable[[], object], seconds: float) -> float:
    """The shortest time of ``work``, in seconds: what disturbs it can only make it longer."""
    work()  # starts threads and touches memory
    best = float("inf")
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best
