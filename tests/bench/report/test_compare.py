"""Runs side by side and the gate: what counts as slower, what cannot be compared, the command"""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner

from edgeslm.bench.report.compare import (
    compare,
    parse_share,
    regression,
    require_comparable,
    require_gated,
)
from edgeslm.bench.report.figures import ENOUGH, Figure, figures, ratio, times
from edgeslm.bench.report.schema import Correctness
from edgeslm.cli import bench_compare
from edgeslm.errors import InputError
from edgeslm.evaluation.intervals import Estimate
from edgeslm.formats.files import write_text
from tests.helpers.bench import machine, model, raw, report, task


def noisy(scale: float, seed: int, n: int = 60) -> list[float]:
    source = random.Random(seed)
    return [scale * source.lognormvariate(0, 0.2) for _ in range(n)]


def requests(times: list[float], **changes):
    """A run whose requests are all that is gated."""
    nothing = {"raw": (), "start": None, "load": ()}
    return report(**{**nothing, "tasks": (task(times),), **changes})


# --- the gate ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "failed"), [(0.5, False), (1.0, False), (1.05, False), (1.2, True), (3.0, True)]
)
def test_only_a_slowdown_beyond_what_is_allowed_fails(factor, failed):
    times = noisy(300, seed=1)
    verdict = regression(requests([factor * ms for ms in times]), requests(times), 0.1)
    assert verdict.failed is failed
    assert verdict.checks[0].slowdown.value == pytest.approx(factor)


def test_a_slowdown_that_may_be_chance_does_not_fail():
    before, after = noisy(300, seed=1, n=8), noisy(345, seed=2, n=8)
    other = {"input_tokens": range(50, 58)}
    now = requests(after, tasks=(task(after, **other),))
    [check] = regression(now, requests(before), 0.1).checks
    assert check.slowdown.low < 1.1 < check.slowdown.high
    assert not check.failed


def test_the_same_requests_are_compared_pair_by_pair():
    # inputs of very different length: two samples overlap, pairs tell
    times = [100.0 * (1 + i) for i in range(30)]
    slower = [1.2 * ms for ms in times]
    assert regression(requests(slower), requests(times), 0.1).failed
    unpaired = requests(slower, tasks=(task(slower, input_tokens=range(30)),))
    assert not regression(unpaired, requests(times), 0.1).failed


def test_fewer_tokens_a_second_are_a_slowdown():
    fast, slow = (requests([1.0], raw=(raw(n_gen=128, speed=speed),)) for speed in (100.0, 50.0))
    assert regression(slow, fast, 0.1).failed
    assert not regression(fast, slow, 0.1).failed


def test_too_few_observations_never_fail():
    few = [float(ms) for ms in range(1, ENOUGH)]
    verdict = regression(requests([9 * ms for ms in few]), requests(few), 0)
    assert verdict.checks[0].slowdown is None
    assert not verdict.failed
    assert "too few" in str(verdict.checks[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"machine": machine(fingerprint="f" * 16)}, "another machine"),
        ({"tasks": (task([300.0], threads=8),)}, "8 threads"),
        ({"tasks": (), "machine": machine(threads=8)}, "8 threads"),
        ({"model": model(name="other")}, "another model, other"),
        ({"inputs": "other"}, "other inputs"),
        (
            {"correctness": Correctness(checked=9, right=1, invalid=0, bar=0.9, valid=False)},
            "INVALID",
        ),
    ],
)
def test_a_baseline_that_says_nothing_about_the_run_is_refused(changes, says):
    run = {"model": report().model.name, "inputs": report().inputs, "threads": 2}
    require_comparable(report(), machine(), **run)
    with pytest.raises(InputError, match=f"{says}.*--force"):
        require_comparable(report(**changes), machine(), **run)


def test_a_new_version_of_the_model_is_compared_with_the_old():
    newer = report(model=model(sha256="cd" * 32, card_version="2"))
    assert not regression(newer, report(), 0.1).failed


def test_runs_without_a_common_figure_are_refused():
    nothing = {"tasks": (), "raw": (), "start": None}
    with pytest.raises(InputError, match="no figure that this run has"):
        regression(report(), report(**nothing), 0.1)
    with pytest.raises(InputError, match="none of the figures"):
        require_gated(report(**nothing))
    require_gated(report(tasks=(), start=None))


def test_each_check_says_what_it_found():
    slow = report([2.0 * ms for ms in range(300, 340)])
    verdict = regression(slow, report(), 0.1)
    said = {check.name: str(check) for check in verdict.checks}
    start = "request p50, prefix cached: 638 ms, before 319 ms, time × 2.00 [2.00, 2.00]: SLOWER"
    assert said["request p50, prefix cached"] == start
    assert said["engine pp512"].endswith(": ok")
    assert said["warm load"].endswith("too few observations to tell")


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ((1.2449, 1.1, 13), "1.24 [1.10, 13.00]"),
        ((0.00984, 0.0095, 0.01), "0.0098 [0.0095, 0.010]"),
    ],
)
def test_small_ratios_keep_their_digits(ratio, said):
    value, low, high = ratio
    assert times(Estimate(value=value, low=low, high=high, n=9)) == said


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("0.1", 0.1), (" 2.5 % ", 0.025)])
def test_a_share_is_read(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "-1%", "ten", "nan", "inf", "1e999"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(InputError, match="10%"):
        parse_share(text)


# --- ratios -----------------------------------------------------------------------


def test_ratios_of_intervals_by_hand():
    figure = Figure("p95", "ms", 200, 180, 240, n=40)
    base = Figure("p95", "ms", 100, 100, 100, n=40)
    forth = ratio(figure, base)
    assert (forth.value, forth.low, forth.high) == pytest.approx((2, 1.8, 2.4))
    back = ratio(base, figure)
    assert (back.low, back.high) == pytest.approx((1 / 2.4, 1 / 1.8))


@pytest.mark.parametrize("low", [None, 0.0])
def test_no_ratio_is_made_up(low):
    figure = Figure("x", "ms", 200, low, 240, n=40)
    assert ratio(figure, Figure("x", "ms", 100, 90, 110, n=40)) is None
    assert ratio(Figure("x", "ms", 0, 0, 0, n=40), figure) is None


def test_every_part_has_figures():
    names = figures(report())
    for name in (
        "request p50, prefix cached",
        "request p99, no cache",
        "engine pp512",
        "cold start",
        "warm load",
        "3 busy: p50",
        "4 callers: rate",
        "peak memory",
        "energy per request",
    ):
        assert name in names
    assert names["cold start"].value == 10 + 980 + 1610


# --- side by side -----------------------------------------------------------------


def test_side_by_side():
    twice = report([2.0 * ms for ms in range(300, 340)], raw=(raw(n_prompt=512, speed=1644.0),))
    comparison = compare([report(), twice])
    assert comparison.names == ("1: made-up-reader", "2: made-up-reader")
    first, second = comparison.rows["request p50, prefix cached"]
    assert first.ratio is None
    assert second.ratio.value == pytest.approx(2)
    assert second.change == "worse"
    assert comparison.rows["engine pp512"][1].change == "better"
    assert comparison.rows["engine tg128"][1] is None
    assert comparison.rows["warm load"][1].change == "unclear"


def test_what_a_reader_has_to_know_comes_with_it():
    invalid = Correctness(checked=9, right=1, invalid=0, bar=0.9, valid=False)
    others = [
        report(machine=machine(fingerprint="f" * 16), inputs="other", partial=True),
        report(model=model(synthetic=True, task="none"), correctness=invalid),
    ]
    said = " ".join(compare([report(), *others]).remarks)
    for words in ("different machines", "different inputs", "partial", "random", "INVALID"):
        assert words in said
    assert compare([report(), report()]).remarks == ()


# --- the command ------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path in paths:
        write_text(path, report().model_dump_json())
    return [str(path) for path in paths]


def run(*arguments):
    return CliRunner().invoke(bench_compare.compare, list(arguments))


def test_one_json_line_and_a_page(files, tmp_path):
    page = tmp_path / "page.html"
    done = run(*files, "--html", str(page))
    assert done.exit_code == 0
    printed = json.loads(done.stdout)
    assert printed["figures"]["request p50, prefix cached"][1]["ratio"]["value"] == 1
    assert "Side by side" in page.read_text("utf-8")


def test_people_get_a_table(files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(bench_compare, "for_people", lambda _: True)
    done = run(*files)
    assert done.exit_code == 0
    assert "× 1.00 [1.00, 1.00]" in done.stdout


def test_one_file_is_wrong_usage(files):
    assert run(files[0]).exit_code == 2
    assert run().exit_code == 2


def test_a_bad_file_writes_nothing(files, tmp_path):
    (tmp_path / "b.json").write_text("{}", "utf-8")
    done = run(*files, "--html", str(tmp_path / "page.html"))
    assert isinstance(done.exception, InputError)
    assert done.stdout == ""
    assert not (tmp_path / "page.html").exists()
