"""The thread count follows the load, and what it is changes no bit of the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import MAX_OUTPUTS, LlamaEngine
from edgeslm.engines.llama.pacing import Pace
from tests.helpers.engines import feed, tokens_of

ROWS = (1, 2, 8, 48)


class Fixed(Pace):
    """A pace that gives what it is told to, and keeps what it is told."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.now = threads
        self.recorded: list[tuple[int, int]] = []

    def threads(self, rows: int) -> int:
        return self.now

    def record(self, rows: int, ms: float, threads: int) -> None:
        assert ms > 0
        self.recorded.append((rows, threads))


def rows_by_threads(engine: LlamaEngine, cells: int) -> Callable[[int, int], Logits]:
    """Fill ``cells``, and return what evaluates a number of rows behind them."""
    pace = engine._pace = Fixed(2)
    engine.truncate(0, 0)
    feed(engine, tokens_of(cells))

    def evaluate(rows: int, threads: int) -> Logits:
        pace.now = threads
        engine.truncate(0, cells)
        batch = Batch.run(tokens_of(rows, 5), cells, 0, wanted=min(rows, MAX_OUTPUTS))
        return engine.evaluate(batch).copy()

    return evaluate


def check(engine: LlamaEngine, cells: int) -> None:
    evaluate = rows_by_threads(engine, cells)
    alone = evaluate(1, 2)
    for rows in ROWS:
        two, one = evaluate(rows, 2), evaluate(rows, 1)
        assert np.array_equal(two, one), f"{rows} rows"
        assert not engine.steady or np.array_equal(two[:1], alone), f"{rows} rows"


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[LlamaEngine]:
    with closing(LlamaEngine(tiny_model, threads=2)) as opened:
        yield opened


@pytest.fixture(scope="module")
def real(real_model: Path) -> Iterator[LlamaEngine]:
    with closing(LlamaEngine(real_model, threads=2)) as opened:
        yield opened


@pytest.mark.parametrize("cells", [100, 300, 700])
def test_logits_do_not_depend_on_the_thread_count(tiny: LlamaEngine, cells: int) -> None:
    check(tiny, cells)


@pytest.mark.real
@pytest.mark.parametrize("cells", [100, 300, 700])
def test_real_logits_do_not_depend_on_the_thread_count(real: LlamaEngine, cells: int) -> None:
    check(real, cells)


def check_large(engine: LlamaEngine) -> None:
    evaluate = rows_by_threads(engine, 100)
    for rows in (64, 200, 500):
        all_threads = evaluate(rows, 2)
        for threads in (1, 3, 8):
            assert np.array_equal(all_threads, evaluate(rows, threads)), f"{rows}, {threads}"


def test_large_batches_do_not_depend_on_it_either(tiny: LlamaEngine) -> None:
    check_large(tiny)


@pytest.mark.real
def test_large_batches_of_the_real_model_do_not_either(real: LlamaEngine) -> None:
    check_large(real)


def test_the_pace_hears_of_every_evaluation(tiny_model: Path) -> None:
    with closing(LlamaEngine(tiny_model, threads=2)) as engine:
        pace = engine._pace = Fixed(2)
        feed(engine, tokens_of(200))
        pace.now = 1
        feed(engine, [7], 200)
        engine.resize(4 * engine.context_size)  # a new context begins with all threads
        feed(engine, [7])
    assert pace.recorded == [(200, 2), (1, 1), (1, 1)]


def test_a_number_of_threads_that_was_asked_for_is_kept(tiny_model: Path) -> None:
    with closing(LlamaEngine(tiny_model, threads=2)) as engine:
        assert engine._pace is None
    with closing(LlamaEngine(tiny_model)) as engine:
        assert engine._pace is not None
