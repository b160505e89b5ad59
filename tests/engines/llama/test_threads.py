"""Thread counts of a first load: chosen on scripted machines, kept in a file, used by engines."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.engines.device import container, machine, processor
from edgeslm.engines.llama import threads as thread_choice
from edgeslm.engines.llama.context import Context
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.engines.llama.memory import BATCH_SIZE
from edgeslm.engines.llama.pacing import LARGE_BATCH
from edgeslm.engines.llama.threads import PREFILL_ROWS, Choice, choose
from tests.helpers.engines import feed, tokens_of

#: as it was before conftest.py replaced it
kept_or_measured = thread_choice.kept_or_measured

BUDGET_MS = 1000
COUNTS = [8, 4, 2, 1]
DECODE = {8: 9.0, 4: 4.0, 2: 5.0, 1: 9.0}
PREFILL = {8: 8.0, 4: 7.5, 2: 15.0, 1: 30.0}


class Device:
    """Takes what its tables say, times ``scale``, give or take ``noise``."""

    def __init__(
        self,
        decode: dict[int, float] = DECODE,
        prefill: dict[int, float] = PREFILL,
        *,
        scale: float = 1.0,
        noise: float = 0.0,
    ) -> None:
        self.tables = {1: decode, PREFILL_ROWS: prefill}
        self.scale, self.noise = scale, noise
        self.random = random.Random(0)
        self.calls: list[tuple[int, int, float]] = []

    def measure(self, rows: int, threads: int) -> float:
        factor = self.scale * self.random.uniform(1 - self.noise, 1 + self.noise)
        ms = self.tables[rows][threads] * factor
        self.calls.append((rows, threads, ms))
        return ms

    def tried(self, rows: int) -> set[int]:
        return {threads for n, threads, _ in self.calls if n == rows}


# --- choosing -----------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_fastest_is_chosen_and_near_ties_go_to_more_threads(noise: float) -> None:
    device = Device(noise=noise)
    assert choose(COUNTS, device.measure) == Choice(decode=4, prefill=8)
    assert device.tried(1) == device.tried(PREFILL_ROWS) == set(COUNTS)


def test_small_gains_add_up() -> None:
    device = Device({8: 4.0, 4: 3.7, 2: 3.4, 1: 3.5})
    assert choose(COUNTS, device.measure) == Choice(decode=2, prefill=8)


def test_one_count_is_no_choice() -> None:
    assert choose([1], Device().measure) == Choice(1, 1)


def test_the_first_evaluation_counts_for_nothing() -> None:
    device = Device()
    first = iter([400.0])
    chosen = choose(COUNTS, lambda *at: next(first, 0.0) or device.measure(*at))
    assert chosen == Choice(decode=4, prefill=8)


@given(st.floats(1e-6, 1e4), st.floats(0, 3))
def test_no_evaluation_begins_when_the_time_is_over(scale: float, noise: float) -> None:
    device = Device(scale=scale, noise=min(noise, 0.9))
    choose(COUNTS, device.measure)
    assert sum(ms for *_, ms in device.calls[:-1]) <= BUDGET_MS


def test_a_model_slower_than_the_time_keeps_the_most_threads() -> None:
    device = Device(scale=200)
    assert choose(COUNTS, device.measure) == Choice(8, 8)
    assert len(device.calls) == 1


def test_a_model_whose_prompts_are_too_slow_keeps_the_most_threads_for_them() -> None:
    device = Device({2: 40.0, 1: 30.0}, {2: 1200.0, 1: 2300.0})
    assert choose([2, 1], device.measure) == Choice(decode=1, prefill=2)
    assert device.tried(PREFILL_ROWS) == set()


def test_where_the_time_is_short_the_smallest_counts_are_not_tried() -> None:
    device = Device(prefill={8: 60.0, 4: 45.0, 2: 30.0, 1: 20.0})
    assert choose(COUNTS, device.measure) == Choice(decode=4, prefill=4)
    assert device.tried(PREFILL_ROWS) == {8, 4}


def test_one_interruption_is_outlived() -> None:
    device = Device()

    def measure(rows: int, threads: int) -> float:
        late = 50.0 if len(device.calls) == 4 else 0.0
        return late + device.measure(rows, threads)

    assert choose(COUNTS, measure) == Choice(decode=4, prefill=8)


def test_on_a_busy_machine_nothing_is_chosen_and_prompts_are_not_even_tried() -> None:
    device = Device(noise=0.9)
    assert choose(COUNTS, device.measure) is None
    assert device.tried(PREFILL_ROWS) == set()


def test_a_machine_that_gets_busy_meanwhile_is_noticed() -> None:
    device = Device()

    def measure(rows: int, threads: int) -> float:
        device.scale = 1.0 if rows == 1 else min(device.scale * 1.2, 30.0)
        return device.measure(rows, threads)

    assert choose(COUNTS, measure) is None


@given(st.lists(st.floats(0, 2000), min_size=60, max_size=60))
def test_whatever_is_measured_a_choice_is_of_the_counts(times: list[float]) -> None:
    left = iter(times)
    chosen = choose(COUNTS, lambda *_: next(left))
    assert chosen is None or {chosen.decode, chosen.prefill} <= set(COUNTS)


def test_the_batch_stands_for_large_ones_and_fits() -> None:
    assert LARGE_BATCH < PREFILL_ROWS <= BATCH_SIZE


# --- keeping ------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def ask(counts: list[int] = COUNTS, facts: Any = "this", noise: float = 0.0) -> tuple[Any, bool]:
    """The choice, and whether it was measured."""
    device = Device(noise=noise)
    choice = kept_or_measured({"facts": facts}, counts, device.measure)
    return choice, bool(device.calls)


def test_a_choice_is_measured_once(home: Path) -> None:
    assert ask() == (Choice(4, 8), True)
    assert ask() == (Choice(4, 8), False)
    assert ask(facts="that") == (Choice(4, 8), True)
    files = list((home / "threads").iterdir())
    assert [file.suffix for file in files] == [".json"] * 2
    assert json.loads(files[0].read_bytes()) == {"decode": 4, "prefill": 8}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\0\xff", b"{", b"[4, 8]", b"7", b'{"decode": 4}', b'{"decode": 4, "prefill": 3}'),
        *(b'{"decode": 4.0, "prefill": 8}', b'{"decode": true, "prefill": 8}'),
        *(b'{"decode": [4], "prefill": 8}', b'{"decode": 2, "prefill": 8}' + b" " * 1000),
    ],
)
def test_a_file_that_is_no_choice_is_written_anew(home: Path, content: bytes) -> None:
    ask()
    (file,) = (home / "threads").iterdir()
    file.write_bytes(content)
    assert ask() == (Choice(4, 8), True)
    assert ask() == (Choice(4, 8), False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_is_not_waited_for(home: Path) -> None:
    ask()
    (file,) = (home / "threads").iterdir()
    file.unlink()
    os.mkfifo(file)
    assert ask() == (Choice(4, 8), True)


def test_what_a_busy_machine_told_is_not_kept(home: Path) -> None:
    assert ask(noise=0.9) == (None, True)
    assert not home.exists()


def test_a_folder_that_cannot_be_written_costs_a_measurement(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("a file where the folder should be")
    with caplog.at_level("DEBUG", "edgeslm.engines.llama.threads"):
        assert ask() == (Choice(4, 8), True)
        assert ask() == (Choice(4, 8), True)
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert str(home) in caplog.text


def test_a_file_that_cannot_be_renamed_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_aside: Path, _final: Path) -> None:
        raise OSError("no")

    monkeypatch.setattr(thread_choice, "publish", refuse)
    assert ask() == (Choice(4, 8), True)
    assert list((home / "threads").iterdir()) == []


def test_the_folder_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_choice, "_MAX_FILES", 3)
    for facts in range(5):
        ask(facts=facts)
        for file in (home / "threads").iterdir():  # later files are later by any clock
            stat = file.stat()
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**9))
    assert len(list((home / "threads").iterdir())) == 3
    assert [ask(facts=facts)[1] for facts in (4, 3, 2, 0)] == [False, False, False, True]


def test_what_edgeslm_did_not_write_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_choice, "_MAX_FILES", 3)
    foreign = home / "threads" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    for facts in range(5):
        ask(facts=facts)
    assert foreign.read_text() == "mine"


# --- an engine ----------------------------------------------------------------

Measured = list[tuple[int, int]]
Cores = Callable[..., None]


@pytest.fixture
def cores(home: Path, monkeypatch: pytest.MonkeyPatch) -> Cores:
    """A function that gives a number of alike cores to this process, however busy they are."""

    def give(count: int, quota: float | None = None) -> None:
        monkeypatch.setattr(machine, "_affinity", lambda: frozenset(range(count)))
        monkeypatch.setattr(processor, "performance_cpus", lambda: None)
        monkeypatch.setattr(processor, "threads_of_core", lambda _cpu: 1)
        monkeypatch.setattr(container, "cpu_quota", lambda: quota)

    monkeypatch.setattr(thread_choice, "kept_or_measured", kept_or_measured)
    monkeypatch.setattr(thread_choice, "_SPREAD", math.inf)
    monkeypatch.setattr(thread_choice, "_BUDGET_MS", 1e6)
    give(2)
    return give


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Rows and threads of the measurements that engines make."""
    measurements: Measured = []
    real = LlamaEngine._measure

    def measure(self: LlamaEngine, rows: int, threads: int) -> float:
        measurements.append((rows, threads))
        return real(self, rows, threads)

    monkeypatch.setattr(LlamaEngine, "_measure", measure)
    return measurements


def counts_of(engine: LlamaEngine) -> tuple[int, int]:
    """The threads that one row and a large batch get."""
    assert engine._pace is not None
    return engine._pace.threads(1), engine._pace.threads(LARGE_BATCH + 1)


def test_the_second_load_of_a_model_measures_nothing(
    tiny_model: Path, home: Path, cores: Cores, measured: Measured
) -> None:
    with closing(LlamaEngine(tiny_model)) as engine:
        first = counts_of(engine)
    assert set(measured) == {(1, 2), (1, 1), (PREFILL_ROWS, 2), (PREFILL_ROWS, 1)}
    (file,) = (home / "threads").iterdir()
    assert tuple(json.loads(file.read_bytes()).values()) == first
    measured.clear()
    file.write_text('{"decode": 1, "prefill": 2}')
    with closing(LlamaEngine(tiny_model)) as engine:
        assert counts_of(engine) == (1, 2)
        feed(engine, tokens_of(3))
        assert engine._context.threads == 1
        feed(engine, tokens_of(100), 3)
        assert engine._context.threads == 2
    assert measured == []


def test_another_model_or_other_cores_are_measured_anew(
    tiny_model: Path, tmp_path: Path, cores: Cores, measured: Measured
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(tiny_model.read_bytes())
    LlamaEngine(model).close()
    for change in (lambda: os.utime(model, (1, 1)), lambda: cores(4)):
        measured.clear()
        change()
        LlamaEngine(model).close()
        assert measured
        measured.clear()
        LlamaEngine(model).close()
        assert not measured


def test_a_container_gets_no_more_threads_than_it_may_use(
    tiny_model: Path, cores: Cores, measured: Measured
) -> None:
    cores(16, quota=4.5)
    LlamaEngine(tiny_model).close()
    assert {threads for _, threads in measured} == {4, 2, 1}


def test_there_is_no_measurement_where_there_is_no_choice(
    tiny_model: Path, home: Path, cores: Cores, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    LlamaEngine(tiny_model, threads=2).close()
    cores(1)
    LlamaEngine(tiny_model).close()
    cores(16, quota=1.5)
    LlamaEngine(tiny_model).close()
    cores(2)
    monkeypatch.setattr(LlamaEngine, "_on_gpu", True)
    LlamaEngine(tiny_model).close()
    assert measured == []
    assert not (home / "threads").exists()


def test_a_measurement_leaves_no_trace_in_the_engine(
    tiny_model: Path, cores: Cores, measured: Measured
) -> None:
    results = []
    for threads in (2, None):
        with closing(LlamaEngine(tiny_model, threads=threads)) as engine:
            assert engine._context.filled == 0
            rows = [feed(engine, tokens_of(300)), feed(engine, [9], 300), feed(engine, [9], 0, 1)]
            results.append((np.stack(rows), engine.save(0)))
    assert measured
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_a_model_that_cannot_be_measured_is_loaded(
    tiny_model: Path, home: Path, cores: Cores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Context, "decode", lambda *_, **__: -3)
        engine = LlamaEngine(tiny_model)
    with closing(engine):
        assert counts_of(engine) == (2, 2)
        assert feed(engine, tokens_of(5)).shape
    assert not (home / "threads").exists()
