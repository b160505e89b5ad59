"""The commands on readers: shown, tried, asked, scored and measured like any other specialist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import edgeslm
from edgeslm.cli.main import cli
from edgeslm.evaluation.selftest import self_test_of
from tests.helpers.tiny_reader import card, receipts, write_tiny_encoder_reader, write_tiny_reader

TEXT, RECORD = receipts()[0]


def said(*arguments: str) -> str:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout


def line_of(*arguments: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(said(*arguments).splitlines()[-1])
    return value


def test_a_reader_is_shown_by_its_fields(tiny_reader: Path, monkeypatch) -> None:
    shown = line_of("show", str(tiny_reader))
    assert shown["labels"] is None
    assert shown["fields"] == [
        {"path": "$.shop", "read": "text", "values": None},
        {"path": "$.date", "read": "date", "values": None},
        {"path": "$.total", "read": "number", "values": None},
        {"path": "$.paid", "read": "listed", "values": ['"cash"', '"card"']},
    ]
    monkeypatch.setattr("edgeslm.cli.show.for_people", lambda *_: True)
    table = " ".join(said("show", str(tiny_reader)).split())
    assert "$.shop: lines of the text or parts of them" in table
    assert "$.date: a date that stands in the text" in table
    assert '$.paid: one of "cash", "card"' in table
    assert "labels" not in table


def test_a_reader_is_tried_by_its_examples(tmp_path: Path) -> None:
    for total, passed in ((RECORD["total"], True), ("0.01", False)):
        examples = [{"input": TEXT, "expected": {**RECORD, "total": total}}]
        path = write_tiny_encoder_reader(tmp_path / "x.onnx", card(examples=examples))
        assert [test.passed for test in self_test_of(path)] == [passed]


def test_a_reader_extracts_and_is_scored(tmp_path: Path, tiny_encoder_reader: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    answer = line_of("extract", str(tiny_encoder_reader), str(tmp_path / "text.txt"))
    assert RECORD.items() <= (answer.get("value") or answer).items()
    gold = "".join(json.dumps({"input": t, "expected": r}) + "\n" for t, r in receipts())
    (tmp_path / "gold.jsonl").write_text(gold, encoding="utf-8")
    scored = line_of("eval", str(tiny_encoder_reader), str(tmp_path / "gold.jsonl"))
    assert scored["scores"]["exact"]["value"] == 1
    assert scored["scores"]["n"] == len(receipts())


@pytest.mark.parametrize("write", [write_tiny_reader, write_tiny_encoder_reader])
def test_an_answer_says_how_much_was_read(tmp_path: Path, write: Any) -> None:
    with edgeslm.load(write(tmp_path / "x.onnx")) as model:
        timing = model.extractor()(TEXT).timing
    assert timing.prompt_tokens > 0
    assert timing.output_tokens == 0
    assert 0 < timing.prefill_ms < timing.total_ms


@pytest.mark.slow
def test_a_reader_is_measured(tmp_path: Path) -> None:
    examples = [{"input": text, "expected": record} for text, record in receipts()[::2]]
    path = write_tiny_reader(tmp_path / "x.onnx", card(examples=examples))
    measured = line_of("bench", str(path), "--quick")
    assert measured["correctness"]["right"] == len(examples)
    assert measured["model"]["task"] == "extract"
    assert measured["tasks"][0]["latency"]["p50"]["value"] > 0
