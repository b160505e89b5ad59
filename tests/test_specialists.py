"""Shipped specialists: what their cards promise, and that the pulled files keep it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import edgeslm
from converters.data.prepare import prepare
from converters.data.rows import read_rows
from converters.recipe.recipe import read_recipe
from edgeslm.errors import EdgeslmError
from edgeslm.evaluation.evaluate import answer_rows, score_answers, task_of
from edgeslm.evaluation.gold import GoldRow
from edgeslm.evaluation.selftest import self_test
from edgeslm.formats.card import Card
from edgeslm.formats.gguf.adapter import read_adapter
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.formats.onnx.known_inputs import KNOWN_FORMAT, read_known
from edgeslm.models.ask import asker
from edgeslm.models.onnx import OnnxModel
from edgeslm.store.entry import Entry
from edgeslm.store.packages import find_all
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EDGESLM_DATA", ROOT.parent / "shared" / "data"))
SHIPPED = [entry.entry for entry in find_all() if entry.path.is_relative_to(ROOT / "specialists")]
MAX_BYTES = {".gguf": 12 * 1024 * 1024, ".onnx": 24_000_000}
#: gold rows that are read here; the card's score is of all of them
SAMPLE = {"extract": 12, "classify": 100}

by_name = pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)


def file_of(entry: Entry) -> Path:
    return Path(entry.source.removeprefix("file:"))


def card_of(entry: Entry) -> Card:
    path = file_of(entry)
    card = read_onnx(path).card if path.suffix == ".onnx" else read_adapter(path).card
    assert card is not None
    return card


@pytest.fixture
def pulled(entry):
    try:
        path = Store().resolve(entry.name)
    except EdgeslmError:
        pytest.skip(f"{entry.name} is not pulled: edgeslm pull {entry.name}")
    with edgeslm.load(path) as model:
        yield model


@by_name
def test_the_card_says_what_was_proven_and_on_what(entry):
    path, card = file_of(entry), card_of(entry)
    assert path.stat().st_size <= MAX_BYTES[path.suffix]
    if path.suffix == ".gguf":
        base = Registry.load().get(entry.base)
        assembly = read_adapter(path).assembly
        assert assembly.base_sha256 == card.provenance.base_sha256 == base.sha256
    recipe = read_recipe(ROOT / "converters" / "recipes" / f"{entry.name}.toml")
    assert (card.task, card.examples, card.licence) == (
        recipe.task,
        recipe.examples,
        recipe.licence,
    )
    main = card.scores[0]
    assert len(card.examples) >= 5
    assert main.interval[0] > max(main.baselines.values()), "no better than a trivial baseline"


def test_what_is_known_by_heart_is_known_in_any_form_of_its_characters():
    """In full width, or with a soft hyphen and a zero-width space, a text is the same text."""
    read = [read_onnx(file_of(entry)) for entry in SHIPPED if entry.source.endswith(".onnx")]
    tables = [(read_known(i.known, i.width, where=i.card.name), i) for i in read if i.known]
    assert tables
    for known, info in tables:
        assert known.format == KNOWN_FORMAT
        texts = [one.input for one in info.card.examples if known.knows(one.input)]
        assert texts, "no example is of a text that it knows"
        for text in texts:
            full_width = text.translate({c: c + 0xFEE0 for c in range(0x21, 0x7F)})
            for form in (full_width, f"{text[:2]}\u00ad\u200b{text[2:]}", text.upper()):
                assert form != text
                assert known.knows(form)


@pytest.mark.real
@by_name
def test_its_examples_are_answered_as_promised(entry, pulled):
    tests = self_test(pulled)
    assert [test for test in tests if not test.passed] == []


@pytest.mark.real
@pytest.mark.slow
@by_name
def test_held_out_rows_are_read_as_well_as_the_card_says(entry, pulled, tmp_path):
    recipe = read_recipe(ROOT / "converters" / "recipes" / f"{entry.name}.toml")
    missing = [file.path for file in recipe.data.files if not (DATA / file.path).is_file()]
    if missing:
        pytest.skip(f"{DATA / missing[0]} is not there; set EDGESLM_DATA to the data's folder")
    prepare(recipe, DATA, tmp_path, lambda *_: None)
    rows = read_rows(tmp_path / "gold.jsonl")[: SAMPLE[task_of(pulled.card)]]
    if isinstance(pulled, OnnxModel):
        pulled._known = None  # these rows may be remembered by now; what was scored had learned
    gold = [GoldRow(r.input, r.answer, r.id) for r in rows]
    said, _ = answer_rows(gold, asker(pulled, evidence=False))
    scores = score_answers(pulled.card, [r.answer for r in rows], said)
    # so few rows find a broken file, not a point of accuracy
    assert scores.main.value > pulled.card.scores[0].interval[0] - 0.15
