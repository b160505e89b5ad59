"""Load: neighbours that always end, callers, threads, sustained runs, and the memory of a child"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import psutil
import pytest

from edgeslm.bench.parts import load
from edgeslm.bench.parts.memory import footprint, peak_rss
from edgeslm.bench.workload.workload import Row, Workload
from edgeslm.errors import EngineError, MachineError
from tests.helpers.tiny_onnx import write_tiny_onnx

#: starts a neighbour, prints its number, and waits to be killed
_PARENT = """
import time
import psutil
from edgeslm.bench.parts.load import neighbours
with neighbours(1):
    print(psutil.Process().children()[0].pid, flush=True)
    time.sleep(60)
"""


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- neighbours -----------------------------------------------------------------


def test_neighbours_are_busy_and_end_with_the_block():
    before = children()
    with load.neighbours(2):
        busy = [psutil.Process(pid) for pid in children() - before]
        assert len(busy) == 2
        start = [sum(process.cpu_times()[:2]) for process in busy]
        deadline = time.monotonic() + 20
        while any(
            sum(process.cpu_times()[:2]) - used < 0.05
            for process, used in zip(busy, start, strict=True)
        ):
            assert time.monotonic() < deadline, "a neighbour is idle"
            time.sleep(0.05)
    assert all(is_gone(process.pid) for process in busy)


def test_neighbours_end_when_what_they_disturb_fails():
    before = children()
    with pytest.raises(ZeroDivisionError), load.neighbours(1):
        busy = children() - before
        raise ZeroDivisionError
    assert len(busy) == 1
    assert all(map(is_gone, busy))


def test_neighbours_end_when_their_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE) as parent:
        try:
            neighbour = int(parent.stdout.readline())
            assert not is_gone(neighbour)
        finally:
            parent.kill()
    deadline = time.monotonic() + 20
    while not is_gone(neighbour):
        assert time.monotonic() < deadline, "the neighbour outlives its parent"
        time.sleep(0.05)


def test_a_neighbour_that_cannot_start_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(MachineError, match="could not be started"), load.neighbours(1):
        pass


def test_a_neighbour_that_ends_at_once_is_one_clear_error(monkeypatch):
    ends = [sys.executable, "-c", "raise SystemExit(1)"]
    monkeypatch.setattr("edgeslm.children.child_command", lambda *_: ends)
    with pytest.raises(MachineError, match="before it was busy"), load.neighbours(1):
        pass


# --- conditions -----------------------------------------------------------------


def test_a_point_has_its_condition_and_all_requests():
    asked: list[int] = []

    def request(number: int) -> None:
        asked.append(number)
        time.sleep(0.002)

    idle, busy = load.beside_neighbours(request, (0, 1), 0.05)
    assert (idle.label, idle.busy, busy.label, busy.busy) == ("0 busy", 0, "1 busy", 1)
    assert idle.latency["p50"].value >= 2
    assert 0 < idle.requests_per_second <= 500
    assert idle.latency["p50"].n + busy.latency["p50"].n == len(asked)


def test_a_slow_request_is_still_asked_often_enough_for_a_median():
    (point,) = load.beside_neighbours(lambda _: time.sleep(0.01), (0,), seconds=0)
    assert point.latency["p50"].n == load.MIN_REQUESTS


def test_the_rate_is_that_of_all_callers_who_ask_different_things():
    one_at_a_time, asked = threading.Lock(), []

    def request(number: int) -> None:
        with one_at_a_time:
            asked.append(number)
            time.sleep(0.005)

    alone, three = load.with_callers(request, (1, 3), 0.15)
    assert (alone.label, alone.callers, three.label, three.callers) == (
        "1 caller", 1, "3 callers", 3,
    )  # fmt: skip
    assert 0 < three.requests_per_second <= 200  # 5 ms each, one after the other
    assert sorted(asked[alone.latency["p50"].n :]) == list(range(three.latency["p50"].n))


def test_an_error_of_one_caller_ends_the_others_and_is_raised():
    running = threading.Barrier(2, timeout=20)

    def request(number: int) -> None:
        if number < 2:
            running.wait()
        if number == 1:
            raise EngineError("this one fails")
        time.sleep(0.001)

    start = time.monotonic()
    with pytest.raises(EngineError, match="this one fails"):
        list(load.with_callers(request, (2,), seconds=300))
    assert time.monotonic() - start < 60


def test_each_thread_count_has_its_own_model_which_is_closed_again():
    opened, closed = [], []

    @contextmanager
    def open_request(threads: int):
        opened.append(threads)
        yield lambda _: time.sleep(0.001)
        closed.append(threads)

    points = list(load.with_threads(open_request, (1, 2), 0.01))
    assert [(point.label, point.threads) for point in points] == [("1 thread", 1), ("2 threads", 2)]
    assert opened == closed == [1, 2]


def test_a_sustained_run_is_told_window_by_window(monkeypatch):
    monkeypatch.setattr(load, "_SHORTEST_WINDOW_S", 0.05)
    monkeypatch.setattr(load.sensors, "temperature", lambda: 61.0)
    monkeypatch.setattr(load.sensors, "clock_mhz", lambda: None)
    points = list(load.sustained(lambda _: time.sleep(0.002), minutes=0.3 / 60))
    assert 2 <= len(points) <= 6
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)
    assert all(point.milliseconds >= 2 for point in points)
    assert points[0].temperature == 61.0
    assert points[0].clock_mhz is None


# --- memory ---------------------------------------------------------------------


def test_the_memory_of_a_process_that_answers_is_told(tiny_model):
    workload = Workload("classify", (Row("a"), Row("a parcel is late")), "two", labels=("x", "y"))
    memory = footprint(tiny_model, workload, threads=1)
    assert memory.file == tiny_model.stat().st_size
    assert 20e6 < memory.rss < 2e9
    assert memory.vram is None or memory.vram >= 0


def test_a_text_that_is_longer_than_an_encoder_reads_may_lose_its_middle(tmp_path):
    path = write_tiny_onnx(tmp_path / "tiny.onnx", max_tokens=8)
    rows = (Row("refund"), Row("refund " * 9))
    assert footprint(path, Workload("classify", rows, "two", cut=True), threads=1).rss > 20e6
    with pytest.raises(EngineError, match="11 tokens, but this model reads 8"):
        footprint(path, Workload("classify", rows, "two"), threads=1)


def test_a_child_that_cannot_answer_is_one_clear_error(tiny_model):
    no_labels = Workload("classify", (Row("a"),), "one")
    with pytest.raises(EngineError, match="no card"):
        footprint(tiny_model, no_labels, threads=1)


def test_a_child_is_not_charged_with_the_memory_of_its_parent():
    held = b"x" * 200_000_000
    code = "from edgeslm.bench.parts.memory import peak_rss; print(peak_rss())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(child.stdout) < len(held) < peak_rss()
