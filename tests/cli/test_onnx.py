"""The commands on .onnx specialists: pulled, tried, shown, asked and scored like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import edgeslm
from edgeslm.cli.main import cli
from edgeslm.errors import (
    CardError,
    LabelError,
    PullError,
)
from edgeslm.evaluation.selftest import prove, self_test_of
from edgeslm.store.entry import Entry
from edgeslm.store.install import install
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store
from tests.helpers.tiny_onnx import HEADS, card, write_mixed_onnx, write_tiny_onnx


def with_examples(folder: Path, expected: str) -> Path:
    promise = card(examples=[{"input": "my refund", "expected": expected}])
    return write_tiny_onnx(folder / "tiny.onnx", promise)


def test_self_tests(tmp_path: Path) -> None:
    assert [test.passed for test in self_test_of(with_examples(tmp_path, "refund"))] == [True]
    assert [test.passed for test in self_test_of(with_examples(tmp_path, "billing"))] == [False]
    examples = [{"input": "wish ui", "expected": {"type": "wish", "areas": ["ui"]}}]
    tagger = write_tiny_onnx(tmp_path / "t.onnx", card(task=HEADS, examples=examples))
    assert [test.passed for test in self_test_of(tagger)] == [True]


def test_pull_tries_a_file_before_it_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    good = with_examples(tmp_path, "refund")
    entry = Entry(name="mini", source=str(good), sha256="unverified", licence="mit")
    registry = Registry({"mini": entry})
    placed = install("mini", prove=prove, store=Store(), registry=registry)
    with edgeslm.load("mini") as model:
        assert model.classifier()("refund").label == "refund"
    for bad in (b"nothing", with_examples(tmp_path, "billing").read_bytes()):
        (tmp_path / "bad.onnx").write_bytes(bad)
        with pytest.raises(PullError, match="refused"):
            install(
                "mini",
                prove=prove,
                store=Store(),
                registry=registry,
                from_file=tmp_path / "bad.onnx",
                accept_new=True,
            )
    assert Store().resolve("mini") == placed


def said(*arguments: str, text: str = "") -> str:
    """What a command prints; an error of it comes as the exception."""
    return CliRunner().invoke(cli, arguments, input=text, catch_exceptions=False).stdout


def test_the_command_line(tmp_path: Path) -> None:
    path = str(with_examples(tmp_path, "refund"))
    answer = json.loads(said("classify", path, "--json", text="billing please"))
    assert answer["label"] == "billing"
    with pytest.raises(LabelError):
        said("classify", path, "--labels", "x,y", text="billing")
    with pytest.raises(CardError, match="does not extract"):
        said("extract", path, text="billing")
    assert json.loads(said("doctor", path, "--json"))["passed"]
    shown = json.loads(said("show", path, "--json"))
    facts = (shown["kind"], shown["labels"], shown["card"]["name"])
    assert facts == ("encoder", 3, "tiny-encoder")
    assert (shown["reads_with"], shown["known_texts"]) == ("tokenizer", 0)
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"input": "refund", "answer": "refund"}\n', encoding="utf-8")
    assert json.loads(said("eval", path, str(gold), "--json"))["passed"]


def test_the_command_line_with_several_heads(tmp_path: Path) -> None:
    path = str(write_tiny_onnx(tmp_path / "t.onnx", card(task=HEADS)))
    answer = json.loads(said("tag", path, "--json", text="bug api"))
    assert answer["heads"]["type"]["label"] == "bug"
    gold = tmp_path / "gold.jsonl"
    expected = {"type": "bug", "areas": answer["heads"]["areas"]["labels"]}
    row = {"input": "bug api", "answer": expected}
    gold.write_text(json.dumps(row) + "\n", encoding="utf-8")
    scores = json.loads(said("eval", path, str(gold), "--json"))["scores"]
    assert (scores["n"], scores["exact"]["value"]) == (1, 1.0), scores


def test_what_people_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("answering", "show"):
        monkeypatch.setattr(f"edgeslm.cli.{module}.for_people", lambda *_: True)
    path = str(write_tiny_onnx(tmp_path / "t.onnx", card(task=HEADS)))
    answer = said("tag", path, text="bug api")
    assert "areas" in answer
    assert " ms: 4 tokens" in answer
    assert "tag areas with any of 3 labels: ui, api, docs" in " ".join(said("show", path).split())
    shown = " ".join(said("show", str(write_mixed_onnx(tmp_path / "mixed.onnx"))).split())
    assert "reads with tokenizer and feature list" in shown
    assert "knows by heart 2 texts" in shown
