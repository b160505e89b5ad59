"""The benchmark of many texts together: the curve, what is kept of it, a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.report.batches import BatchesRun, Curve, Point, kept, section
from benchmarks.runs import batches
from tests.helpers.benchmark_setting import made_up_setting


def run_of(*shares: float) -> BatchesRun:
    points = [
        Point(width=2**i, requests=0.5 * (i + 1), rows=1000.0, share=share)
        for i, share in enumerate(shares)
    ]
    return BatchesRun(
        setting=made_up_setting(), curves=[Curve(task="texts", n=3, points=points)], seconds=90
    )


def test_the_section_shows_gains_over_the_first_width() -> None:
    text = section(run_of(1.01, 0.95))
    assert "texts, n = 3" in text
    assert "| 2 | 1.00 | 2.00 | 1,000 | 95% |" in text
    assert "Aim: 90% of the engine alone everywhere; reached." in text
    assert "missed." in section(run_of(1.01, 0.89))
    assert section(None) == ""


@pytest.mark.slow
def test_a_quick_run_keeps_nothing_and_a_whole_one_all(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "batches.json"
    published: list[bool] = []
    monkeypatch.setattr(batches, "requantized", lambda source, *_: source)
    monkeypatch.setattr(batches, "RESULTS", results)
    monkeypatch.setattr("benchmarks.report.page.publish", lambda: published.append(True))
    monkeypatch.setattr(
        "benchmarks.peers.questions.receipt_texts", lambda n: (["one", "two"][:n], "")
    )
    asked = ["--model", str(tiny_model), "--gpu-layers", "0"]
    quick = CliRunner().invoke(batches.main, ["--quick", *asked])
    assert (quick.exit_code, published) == (0, []), quick.output
    whole = CliRunner().invoke(
        batches.main, ["--texts", "2", "--width", "2", "--width", "1", *asked]
    )
    assert (whole.exit_code, published) == (0, [True]), whole.output
    run = kept(results)
    assert run is not None
    assert [point.width for curve in run.curves for point in curve.points] == [2, 1, 2, 1]
    assert all(point.requests > 0 for curve in run.curves for point in curve.points)
