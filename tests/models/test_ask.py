"""asker: a model's own task, whichever it is, and answers as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgeslm
from edgeslm.errors import CardError, InputError, SchemaError
from edgeslm.formats.card import Card
from edgeslm.models.ask import asker
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Labels
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_onnx import HEADS, card, write_tiny_onnx

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def language(answer: str, task: dict[str, Any] | None = None) -> GgufModel:
    whole = {"name": "t", "licence": "mit", "task": task}
    promise = None if task is None else Card.from_dict(whole, where="test")
    return GgufModel(ScriptedEngine(answer, sharpness=40.0), promise)


@pytest.mark.parametrize("kind", ["extract", "generate"])
def test_a_card_with_a_schema_is_asked_for_a_value(kind: str) -> None:
    with language('{"a":7}', {"kind": kind, "json_schema": SCHEMA}) as model:
        answer = asker(model, evidence=False, max_tokens=20, deadline_ms=60_000)("text")
        assert (model.task, answer.plain()) == (kind, {"a": 7})
        assert answer.plain() == answer.to_dict()["value"]


FIELDS: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
OTHER = {**FIELDS, "properties": {"b": {"type": "integer"}, "c": {"type": "integer"}}}
OTHER["required"] = ["b", "c"]


@pytest.mark.parametrize(
    ("schema", "grounded", "value"),
    [
        (SCHEMA, None, {"a": 7}),  # some of the card's fields: what it grounds of them
        (SCHEMA, False, {"a": 5}),
        (OTHER, False, {"b": 5, "c": 5}),
        (OTHER, ["b"], {"b": 7, "c": 5}),
    ],
)
def test_what_is_grounded_is_said_with_a_schema_that_lacks_fields_of_the_card(
    schema: dict[str, Any], grounded: Any, value: dict[str, int]
) -> None:
    task = {"kind": "extract", "json_schema": FIELDS, "grounded": ["a", "b"]}
    wanted = value if isinstance(grounded, list) else dict.fromkeys(value, 5)
    said = "{" + ",".join(f'"{name}":{number}' for name, number in wanted.items()) + "}"
    with language(said, task) as model:
        assert asker(model, schema=schema, grounded=grounded)("it is 7").plain() == value
        with pytest.raises(SchemaError, match="grounded="):
            asker(model, schema=OTHER)


def test_grounded_of_a_call_holds_for_some_of_the_card_s_fields() -> None:
    task = {"kind": "extract", "json_schema": FIELDS, "grounded": ["a", "b"]}
    with language('{"a":5}', task) as model:
        read = model.extractor(SCHEMA)
        assert read("it is 7").value == {"a": 7}
        assert read("it is 7", grounded=False).value == {"a": 5}


def test_a_card_with_labels_is_asked_for_a_label_without_options_of_extraction() -> None:
    with language("b", {"kind": "classify", "labels": ["a", "b"]}) as model:
        assert asker(model, evidence=False, max_tokens=9, truncate="middle")("x").plain() == "b"


def test_an_encoder_is_asked_for_what_its_card_says(tmp_path: Path) -> None:
    with edgeslm.load(write_tiny_onnx(tmp_path / "a.onnx")) as model:
        assert (model.task, asker(model, evidence=False)("refund").plain()) == (
            "classify",
            "refund",
        )
    with edgeslm.load(write_tiny_onnx(tmp_path / "b.onnx", card(task=HEADS))) as model:
        tags = asker(model, deadline_ms=60_000)("wish ui docs")
        assert (model.task, tags.plain()) == ("tag", {"type": "wish", "areas": ["docs", "ui"]})


@pytest.mark.parametrize("text", ["", "\u00ad", "\u200b \ufeff"])
def test_a_text_that_shows_nothing_is_empty_to_every_task(tmp_path: Path, text: str) -> None:
    tasks = [
        {"kind": "extract", "json_schema": SCHEMA},
        {"kind": "generate", "json_schema": SCHEMA},
        {"kind": "classify", "labels": ["a", "b"]},
    ]
    tagger = write_tiny_onnx(tmp_path / "b.onnx", card(task=HEADS))
    for model in (*(language("b", task) for task in tasks), edgeslm.load(tagger)):
        with model, pytest.raises(InputError, match="the input is empty"):
            asker(model)(text)


def test_a_model_without_a_card_needs_a_schema_or_labels() -> None:
    with language('{"a":7}') as model:
        assert asker(model, schema=SCHEMA)("x").plain() == {"a": 7}
        assert asker(model, labels=["{", "}"])("x").plain() == "{"
        with pytest.raises(CardError, match="no card"):
            asker(model)


def test_labels_of_a_head_are_sorted() -> None:
    assert Labels(("b", "a"), {"a": 0.5, "b": 0.6}).plain() == ["a", "b"]
