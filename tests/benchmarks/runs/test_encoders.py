"""The benchmark of encoders: whose turn it is, texts of a length, and a small run as a table"""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from benchmarks.runs import encoders
from edgeslm.engines.onnx.tokens import EncoderTokens
from tests.helpers.tiny_onnx import LABELS, tokenizer_json, write_tiny_onnx


def test_each_call_comes_first_equally_often():
    order: list[str] = []
    calls = {name: lambda n=name: order.append(n) for name in "abc"}
    taken = encoders.in_turns(calls, 3)
    measured = order[-9:]
    assert [len(order), *map(len, taken.values())] == [9 + 3 * 10, 3, 3, 3]
    assert measured == [*"abc", *"bca", *"cab"]


@pytest.mark.parametrize("length", [3, 16])
def test_a_text_has_exactly_its_tokens(length):
    tokens = EncoderTokens(tokenizer_json(LABELS), 64, where="x")
    assert len(tokens(encoders.text_of(tokens, length))["input_ids"]) == length


def test_a_length_that_no_text_has_is_refused():
    tokens = EncoderTokens(tokenizer_json(LABELS), 64, where="x")
    with pytest.raises(click.ClickException, match="makes no 2 tokens"):
        encoders.text_of(tokens, 2)  # two special tokens and at least one of the text


def test_a_run_measures_both_systems_at_both_lengths(tmp_path: Path):
    path = write_tiny_onnx(tmp_path / "tiny.onnx", max_tokens=32)
    calls, starts = "\n".join(encoders.lines({"tiny": path}, 3, 1)).split("\n\n")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in calls.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [str(length), f"tiny: {system}"]
        for length in (16, 32)
        for system in ("edgeslm", "onnxruntime")
    ]
    assert all(0 < float(p50) <= float(p99) for _, _, p50, p99 in rows)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in starts.splitlines()[2:]]
    assert [row[0] for row in rows] == ["tiny: edgeslm", "tiny: onnxruntime"]
    for _, load_ms, first_ms, megabytes in rows:
        assert float(load_ms) > 10 and float(first_ms) > 0
        assert 20 < float(megabytes) < 500
