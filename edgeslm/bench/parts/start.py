"""How long a start takes: new processes to their first answer, loads, and restored prefixes."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from edgeslm.bench.report.schema import Start
from edgeslm.bench.workload.workload import Workload
from edgeslm.children import run_child
from edgeslm.decoding.sequences.prefix_files import LIMIT_VARIABLE
from edgeslm.errors import EngineError, MachineError
from edgeslm.store.places import HOME_VARIABLE

_TIMEOUT_S: Final = 900
#: megabytes that saved prefixes of a run may take: more than any single one
_SAVED_MB: Final = "4000"
#: of the file's pages, how many may be left where the page cache counts as dropped
_LEFT: Final = 0.05

Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Child:
    """What one new process took, in milliseconds; ``process`` of the parts is Python's own start.

    ``first`` is from the loaded model to the first answer, ``warm`` are loads after it.
    """

    parts: dict[str, float]
    first: float
    warm: tuple[float, ...]


def measure(
    path: Path,
    workload: Workload,
    *,
    runs: int,
    threads: int | None = None,
    tick: Tick = lambda _done, _all: None,
) -> Start:
    """Start ``runs`` processes of each kind, which answer the shortest text of the workload.

    A run that is not kept comes first. No process may have the file loaded: the system does
    not drop pages that are in use.

    Raises:
        EngineError: a child failed; the message has its reason.
    """
    task = _task(path, workload, threads)
    total, done = 3 * runs + 2, 0

    def start(home: Path, *, saved: bool = False, dropped: bool = False, warm: int = 0) -> _Child:
        nonlocal done
        if dropped and not drop_pages(path):
            raise _KeptError
        child = _run({**task, "warm": warm}, home, saved=saved)
        done += 1
        tick(done, total)
        return child

    with TemporaryDirectory(prefix="edgeslm-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        start(home, saved=True)  # it also proves the build and hashes the file, once per device
        cold = [start(home) for _ in range(runs)]
        restored = [start(home, saved=True) for _ in range(runs)] if _is_saved(home) else None
        warm = start(home, warm=runs).warm
        try:
            thrown = [start(home, dropped=True) for _ in range(runs)]
        except _KeptError:
            thrown = None
    tick(total, total)
    return Start(
        cold=tuple(child.parts for child in cold),
        dropped=None if thrown is None else tuple(child.parts for child in thrown),
        warm_load=warm,
        restored_prefix=None if restored is None else tuple(child.first for child in restored),
    )


class _KeptError(Exception):
    """The system kept the file in its page cache."""


def _task(path: Path, workload: Workload, threads: int | None) -> dict[str, Any]:
    return {
        "path": str(path),
        "threads": threads,
        "kind": workload.kind,
        "schema": workload.schema,
        "labels": workload.labels,
        "text": min((row.text for row in workload.rows), key=len),
    }


def _is_saved(home: Path) -> bool:
    """Whether a fixed prompt was kept: a short one is not, and an encoder has none."""
    return any((home / "prefixes").glob("*.prefix"))


def _run(task: dict[str, Any], home: Path, *, saved: bool) -> _Child:
    """One child, in a home of its own so that what users have saved is neither used nor changed."""
    environment = {
        HOME_VARIABLE: str(home),
        LIMIT_VARIABLE: _SAVED_MB if saved else "0",
    }
    begun = time.perf_counter()
    try:
        child = run_child(
            "edgeslm.bench.parts.start_child",
            input=json.dumps(task).encode(),
            timeout=_TIMEOUT_S,
            env=environment,
        )
    except (MachineError, TimeoutError) as error:
        raise EngineError(f"{task['path']}: no process could be timed: {error}") from error
    ms = (time.perf_counter() - begun) * 1000
    try:
        told = json.loads(child.stdout.splitlines()[-1])
        process = max(0.0, ms - told["alive"])
        parts = {"process": process, **told["parts"]}
        return _Child(parts, told["first"], tuple(told["warm"]))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        last = child.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise EngineError(
            f"{task['path']}: the process whose start is timed ended with {child.returncode}: "
            f"{last[:500] or 'it gave no message'}"
        ) from error


# --- the page cache -----------------------------------------------------------


def drop_pages(path: Path) -> bool:
    """Throw a file's pages out of the system's page cache; whether they are gone, as it says."""
    if sys.platform != "linux":
        return False
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return _resident_share(file) <= _LEFT
    except OSError:
        return False
    finally:
        os.close(file)


def _resident_share(file: int) -> float:
    """How much of a file is in the page cache, 0 to 1; raises OSError."""
    size = os.fstat(file).st_size
    # a private mapping is never written; ctypes finds the address of writable ones alone
    with mmap.mmap(file, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        view = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(ctypes.addressof(view))
        failed = libc.mincore(address, ctypes.c_size_t(size), pages)
        del view
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
    return sum(page & 1 for page in pages) / len(pages)
