"""The benchmark beside busy processes: turns, loops that end, percentiles, a small run."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from benchmarks import contender, contention
from benchmarks.contention import Times, _beside, _busy_processes, table
from benchmarks.results import DEFAULTS, OWN


def test_contestants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0])
    monkeypatch.setattr(contention, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(contender, "time_decodes", lambda count: [1.0] * count)
    with ThreadPoolExecutor(1, "a") as first, ThreadPoolExecutor(1, "b") as second:
        workers = {"a": first, "b": second}

        def request(text: str) -> float:
            calls.append((current_thread().name[0], text))
            return 7.0

        monkeypatch.setattr(contender, "time_request", request)
        results = _beside(0, workers, ["one", "two"], 2.5)
    assert calls == [("a", "one"), ("b", "one"), ("b", "two"), ("a", "two")]
    assert [times.contestant for times in results] == ["a", "b"]
    assert results[0].requests == [7.0, 7.0]
    assert results[0].decodes == [1.0] * 2 * contention.DECODES


def test_busy_processes_end_with_the_block_and_by_themselves() -> None:
    before = set(psutil.Process().children())
    with pytest.raises(KeyError), _busy_processes(2, lifetime_s=60):
        loops = set(psutil.Process().children()) - before
        assert len(loops) == 2
        raise KeyError
    assert not any(loop.is_running() for loop in loops)
    with _busy_processes(1, lifetime_s=0.01):
        [loop] = set(psutil.Process().children()) - before
        assert loop.wait(timeout=30) == 0


def test_the_table_shows_percentiles() -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    times = Times(3, OWN, [float(ms) for ms in range(101)], [10.0, 30.0])
    console.print(table([times]))
    text = console.export_text()
    assert "50.0 / 95.0 / 99.0 / 100.0" in text
    assert "20 / 29 / 30 / 30" in text


@pytest.mark.slow
def test_a_small_run_of_all_contestants(tiny_model: Path) -> None:
    results = list(contention.measure(tiny_model, 0.01, fixed=True, busy=(0, 1)))
    assert [(times.busy, times.contestant) for times in results] == [
        (busy, name) for busy in (0, 1) for name in (OWN, contention.FIXED, DEFAULTS)
    ]
    assert all(min(times.requests) > min(times.decodes) > 0 for times in results)
