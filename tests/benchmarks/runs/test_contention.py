"""The benchmark beside busy processes: turns, loops that end, percentiles, a small run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread
from types import SimpleNamespace

import psutil
import pytest
from click.testing import CliRunner

from benchmarks.report.contention import ContentionRun, Times, kept, section
from benchmarks.report.results.extraction import DEFAULTS, OWN
from benchmarks.runs import contention, timed_process
from benchmarks.runs.contention import _beside, _busy_processes
from tests.helpers.benchmark_setting import made_up_setting


def test_edgeslm_and_its_peer_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0])
    monkeypatch.setattr(contention, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(timed_process, "time_decodes", lambda count: [1.0] * count)
    with ThreadPoolExecutor(1, "a") as first, ThreadPoolExecutor(1, "b") as second:
        workers = {"a": first, "b": second}

        def request(text: str) -> float:
            calls.append((current_thread().name[0], text))
            return 7.0

        monkeypatch.setattr(timed_process, "time_request", request)
        results = _beside(0, workers, ["one", "two"], 2.5)
    assert calls == [("a", "one"), ("b", "one"), ("b", "two"), ("a", "two")]
    assert [times.peer for times in results] == ["a", "b"]
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


def run_of(*times: Times) -> ContentionRun:
    setting = made_up_setting(load_average=None)
    return ContentionRun(setting=setting, times=list(times), seconds=60.0)


def times_of(busy: int, peer: str, requests: list[float]) -> Times:
    return Times(busy=busy, peer=peer, decodes=[1.0], requests=requests)


def test_the_section_shows_percentiles_and_aims() -> None:
    own = Times(busy=3, peer=OWN, decodes=[float(ms) for ms in range(101)], requests=[10.0, 30.0])
    peer = times_of(3, DEFAULTS, [50.0, 150.0])
    idle = [times_of(0, OWN, [10.4] * 3), times_of(0, DEFAULTS, [10.0] * 3)]
    text = section(run_of(*idle, own, peer))
    assert "| 3 | edgeslm | 50.0 / 95.0 / 99.0 / 100.0 | 20 / 29 / 30 / 30 | 2 |" in text
    assert "takes 5.00 × [5.00, 5.00] edgeslm's. Aim: 4; reached." in text
    assert "takes 0.96 × [0.96, 0.96] edgeslm's. Aim: edgeslm at most 3 % slower; missed." in text
    assert section(None) == ""


def test_no_aim_is_judged_that_was_not_measured() -> None:
    text = section(run_of(times_of(1, OWN, [1.0]), times_of(1, DEFAULTS, [1.0])))
    assert "Aim" not in text


def test_a_quick_run_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> Iterator[Times]:
        yield times_of(0, OWN, [1.0, 2.0])

    monkeypatch.setattr(contention, "measure", measured)
    monkeypatch.setattr(contention, "requantized", lambda source, *_: source)
    monkeypatch.setattr(contention, "RESULTS", tmp_path / "contention.json")
    published: list[bool] = []
    monkeypatch.setattr("benchmarks.report.page.publish", lambda: published.append(True))
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    for arguments, expected in ((["--quick"], []), ([], [True])):
        result = CliRunner().invoke(contention.main, [*arguments, "--model", str(model)])
        assert (result.exit_code, published) == (0, expected), result.output
    assert kept(tmp_path / "contention.json") is not None


@pytest.mark.slow
def test_a_small_run_of_edgeslm_and_its_peer(tiny_model: Path) -> None:
    results = list(contention.measure(tiny_model, 0.01, fixed=True, busy=(0, 1)))
    assert [(times.busy, times.peer) for times in results] == [
        (busy, name) for busy in (0, 1) for name in (OWN, contention.FIXED, DEFAULTS)
    ]
    assert all(min(times.requests) > min(times.decodes) > 0 for times in results)
