"""LlamaEngine at its limits: stopping under way, closing, a thousand loads, memory."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeslm.engines.device import machine
from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.engines.llama.memory import BATCH_SIZE, layers_that_fit, need
from edgeslm.errors import CancelledError, DeadlineError, EngineError, ResourceError
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.engines import feed, same, tokens_of
from tests.helpers.tiny_gguf import write_tiny_gguf

# --- stopping -------------------------------------------------------------------------------


def test_cancel_stops_a_batch_under_way(slow_model: Path) -> None:
    engine = LlamaEngine(slow_model, threads=1)
    try:
        engine.arm(None)
        timer = threading.Timer(0.05, engine.cancel)
        timer.start()
        with pytest.raises(CancelledError):  # the cancel comes after the only check before it
            engine.evaluate(Batch.run(tokens_of(BATCH_SIZE), 0, 0))
        timer.join()
        with pytest.raises(CancelledError):
            engine.evaluate(Batch.run([5], 0, 0))
        engine.arm(None)
        assert same(feed(engine, tokens_of(20)), feed(engine, tokens_of(20), sequence=1))
    finally:
        engine.close()


def test_a_deadline_stops_a_batch_under_way(slow_model: Path) -> None:
    engine = LlamaEngine(slow_model, threads=1)
    try:
        engine.arm(time.monotonic() + 0.05)
        with pytest.raises(DeadlineError):
            engine.evaluate(Batch.run(tokens_of(BATCH_SIZE), 0, 0))
        engine.arm(None)
        assert np.isfinite(feed(engine, tokens_of(20))).all()
    finally:
        engine.close()


def test_a_deadline_in_the_past_stops_at_once(engine: LlamaEngine) -> None:
    engine.arm(time.monotonic())
    with pytest.raises(DeadlineError):
        engine.evaluate(Batch.run([5], 0, 0))


@pytest.mark.parametrize("deadline", [0.02, 1e12])
def test_a_deadline_ends_with_its_request(engine: LlamaEngine, deadline: float) -> None:
    engine.arm(time.monotonic() + deadline)
    engine.arm(None)
    time.sleep(0.05)
    assert np.isfinite(feed(engine, [5])).all()


# --- closing --------------------------------------------------------------------------------


def test_a_closed_engine_refuses_every_call(tiny_model: Path) -> None:
    engine = LlamaEngine(tiny_model, threads=1)
    state = engine.save(0)
    engine.close()
    engine.close()
    engine.cancel()
    for call in (
        lambda: engine.tokenize("a"),
        lambda: engine.detokenize([5]),
        lambda: engine.evaluate(Batch.run([5], 0, 0)),
        lambda: engine.fork(0, 1),
        lambda: engine.truncate(0, 0),
        lambda: engine.save(0),
        lambda: engine.restore(0, state),
        lambda: engine.resize(4096),
    ):
        with pytest.raises(EngineError, match="closed"):
            call()


@pytest.mark.slow
def test_a_thousand_loads_leave_nothing_behind(tiny_model: Path) -> None:
    process = psutil.Process()

    def load(times: int) -> tuple[int, int, int]:
        for _ in range(times):
            engine = LlamaEngine(tiny_model, threads=2)
            engine.arm(time.monotonic() + 60)
            feed(engine, [5])
            engine.close()
        files = process.num_handles() if psutil.WINDOWS else process.num_fds()
        return process.memory_info().rss, files, process.num_threads()

    memory, files, threads = load(100)
    more_memory, more_files, more_threads = load(900)
    assert more_memory - memory < 900 * 10_000  # a model left behind takes 50 times as much
    assert more_files <= files
    assert more_threads <= threads + 1


# --- memory ---------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000)
    with pytest.raises(ResourceError, match=r"weights 0\.5 MB.*1\.0 MB are free"):
        LlamaEngine(tiny_model)


def test_a_context_that_does_not_fit_leaves_the_old_one(
    engine: LlamaEngine, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = feed(engine, tokens_of(10))
    small = LlamaEngine(tiny_model, context_size=256, threads=1)
    try:
        feed(small, tokens_of(9))
        monkeypatch.setattr(machine, "available_memory", lambda: 1000)
        with pytest.raises(ResourceError):
            small.resize(2048)
        assert same(expected, feed(small, tokens_of(10)[9:], 9))
    finally:
        small.close()


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"threads": -1}, {"max_context": 0}])
def test_counts_below_one_are_refused(tiny_model: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(EngineError, match="at least 1"):
        LlamaEngine(tiny_model, **wrong)


def allocated(caplog: pytest.LogCaptureFixture) -> float:
    """Bytes that llama.cpp says it took; a repacked copy replaces the pages it was made from."""
    sizes = re.findall(
        r"(\S+) +(?:model|output|KV|compute) buffer size = +([\d.]+) MiB", caplog.text
    )
    assert len(sizes) >= 4
    return sum(float(size) * 2**20 for name, size in sizes if name != "CPU_REPACK")


def check_need(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "edgeslm.llama"):
        LlamaEngine(path, context_size=2048, threads=1).close()
    estimate = need(read_gguf(path), 2048).total
    assert 0.9 * allocated(caplog) <= estimate <= 1.6 * allocated(caplog)


@pytest.mark.parametrize("shape", [{}, {"n_layer": 6, "n_embd": 128, "n_ff": 1536}])
def test_the_estimate_is_near_what_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shape: dict[str, int]
) -> None:
    check_need(write_tiny_gguf(tmp_path / "model.gguf", **shape), caplog)


@pytest.mark.real
def test_the_estimate_is_near_what_the_real_model_takes(
    real_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_need(real_model, caplog)


@pytest.mark.parametrize(
    ("share", "layers"), [(2.0, -1), (1.26, -1), (1.0, 3), (0.7, 2), (0.4, 1), (0.1, 0), (0.0, 0)]
)
def test_layers_go_to_the_gpu_as_far_as_its_memory_goes(
    tmp_path: Path, share: float, layers: int
) -> None:
    info = read_gguf(write_tiny_gguf(tmp_path / "model.gguf", n_layer=4))
    wanted = need(info, 2048).total
    assert layers_that_fit(info, int(wanted * share)) == layers
