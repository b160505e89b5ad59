"""Kept runs of `edgeslm bench` on the page of benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import bench_runs
from edgeslm.bench.report.summary import card_text
from edgeslm.errors import InputError
from edgeslm.formats.files import write_text
from tests.helpers.bench import report


def test_each_kept_run_shows_its_card_and_its_notes(tmp_path: Path) -> None:
    for name in ("b", "a"):
        run = report(notes=[f"note of {name}"])
        write_text(tmp_path / f"{name}.json", run.model_dump_json())
    text = bench_runs.section(bench_runs.kept(tmp_path))
    assert text.count(card_text(report())) == 2
    assert text.index("note of a") < text.index("note of b")
    assert "- memory: " in text


def test_without_runs_there_is_no_section(tmp_path: Path) -> None:
    assert bench_runs.section(bench_runs.kept(tmp_path)) == ""


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.json"):
        bench_runs.kept(tmp_path)
