"""The benchmark of many texts: a small run as a table, in which runs of one agree with map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.runs.company import Company, lines
from tests.helpers.tiny_onnx import write_tiny_onnx

TEXTS = ["refund", "where is my shipping", "billing and billing", "a b c"] * 3


def test_a_small_run_is_a_table(tmp_path: Path) -> None:
    path = write_tiny_onnx(tmp_path / "tiny.onnx")
    head, _, *rows = lines({"tiny": path}, TEXTS, 1, threads=1)
    assert len(rows) == 3
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert len(cells) == head.count("|") - 1
        assert float(cells[1]) > 0
    assert rows[1].endswith("| 0 | 0.000 |")


def test_runs_of_one_are_what_map_gives(tmp_path: Path) -> None:
    company = Company(write_tiny_onnx(tmp_path / "tiny.onnx"), TEXTS, threads=1)
    singly, mapped = (company.ways[way]() for way in ("one after the other", "map"))
    company.close()
    assert np.allclose(singly, mapped)
