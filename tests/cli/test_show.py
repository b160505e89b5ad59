"""`edgeslm show` and `edgeslm pack` from the outside: output, exit codes, no tracebacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import edgeslm.cli.show
from edgeslm.cli.main import main
from edgeslm.formats.card import Card
from edgeslm.formats.gguf.info import kv_bytes, read_gguf
from tests.helpers.tiny_gguf import write_tiny_gguf

CARD = """
name = "router"
licence = "mit"
[task]
kind = "classify"
labels = ["billing", "refund"]
"""


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "model.gguf", quant="Q8_0")


@pytest.fixture
def card_file(tmp_path: Path) -> Path:
    path = tmp_path / "card.toml"
    path.write_text(CARD)
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def as_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgeslm.cli.show, "for_people", lambda as_json=False: not as_json)
    monkeypatch.setenv("COLUMNS", "80")


def test_show_prints_one_json_line(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", model) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    facts: dict[str, Any] = json.loads(lines[0])
    info = read_gguf(model)
    assert facts["architecture"] == "llama"
    assert facts["parameters"] == info.parameters
    assert facts["quantization"] == "Q8_0"
    assert 8.5 < facts["bits_per_weight"] < 9
    assert facts["size"] == model.stat().st_size
    memory = info.tensor_bytes + kv_bytes(info, 2048)
    assert facts["memory"] == {"context": 2048, "bytes": memory}
    assert facts["chat_template_sha256"] == info.chat_template_sha256
    assert facts["card"] is None


def test_memory_is_for_the_models_own_context_where_that_is_smaller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", write_tiny_gguf(tmp_path / "s.gguf", n_ctx=256)) == 0
    assert json.loads(capsys.readouterr().out)["memory"]["context"] == 256


def test_pack_then_show_has_the_card(
    model: Path, card_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "router.gguf"
    before = model.read_bytes()
    assert run("pack", model, "--card", card_file, "--out", out) == 0
    packed = json.loads(capsys.readouterr().out)
    assert run("show", "--json", out) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"model": str(out), **packed}
    assert shown["file"] == str(out)
    assert shown["card"]["name"] == "router"
    assert [label["name"] for label in shown["card"]["task"]["labels"]] == ["billing", "refund"]
    assert model.read_bytes() == before


def test_the_table_names_what_matters_within_80_columns(
    model: Path,
    card_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_table(monkeypatch)
    assert run("pack", model, "--card", card_file) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for pattern in (
        r"architecture +llama",
        r"quantization +Q8_0, really 8\.\d\d bits per weight",
        r"memory +[\d.]+ MB at 2,048 tokens",
        r"card +router 1, licence mit",
        r"task +classify into 2 labels: billing, refund",
    ):
        assert re.search(pattern, out), pattern


def test_the_table_of_an_extractor_has_its_fields_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_table(monkeypatch)
    fields = {f"field_{number}": {"type": "string"} for number in range(10)}
    card = Card.from_dict(
        {
            "name": "reader",
            "licence": "mit",
            "task": {"kind": "extract", "json_schema": {"type": "object", "properties": fields}},
            "scores": [
                {
                    "metric": "F1",
                    "value": 0.9,
                    "interval": [0.85, 0.94],
                    "n": 1300,
                    "gold": "receipts",
                    "by_category": {
                        f"field_{number}": {"n": 10, "value": number / 10, "lower": 0.0}
                        for number in (3, 1, 2, 0)
                    },
                    "baselines": {"majority": 0.2, "TF-IDF": 0.7},
                }
            ],
            "calibration": {
                "temperature": 1.7,
                "threshold": 0.8,
                "ece_before": 0.12,
                "ece_after": 0.03,
                "n": 500,
            },
            "provenance": {
                "base": "SmolLM2-135M",
                "adapter_sha256": "a" * 64,
                "tools": {"gguf": "0.18", "torch": "2.9"},
            },
            "examples": [{"input": "x", "expected": {}}],
        },
        where="card",
    )
    assert run("show", write_tiny_gguf(tmp_path / "reader.gguf", card=card)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "extract JSON with the fields field_0, field_1," in out
    assert "field_7 and 2 more" in out
    assert "F1 (case ignored) 0.900 [0.850, 0.940] on receipts (n=1,300)" in out
    assert "0.700 baseline: TF-IDF 0.200 baseline: majority" in out
    worst = "0.000 field_0, at least 0.000 (n=10) 0.100 field_1, at least 0.000 (n=10)"
    assert f"{worst} 0.200 field_2" in out
    assert "and 1 that are no worse" in out and "0.300 field_3" not in out
    calibrated = "temperature 1.7, threshold 0.8, ECE 0.120 without it, ECE 0.030 with it (n=500)"
    assert f"calibration {calibrated}" in out
    assert "made from SmolLM2-135M" in out
    assert f"adapter sha256 {'a' * 64}" in out
    assert "tools gguf 0.18, torch 2.9" in out
    assert "self-tests 1, run by edgeslm doctor" in out


def test_a_file_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_table(monkeypatch)
    name = "\x1b]0;evil\x07\x1b[2J[bold]x"
    assert run("show", write_tiny_gguf(tmp_path / "e.gguf", **{"general.name": name})) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x" in out


@pytest.mark.parametrize("command", ["show", "pack"])
def test_a_damaged_file_exits_5_with_one_message(
    command: str, card_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<html>404</html>")
    extra = ["--card", card_file] if command == "pack" else []
    assert run(command, path, *extra) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "web page" in captured.err
    assert "Traceback" not in captured.err


def test_a_bad_card_exits_6_and_changes_nothing(
    model: Path, card_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    card_file.write_text(CARD + "typo = 1\n")
    assert run("pack", model, "--card", card_file) == 6
    assert "task.classify.typo" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_a_schema_that_cannot_be_enforced_exits_7(
    model: Path, card_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = 'kind = "extract"\njson_schema = { "$ref" = "https://example.com/s.json" }\n'
    card_file.write_text('name = "n"\nlicence = "l"\n[task]\n' + schema)
    assert run("pack", model, "--card", card_file) == 7
    assert "$ref" in capsys.readouterr().err


def test_an_unknown_name_exits_12(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "no-such-model") == 12
    assert "no-such-model" in capsys.readouterr().err


def test_pack_needs_a_card(model: Path) -> None:
    assert run("pack", model) == 2


def test_the_card_in_the_help_is_one(model: Path, tmp_path: Path) -> None:
    text = edgeslm.cli.show.pack.help or ""
    blocks = [block.split("\n\n")[0] for block in text.split("\b\n")[2:]]
    assert len(blocks) == 2
    path = tmp_path / "card.toml"
    path.write_text(blocks[0])
    assert run("pack", model, "--card", path) == 0
    (tmp_path / "invoice.schema.json").write_text(
        '{"type": "object", "properties": {"total": {"type": "number"}}}'
    )
    path.write_text('name = "invoices"\nlicence = "mit"\n' + blocks[1])
    assert run("pack", model, "--card", path) == 0
