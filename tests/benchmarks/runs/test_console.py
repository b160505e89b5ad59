"""Progress of benchmarks: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.runs.console import bar, bars


@pytest.mark.parametrize(
    ("total", "lines"), [(3, ["1 of 3", "2 of 3", "3 of 3"]), (40, ["4 of 40", "40 of 40"])]
)
def test_each_tenth_is_a_line_where_there_is_no_terminal(total: int, lines: list[str]) -> None:
    file = io.StringIO()
    with bars(Console(file=file)) as progress:
        tick = bar(progress, "receipts", total)
        for _ in range(total):
            tick()
    said = [line for line in file.getvalue().splitlines() if line.startswith("receipts: ")]
    assert len(said) == min(total, 10)
    assert said[0] == f"receipts: {lines[0]}"
    assert said[-1] == f"receipts: {lines[-1]}"


def test_a_terminal_has_bars_alone() -> None:
    file = io.StringIO()
    with bars(Console(file=file, force_terminal=True)) as progress:
        tick = bar(progress, "receipts", 2)
        tick()
        tick()
    assert "receipts" in file.getvalue()
    assert "receipts: " not in file.getvalue()
