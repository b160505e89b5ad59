"""The thread count follows the load: on scripted machines whose costs are known."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.engines.llama.pacing import LARGE_BATCH, Pace, thread_counts

#: milliseconds by thread count of one row, as measured with two cores (benchmarks/LOG.md)
IDLE = {2: 6.4, 1: 10.7}
BUSY = {2: 34.1, 1: 25.7}
ONE_NEIGHBOUR = {2: 50.0, 1: 17.0}


class Device:
    """Takes as long as its table says, by rows and thread count, give or take ``noise``."""

    def __init__(
        self, threads: int, noise: float = 0.0, seed: int = 0, start: int | None = None
    ) -> None:
        self.pace = Pace(threads, start=start)
        self.random = random.Random(seed)
        self.noise = noise

    def run(
        self, count: int, one_row: dict[int, float], rows: Callable[[], int] = lambda: 1
    ) -> list[int]:
        """The thread counts of ``count`` evaluations."""
        used = []
        for _ in range(count):
            n = rows()
            threads = self.pace.threads(n)
            factor = self.random.uniform(1 - self.noise, 1 + self.noise)
            self.pace.record(n, one_row[threads] * (1 + 0.4 * (n - 1)) * factor, threads)
            used.append(threads)
        return used


def switches(used: list[int]) -> int:
    return sum(a != b for a, b in pairwise(used))


def share(used: list[int], threads: int) -> float:
    return used.count(threads) / len(used)


def test_a_calm_machine_keeps_all_threads() -> None:
    used = Device(2, noise=0.1).run(2000, IDLE)
    assert share(used, 2) > 0.97
    assert share(used[:100], 2) > 0.85


def test_trials_cost_a_calm_machine_less_than_a_hundredth() -> None:
    device = Device(2, noise=0.15)
    device.run(100, IDLE)
    spent = sum(IDLE[threads] for threads in device.run(2000, IDLE))
    assert spent < 1.005 * 2000 * IDLE[2]


@pytest.mark.parametrize("busy", [BUSY, ONE_NEIGHBOUR], ids=["three", "one"])
def test_a_busy_machine_gets_one_thread_and_a_calm_one_all_again(busy: dict[int, float]) -> None:
    device = Device(2, noise=0.1)
    device.run(500, IDLE)
    assert share(device.run(30, busy)[10:], 1) > 0.6
    assert share(device.run(1000, busy), 1) > 0.95
    assert share(device.run(30, IDLE)[10:], 2) > 0.6
    assert share(device.run(1000, IDLE), 2) > 0.95


def test_a_start_on_a_busy_machine_is_soon_right() -> None:
    used = Device(2, noise=0.1).run(40, ONE_NEIGHBOUR)
    assert used[0] == 2
    assert share(used[4:], 1) > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_noise_as_large_as_under_load_is_mostly_right(seed: int) -> None:
    device = Device(2, noise=0.5, seed=seed)
    assert share(device.run(2000, ONE_NEIGHBOUR), 1) > 0.8
    assert share(device.run(2000, IDLE), 2) > 0.7


def test_equal_counts_do_not_swing() -> None:
    used = Device(2, noise=0.03).run(3000, {2: 10.0, 1: 10.0})
    assert share(used, 2) > 0.96  # what is left are trials
    assert switches(used) < 80


def test_one_interruption_changes_nothing() -> None:
    device = Device(2)
    device.run(300, IDLE)
    device.pace.record(1, 500.0, device.pace.threads(1))
    assert share(device.run(100, IDLE), 2) > 0.95


def test_the_best_of_many_counts_is_found() -> None:
    one_row = {8: 30.0, 4: 12.0, 2: 16.0, 1: 28.0}
    assert share(Device(8, noise=0.1).run(1000, one_row), 4) > 0.9


def test_the_counts_are_halves() -> None:
    assert [thread_counts(n) for n in (1, 2, 6, 8)] == [[1], [2, 1], [6, 3, 1], [8, 4, 2, 1]]


@pytest.mark.parametrize("start", [8, 4, 2, 1])
def test_a_start_with_any_count_ends_with_the_best(start: int) -> None:
    device = Device(8, noise=0.1, start=start)
    one_row = {8: 30.0, 4: 12.0, 2: 16.0, 1: 28.0}
    assert set(device.run(4, one_row)) == {start}
    assert share(device.run(1000, one_row), 4) > 0.9


def test_a_measured_count_of_large_batches_is_kept() -> None:
    pace = Pace(8, start=2, large=4)
    assert [pace.threads(rows) for rows in (1, LARGE_BATCH, LARGE_BATCH + 1, 512)] == [2, 2, 4, 4]
    for _ in range(50):
        pace.record(512, 1000.0, 4)
    assert [pace.threads(rows) for rows in (1, 512)] == [2, 4]


def test_batches_of_many_sizes_share_what_is_learned() -> None:
    device = Device(2, noise=0.1)
    sizes = random.Random(1)

    def rows() -> int:
        return sizes.choice([1, 1, 2, 3, 8, 24])

    device.run(500, IDLE, rows)
    assert share(device.run(60, ONE_NEIGHBOUR, rows)[30:], 1) > 0.8
    device.run(300, ONE_NEIGHBOUR, rows)
    assert share(device.run(100, IDLE, rows)[50:], 2) > 0.8


def test_a_large_batch_gets_all_threads_and_teaches_nothing() -> None:
    device = Device(2)
    device.run(300, ONE_NEIGHBOUR)
    assert device.pace.threads(LARGE_BATCH + 1) == 2
    for _ in range(50):
        device.pace.record(LARGE_BATCH + 1, 1.0, 2)
    assert share(device.run(50, ONE_NEIGHBOUR), 1) > 0.9


def test_a_text_that_grows_slows_all_counts_alike() -> None:
    device = Device(2)
    used = [
        device.run(1, {threads: ms * (1 + length / 500) for threads, ms in IDLE.items()})[0]
        for length in range(2000)
    ]
    assert share(used, 2) > 0.95


def test_one_thread_stays_one() -> None:
    assert set(Device(1).run(100, {1: 5.0})) == {1}


@given(
    threads=st.integers(1, 64),
    evaluations=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1e6)), max_size=300),
)
def test_every_count_is_of_the_ladder(threads: int, evaluations: list[tuple[int, float]]) -> None:
    pace = Pace(threads)
    for rows, ms in evaluations:
        given_ = pace.threads(rows)
        assert given_ in {threads >> shift for shift in range(7)} - {0}
        pace.record(rows, ms, given_)


def test_a_call_costs_microseconds() -> None:
    device = Device(2, noise=0.1)
    start = time.thread_time()
    device.run(20_000, IDLE)
    assert (time.thread_time() - start) / 20_000 < 50e-6
