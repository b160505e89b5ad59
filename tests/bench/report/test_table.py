"""A run in the terminal and as a card of five lines: what stands there, and what must not"""

from __future__ import annotations

import pytest
from rich.console import Console

from edgeslm.bench.report.compare import compare
from edgeslm.bench.report.figures import amount, plain
from edgeslm.bench.report.schema import Correctness, Device
from edgeslm.bench.report.summary import card_text
from edgeslm.bench.report.table import render, render_comparison
from tests.helpers.bench import machine, model, report


def shown(renderable, width=100):
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_one_table_with_all_conditions(width):
    lines = shown(render([report()]), width).splitlines()
    assert max(map(len, lines)) <= width
    rows = {line[2:].partition("  ")[0]: line for line in lines}
    assert "319 ms [303, 335]" in rows["prefix cached"]
    assert "1.22 s [1.16, 1.28]" in rows["no cache"]
    assert rows["4 callers"].split()[-1] == "3.31"
    assert "38 of 40 right" in rows["answers"] and "VALID" in rows["answers"]


def test_the_roofline_names_measurement_limit_and_formula():
    text = " ".join(shown(render([report()])).split())
    # 21.9e9 bytes/s over 77e6 bytes a token; 187e9 operations/s over 2 x 106e6 weights a token
    assert "tg128: 133 of at most 284 tokens/s, 47%" in text
    assert "pp512: 822 of at most 882 tokens/s, 93%" in text
    assert "bandwidth / bytes" in text


def test_no_limit_is_stated_for_a_gpu():
    run = report(machine=machine(gpus=(Device(name="Made-up GPU"),)))
    assert "at most" not in shown(render([run]))


def test_what_was_not_measured_is_not_invented():
    text = shown(render([report(energy=None, raw=(), start=None, load=())]))
    assert "energy" in text and "not available" in text
    assert "cold" not in text and "pp512" not in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"correctness": Correctness(checked=9, right=1, invalid=2, bar=0.9, valid=False)},
            "INVALID",
        ),
        ({"model": model(synthetic=True, task="none"), "correctness": None}, "SYNTHETIC"),
        ({"partial": True}, "PARTIAL"),
        ({"quick": True}, "QUICK"),
    ],
)
def test_a_run_that_is_no_plain_result_says_so_everywhere(changes, says):
    run = report(**changes)
    assert says in shown(render([run]))
    assert says in card_text(run)
    assert says not in shown(render([report()]))


def test_a_card_has_five_lines():
    lines = card_text(report()).split("\n")
    assert len(lines) == 5
    assert lines[0].startswith("made-up-reader (Q4_0, 98.9 MB, 5.88 bits per weight): Made-up CPU")
    assert lines[1].startswith("request p50 319 ms [303, 335], p90")
    assert "cold start 2.60 s" in lines[2] and "peak memory 313 MB" in lines[2]
    assert lines[3] == "answers: 38 of 40 right, 0 invalid, bar 90.0%: VALID"
    assert "2026-01-02" in lines[4] and "0123456789ab" in lines[4]


def test_a_card_has_five_lines_whatever_was_measured():
    nothing = {"tasks": (), "raw": (), "start": None, "load": (), "energy": None}
    run = report(**nothing, footprint=None, correctness=None, model=model(name="a\nb\rc\x85d"))
    lines = card_text(run).split("\n")
    assert len(lines) == 5 and all(lines)
    assert len(lines[0].splitlines()) == 1


def test_nothing_steers_the_terminal():
    hostile = "\x1b[2J[red]\u202e[/red]"
    run = report(
        model=model(name=hostile, file_type=hostile),
        machine=machine(processor=hostile, warnings=(hostile,), library=hostile),
        notes=(hostile,),
    )
    comparison = shown(render_comparison(compare([run, run])), 200)
    for text in (shown(render([run]), 200), card_text(run), comparison):
        assert "\x1b" not in text and "\u202e" not in text
        assert "[red]" in text


def test_side_by_side_has_a_column_for_each_run_and_bars():
    other = report([2.0 * ms for ms in range(300, 340)], model=model(name="twice"))
    text = shown(render_comparison(compare([report(), other])), 120)
    [row] = [line for line in text.splitlines() if line.startswith("  request p50, prefix cached ")]
    assert "319 ms" in row and "638 ms × 2.00 [2.00, 2.00]" in row
    first, second = [line.count("█") for line in text.splitlines() if "█" in line][:2]
    assert second == pytest.approx(2 * first, abs=1)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "ms", "0.12 ms"),
        (12.34, "ms", "12.3 ms"),
        (999.4, "ms", "999 ms"),
        (1240, "ms", "1.24 s"),
        (0, "ms", "0.00 ms"),
        (98_900_000, "bytes", "98.9 MB"),
        (4_900_000_000, "bytes", "4.90 GB"),
        (12_345.6, "tokens/s", "12,346 tokens/s"),
    ],
)
def test_amounts(value, unit, text):
    assert amount(value, unit) == text


def test_long_texts_are_cut():
    assert plain("x" * 500, 10) == "x" * 9 + "…"
