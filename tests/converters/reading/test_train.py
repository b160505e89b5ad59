"""Readers in training: what they learn, killed runs, their files, and their .onnx."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from converters.data.rows import Row
from converters.errors import BaseModelError, DataError
from converters.onnx.reader import export_reader, round_features
from converters.reading.documents import Documents
from converters.reading.model import ReaderModel, finished_spec, reader_loss
from converters.reading.train import is_right, load_reader, torch_readings, train_reader
from converters.recipe.recipe import Recipe
from converters.training import loop
from converters.training.history import History
from edgeslm.formats.card import Card
from edgeslm.formats.onnx.reader_spec import FieldSpec
from edgeslm.models.onnx import open_onnx
from edgeslm.tasks.reading.record import Reading
from tests.helpers.recipes import extract
from tests.helpers.tiny_bert import write_tiny_bert
from tests.helpers.tiny_reader import SCHEMA, SHOPS, receipts, spec

ROWS = [Row(f"row {n}", text, answer) for n, (text, answer) in enumerate(receipts(SHOPS * 2))]
DEVELOPMENT = ROWS[::3]
WORDS = sorted({word for row in ROWS for word in row.input.split()})
MAX_TOKENS = 16


class KilledError(Exception):
    """Stands for kill -9."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("base"), WORDS)


def recipe(kind: str = "linear", *, encoder: dict[str, Any] | None = None, **train: Any) -> Recipe:
    """Shop, date, total and how it was paid; ``train`` are keys of the train table."""
    fields = extract("rows.jsonl").model_dump(mode="json", by_alias=True)
    answer = {**fields["data"]["answer"], "paid": {"source": "key.paid"}}
    train = {"epochs": 6, "batch_rows": 4, "evaluations": 3, **train}
    if kind == "encoder":
        train = {"learning_rate": 3e-3, **train}
        fields["encoder"] = {"max_tokens": MAX_TOKENS, "dropout": 0.1, **(encoder or {})}
    else:
        del fields["base"]
    example = {"input": ROWS[0].input, "expected": ROWS[0].answer}
    task = {"kind": "extract", "json_schema": SCHEMA}
    fields.update(kind=kind, task=task, train=train, examples=[example])
    fields["data"] = {**fields["data"], "answer": answer}
    fields.pop("lora", None)
    return Recipe.model_validate(fields)


def run(own: Recipe, base: Path | None, out: Path, report: Any = lambda _: None) -> History:
    return train_reader(own, base, ROWS, DEVELOPMENT, out=out, report=report)


def packed(folder: Path, target: Path) -> Path:
    model, tokenizer = load_reader(folder / "model")
    card = {"name": "made-up", "licence": "MIT", "task": {"kind": "extract", "json_schema": SCHEMA}}
    return export_reader(
        model,
        model.spec,
        target,
        card=Card.from_dict(card, where="here"),
        tokenizer=tokenizer,
        max_tokens=MAX_TOKENS,
    )


@pytest.mark.parametrize("kind", ["linear", "encoder"])
def test_a_handful_of_rows_is_learned_exported_and_read_alike(kind, base, tmp_path) -> None:
    history = run(recipe(kind), base if kind == "encoder" else None, tmp_path)
    assert history.best is not None
    if kind == "linear":  # how they were paid stands in no single unit
        assert history.best.tokens >= 0.75
    path = packed(tmp_path, tmp_path / "x.onnx")
    model, tokenizer = load_reader(tmp_path / "model")
    texts = [row.input for row in ROWS]
    reference = torch_readings(model, tokenizer, texts, MAX_TOKENS)
    right = 0
    with open_onnx(path, threads=1, gpu=False) as opened:
        assert opened.kind == kind
        extract_ = opened.extractor()
        for row, readings in zip(ROWS, reference, strict=True):
            answer = extract_(row.input)
            assert [json.dumps(answer.value[r.field.names[0]]) for r in readings] == [
                r.json for r in readings
            ]
            for reading in readings:
                field = answer.fields[reading.field.path]
                assert field.confidence == pytest.approx(reading.confidence, abs=1e-3)
                assert field.span == reading.span
            right += sum(
                answer.value[name] == row.answer[name] for name in ("shop", "date", "total")
            )
    assert right == 3 * len(ROWS)
    assert not list(tmp_path.rglob("*.part"))


def test_rounded_features_read_the_same_in_a_quarter_of_the_size(tmp_path) -> None:
    run(recipe(), None, tmp_path)
    path = packed(tmp_path, tmp_path / "x.onnx")
    small = round_features(path, tmp_path / "small.onnx")
    assert small.stat().st_size < path.stat().st_size * 0.4
    with open_onnx(path, gpu=False) as whole, open_onnx(small, gpu=False) as rounded:
        for row in ROWS:
            a, b = whole.extractor()(row.input), rounded.extractor()(row.input)
            assert a.value == b.value
            for name, field in a.fields.items():
                assert b.fields[name].confidence == pytest.approx(field.confidence, abs=0.05)


@pytest.mark.parametrize("kind", ["linear", "encoder"])
def test_a_killed_run_ends_as_it_would_have(kind, base, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    own, base_ = recipe(kind, epochs=3), base if kind == "encoder" else None
    whole = run(own, base_, tmp_path / "whole")

    def kill(history: History) -> None:
        if history.losses[-1][0] == whole.steps - 4:
            raise KilledError

    with pytest.raises(KilledError):
        run(own, base_, tmp_path / "killed", kill)
    resumed: list[int] = []
    run(own, base_, tmp_path / "killed", lambda history: resumed.append(history.losses[-1][0]))
    assert resumed[0] == whole.steps - 4
    ours, theirs = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("killed", "whole")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    killed, wanted = (
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("killed", "whole")
    )
    assert killed["losses"] == wanted["losses"]
    assert killed["evaluations"] == wanted["evaluations"]


def test_an_encoder_s_embeddings_stay_unless_asked(base, tmp_path) -> None:
    run(recipe("encoder", epochs=1), base, tmp_path)
    name = "embeddings.word_embeddings.weight"
    own = load_file(tmp_path / "model" / "model.safetensors")[f"backbone.{name}"]
    assert torch.equal(own, load_file(base / "model.safetensors")[name])


def test_a_folder_without_a_whole_reader_is_none(tmp_path) -> None:
    run(recipe(epochs=1), None, tmp_path)
    folder = tmp_path / "model"
    for name, content in (
        ("reader.json", b"{}"), ("model.safetensors", b"x"), ("reader.json", None),
    ):  # fmt: skip
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        if content is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(content)
        with pytest.raises(BaseModelError, match="train it again"):
            load_reader(copy)


# --- the loss -----------------------------------------------------------------


def test_the_loss_is_minus_the_log_of_what_is_right() -> None:
    """With all weights 0 each path, each value and each listed value is as likely as another."""
    model = ReaderModel(spec([FieldSpec("$.total", "number", places=2)]))
    documents = Documents(model.spec)([Row("1", "a 5.00\nb 7.00\nc 5.00", {"total": "5.00"})])
    loss = reader_loss(model, documents).item()
    assert loss == pytest.approx(-torch.log(torch.tensor(2 / 4)).item())  # null is the fourth
    listed = ReaderModel(spec([FieldSpec("$.paid", "listed", values=('"a"', '"b"', '"c"'))]))
    documents = Documents(listed.spec)(
        [Row("1", "text", {"paid": "b"}), Row("2", "x", {"paid": 3})]
    )
    assert reader_loss(listed, documents).item() == pytest.approx(1.0986 / 2, abs=1e-3)


def test_the_loss_of_texts_together_is_the_mean_of_each_alone(base) -> None:
    from converters.encoder.model import load_backbone, load_tokenizer

    torch.manual_seed(0)
    for backbone in (None, load_backbone(base, dropout=0.0)):
        model = ReaderModel(spec(), backbone).eval()
        torch.nn.init.normal_(model.bag.weight)
        torch.nn.init.normal_(model.transitions)
        tokenizer = None if backbone is None else load_tokenizer(base)
        rows = [*ROWS[:3], Row("short", "x", {}), Row("none", "§", {"shop": "x"})]
        documents = Documents(model.spec, tokenizer, max_tokens=MAX_TOKENS)(rows)
        with torch.no_grad():
            alone = [float(reader_loss(model, [document])) for document in documents]
            together = float(reader_loss(model, documents))
        assert together == pytest.approx(sum(alone) / len(alone), rel=1e-4)


def test_an_inner_tag_stands_behind_its_own_field_alone() -> None:
    model = ReaderModel(spec([FieldSpec("$.a", "text"), FieldSpec("$.b", "text")]))
    own = finished_spec(model)
    for a in range(5):
        for b in (2, 4):
            assert (own.transitions[a][b] < -9000) == (a not in (b - 1, b))
    assert [score < -9000 for score in own.begin] == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("field", "json_text", "wanted", "right"),
    [
        (FieldSpec("$.a", "text"), '"Oak, Ltd."', "OAK LTD", True),
        (FieldSpec("$.a", "text"), "null", None, True),
        (FieldSpec("$.a", "text"), "null", "Oak", False),
        (FieldSpec("$.a", "code"), '"AB-12"', "ab 12", True),
        (FieldSpec("$.a", "number"), "5", 5.0, True),
        (FieldSpec("$.a", "number"), "5.1", 5.1, True),
        (FieldSpec("$.a", "number"), "null", 0, False),
        (FieldSpec("$.a", "number", places=2), '"5.00"', "5.00", True),
        (FieldSpec("$.a", "date"), '"2024-02-01"', "2024-02-02", False),
        (FieldSpec("$.a", "listed", values=("true",)), "true", True, True),
    ],
)
def test_what_is_right(field, json_text, wanted, right) -> None:
    assert is_right(Reading(field, json_text, 1.0, None), {"a": wanted}) is right


def test_documents_are_laid_out_as_the_runtime_does() -> None:
    own = replace(spec(), words=True)
    [document] = Documents(own)(ROWS[:1])
    assert len(document.layout.pieces) == len(ROWS[0].input.split())
    assert len(document.tokens) == document.layout.units == len(document.features.ids)


@pytest.mark.parametrize(("rows", "held_out", "part"), [([], ROWS, "training"), (ROWS, [], "dev")])
def test_no_rows_to_train_on_or_to_score_is_said(tmp_path, rows, held_out, part) -> None:
    with pytest.raises(DataError, match=f"no {part}.*data.split"):
        train_reader(recipe(), None, rows, held_out, out=tmp_path)
    assert not any(tmp_path.iterdir())
