"""The thread counts a model starts with: measured at its first load on a machine, then kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from edgeslm.engines.device.machine import cache_home
from edgeslm.formats.files import publish, read_small

#: (rows, threads) -> the milliseconds that a batch of so many rows takes with so many threads
Measure = Callable[[int, int], float]

#: the files that are kept: choices, and what killed processes left of one
_OWN = re.compile(r"[0-9a-f]{64}\.json|choice-\w+\.part", re.ASCII)
#: rows of the batch that stands for all of a prompt
PREFILL_ROWS = 64
#: the measurement ends when it has taken so long, or with the evaluation then under way
_BUDGET_MS = 1000.0
#: repetitions; the median of three outlives one interruption, and what fewer tell is not used
_FEWEST, _MOST = 3, 5
#: A count is left for a smaller one that is this many times faster. Near ties go to more threads:
#: prompts have batches of up to 512 rows and attention over thousands of cells, which win more by
#: threads than what is measured here. A thread too many costs little, one too few may cost half.
_BETTER = 1.1
#: where all but the slowest repetition differ by more than this, other programs were measured
_SPREAD = 1.5
#: what a further row of a batch takes at most of a first one, by which a long warm-up is foreseen
_ROW_SHARE = 0.5
#: how much longer than foreseen all may take before it counts as disturbed
_SLACK = 1.3
#: no evaluation counts as shorter: a coarse clock may stand still meanwhile
_CLOCK_MS = 0.001
_MAX_BYTES = 200
_MAX_FILES = 256

_log = logging.getLogger("edgeslm.engines.llama.threads")


@dataclass(frozen=True, slots=True)
class Choice:
    """Thread counts: of the first small batches, and of all large ones."""

    decode: int
    prefill: int


def kept_or_measured(
    facts: Mapping[str, object], counts: Sequence[int], measure: Measure
) -> Choice | None:
    """The choice among ``counts``, measured if none is kept under ``facts``: all that decides.

    None, and nothing kept, on a machine too busy to tell. ``facts`` are JSON values.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = choices_folder() / f"{key}.json"
    choice = _read(path, counts)
    if choice is None:
        choice = choose(counts, measure)
        if choice is not None:
            _keep(path, choice)
    return choice


def choices_folder() -> Path:
    """Where choices are kept; it need not exist."""
    return cache_home() / "threads"


# --- measuring ----------------------------------------------------------------


class _BusyError(Exception):
    """Other programs decided how long evaluations took."""


class _Watch:
    """Measures, and knows how many milliseconds are left for more."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self.left = _BUDGET_MS

    def ms(self, rows: int, threads: int) -> float:
        ms = max(self._measure(rows, threads), _CLOCK_MS)
        self.left -= ms
        return ms


def choose(counts: Sequence[int], measure: Measure) -> Choice | None:
    """The fastest of ``counts``, which begin with the most; None on a machine too busy to tell.

    Where a model is so slow that the time does not suffice, the most threads are chosen.
    """
    watch = _Watch(measure)
    try:
        decode = _medians(counts, 1, watch)
        if decode[counts[0]] * PREFILL_ROWS * _ROW_SHARE > watch.left:
            return Choice(_fastest(decode), counts[0])
        prefill = _medians(counts, PREFILL_ROWS, watch)
    except _BusyError as error:
        _log.debug("the threads are measured again at the next load: %s", error)
        return None
    return Choice(_fastest(decode), _fastest(prefill))


def _medians(counts: Sequence[int], rows: int, watch: _Watch) -> dict[int, float]:
    """Median milliseconds of a batch by thread count, of as many counts as the time suffices for.

    Raises:
        _BusyError: the repetitions differ too much, or took longer than the time left.
    """
    ms = watch.ms(rows, counts[0])  # a first one also reads pages and starts threads
    if ms <= watch.left:
        ms = watch.ms(rows, counts[0])
    tried, repetitions = _plan(counts, ms, watch.left)
    if len(tried) == 1:
        return {counts[0]: ms}
    times: dict[int, list[float]] = {threads: [] for threads in tried}
    for _ in range(repetitions):  # in turns, so that what changes meanwhile changes for all
        for threads in tried:
            if watch.left <= 0:
                raise _BusyError(f"{rows} rows took longer than a moment before")
            times[threads].append(watch.ms(rows, threads))
    for threads, series in times.items():
        least, *_, second, _slowest = sorted(series)
        if second > _SPREAD * least:
            raise _BusyError(f"{rows} rows, {threads} threads: {least:.1f} to {second:.1f} ms")
    return {threads: median(series) for threads, series in times.items()}


def _plan(counts: Sequence[int], ms: float, left: float) -> tuple[Sequence[int], int]:
    """Which counts to try, the most first, and how often, in ``left`` milliseconds.

    ``ms`` is what the most threads take. Half of them take at most twice as long, and few counts
    measured well tell more than many measured once.
    """
    for n in range(len(counts), 1, -1):
        once = _SLACK * sum(ms * counts[0] / threads for threads in counts[:n])
        if once * _FEWEST <= left:
            return counts[:n], min(_MOST, int(left / once))
    return counts[:1], 0


def _fastest(medians: Mapping[int, float]) -> int:
    """The count that is clearly the fastest; ``medians`` begin with the most threads."""
    best, *fewer = medians
    for threads in fewer:
        if medians[best] > _BETTER * medians[threads]:
            best = threads
    return best


# --- keeping ------------------------------------------------------------------


def _read(path: Path, counts: Sequence[int]) -> Choice | None:
    """The choice in a file, None where there is none among ``counts``."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        kept = json.loads(read_small(path, _MAX_BYTES))
        choice = Choice(kept["decode"], kept["prefill"])
        if not all(type(n) is int and n in counts for n in (choice.decode, choice.prefill)):
            raise ValueError(f"{choice} is not among {counts}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        _log.debug("%s: the threads are measured again: %s", path, error)
        return None
    return choice


def _keep(path: Path, choice: Choice) -> None:
    """Write the file, whole or not at all; a folder that cannot be written costs a measurement."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_oldest(path.parent)
        handle, aside = tempfile.mkstemp(prefix="choice-", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(asdict(choice), file)
            publish(Path(aside), path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        _log.debug("%s: the threads are measured again next time: %s", path, error)


def _forget_oldest(folder: Path) -> None:
    """Builds and models go, and their files would stay; also asides of killed processes."""
    own = (file for file in folder.iterdir() if _OWN.fullmatch(file.name))
    files = sorted(own, key=lambda file: file.lstat().st_mtime_ns)
    for file in files[: -_MAX_FILES + 1]:
        file.unlink(missing_ok=True)
