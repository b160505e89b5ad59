"""Builds of readers, linear and with an encoder: end to end to one file with a proven card"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  loaded before the fixture that holds it to one thread

import edgeslm
from converters import build
from converters.plan import plan
from converters.steps.reader import ReaderWork, compared
from converters.work import Work
from edgeslm.formats.onnx.info import read_onnx
from tests.helpers.recipes import write_jsonl
from tests.helpers.tiny_bert import write_tiny_bert
from tests.helpers.tiny_reader import SCHEMA, SHOPS, receipts

RECIPE = """
kind = "{kind}"
name = "made-up"
licence = "Apache-2.0"
{base}
[task]
kind = "extract"
json_schema = "schema.json"
[[data.files]]
path = "rows.jsonl"
url = "https://example.org/rows"
licence = "MIT"
[data]
near_duplicate = 1
[data.answer]
shop = {{ source = "shop" }}
date = {{ source = "date", as = "date" }}
total = {{ source = "total", as = "amount" }}
tea = {{ source = "tea", as = "value" }}
[data.split]
gold = 0.25
development = 0.2
{encoder}
[train]
epochs = 6
batch_rows = 4
evaluations = 2
{rate}
[gates]
max_drop = 5
min_score = 0.9
beat_baselines = false
[[examples]]
input = {text}
[examples.expected]
shop = "{shop}"
date = "{date}"
total = "{total}"
tea = 2.5
"""
BUILT = {
    "linear": {"kind": "linear", "encoder": "", "rate": ""},
    "encoder": {
        "kind": "encoder",
        "encoder": "[encoder]\nmax_tokens = 24\ndropout = 0",
        "rate": "learning_rate = 3e-3",
    },
}
pytestmark = pytest.mark.slow  # two builds
NAMES = ("shop", "date", "total")


def tea_of(text: str) -> float:
    """What tea costs in a receipt: a number, which no zeros follow."""
    return float(text.partition("TEA ")[2].split()[0])


def write_project(folder: Path, built: str) -> Path:
    streets = ("NORTH", "SOUTH", "EAST", "WEST", "MARKET", "CHURCH", "MILL", "PARK")
    made = receipts([f"{shop} {street}" for street in streets for shop in SHOPS])
    rows = [{"text": text, **record, "tea": tea_of(text)} for text, record in made]
    write_jsonl(folder / "rows.jsonl", rows)
    schema = {
        **SCHEMA,
        "properties": {
            **{name: SCHEMA["properties"][name] for name in NAMES},
            "tea": {"type": ["number", "null"]},
        },
        "required": [*NAMES, "tea"],
    }
    (folder / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    words = sorted({word for text, _ in made for word in text.split()})
    base = write_tiny_bert(folder / "base", words).as_posix()
    text, record = receipts()[0]
    recipe = folder / "recipe.toml"
    named = f'base = "{base}"' if built == "encoder" else ""
    filled = RECIPE.format(base=named, text=json.dumps(text), **record, **BUILT[built])
    recipe.write_text(filled, encoding="utf-8")
    return recipe


@pytest.fixture(scope="module", params=[*BUILT])
def built(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The whole build of each kind, once for this file."""
    folder = tmp_path_factory.mktemp(request.param)
    work = build.open_work(write_project(folder, request.param), folder, folder / "build")
    assert isinstance(work, ReaderWork)
    assert build.build(work, lambda *_: None) == list(work.steps)
    return work


def test_one_file_reads_with_the_card_that_was_proven(built: Work) -> None:
    assert built.model.name == "made-up.onnx"
    info = read_onnx(built.model)
    assert info.kind == built.recipe.kind
    assert info.reader is not None
    assert [(field.path, field.read) for field in info.reader.fields] == [
        ("$.shop", "text"), ("$.date", "date"), ("$.total", "number"), ("$.tea", "number"),
    ]  # fmt: skip
    with edgeslm.load(built.model) as model:
        card, extract = model.card, model.extractor()
        for text, record in receipts():
            wanted = {**{name: record[name] for name in NAMES}, "tea": tea_of(text)}
            assert extract(text).value == wanted
    assert card.scores[0].metric == "field F1"
    assert card.scores[0].value > 0.9
    assert {"$.shop", "$.date", "$.total", "$.tea"} == {*card.scores[0].by_category}
    assert "majority" in card.scores[0].baselines
    assert card.proven_as == ("file",)
    assert (card.provenance.base_sha256 is None) == (info.kind == "linear")


def test_its_reports_say_what_rounding_cost(built: ReaderWork) -> None:
    parity = built.read_report("export")["float_parity"]
    assert parity["top1"] == 1.0
    assert parity["max_kl"] < 1e-3
    quantized = built.read_report("quantize")
    assert quantized["chosen"] in {candidate["scheme"] for candidate in quantized["candidates"]}
    assert built.model.stat().st_size < built.float_onnx.stat().st_size


def test_nothing_runs_again_unless_it_changed(built: Work) -> None:
    assert build.build(built, lambda *_: None) == []
    before = built.model.read_bytes()
    built.model.unlink()
    assert build.build(built, lambda *_: None) == ["pack"]
    assert built.model.read_bytes() == before


def test_a_dry_run_counts_the_tokens_that_an_encoder_reads(built: Work) -> None:
    made = plan(built)
    assert made.rows is not None and made.rows["train"] > 0
    assert (made.tokens is None) == (built.recipe.kind == "linear")
    assert made.tokens is None or made.tokens > made.rows["train"]


def test_how_far_readings_moved() -> None:
    own = [[('"a"', 0.9), ("null", 0.5)]]
    assert compared(own, own) == ([0.0, 0.0], [True, True])
    kl, same = compared(own, [[('"a"', 0.5), ('"b"', 0.5)]])
    assert kl[0] == pytest.approx(0.368, abs=1e-3)
    assert kl[1] == 0
    assert same == [True, False]
    assert compared([[("1", 1.0)]], [[("1", 0.0)]])[0][0] < 25
