"""Files are loaded in a process with limits of memory and time: what became of each."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
#: bytes that a process may take beside its libraries
MEMORY = 2 * 1024**3
#: seconds for one file, of the processor, which others keep busy; and of the clock
SECONDS = 10.0
LONGEST = 180.0

#: begins each child: ``ask(path)`` follows, and LOOP
BEGIN = """
import sys
import edgeslm
from edgeslm.errors import EdgeslmError
"""
LOOP = """
def limit(most):
    import resource
    pages = int(open("/proc/self/statm").read().split()[0])
    most += pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

warm()
if sys.platform == "linux":
    limit(int(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    try:
        outcome = ask(line.rstrip("\\n"))
    except MemoryError as error:
        outcome = "memory " + repr(error)[:300]
    except EdgeslmError as error:  # what needs too much may be refused, before it is taken
        taken = isinstance(error.__cause__, MemoryError) or "alloc" in str(error).lower()
        outcome = "memory " + str(error)[:300] if taken else type(error).__name__
    except BaseException as error:
        outcome = "bug " + repr(error)[:300]
    print(outcome, flush=True)
"""
#: outcomes that no file may have
FAULTS = ("crash", "hang", "memory", "bug")


class _Child:
    """One process that is given a file after the other."""

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + code + LOOP, str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        assert self._line() == "ready"

    def judge(self, path: Path) -> str:
        """What became of a file; after a crash or a hang the process is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
        except OSError:
            return f"crash {self._process.wait()}"
        return self._line()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _line(self) -> str:
        begun, spent = time.monotonic(), self._spent()
        while self._spent() - spent < SECONDS and time.monotonic() - begun < LONGEST:
            try:
                return self._lines.get(timeout=0.5) or f"crash {self._process.wait()}"
            except queue.Empty:
                continue
        return "hang"

    def _spent(self) -> float:
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:  # it is gone, which its output tells
            return 0.0
        return float(times.user + times.system)


def judged(paths: Sequence[Path], code: str) -> dict[str, str]:
    """What became of each file, by its name: an error's class, or what ``ask`` gives.

    ``code`` defines ``warm()``, which loads libraries, and ``ask(path)``. A file that ends or
    holds up its process is a "crash" or a "hang", one that takes too much "memory", and an error
    that is none of edgeslm's a "bug".
    """
    outcomes: dict[str, str] = {}
    child = _Child(code)
    try:
        for path in paths:
            outcome = outcomes[path.name] = child.judge(path)
            if outcome.startswith(("crash", "hang")):
                child.close()
                child = _Child(code)
    finally:
        child.close()
    return outcomes


def faults(outcomes: dict[str, str]) -> dict[str, str]:
    """The files with outcomes that none may have."""
    return {name: outcome for name, outcome in outcomes.items() if outcome.startswith(FAULTS)}


def counted(outcomes: dict[str, str]) -> Counter[str]:
    """How often each outcome was, by its first word."""
    return Counter(outcome.split()[0] for outcome in outcomes.values())
