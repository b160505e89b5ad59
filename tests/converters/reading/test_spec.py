"""The fields of a recipe's reader: how each is read, and which places no reader can answer."""

from __future__ import annotations

from typing import Any

import pytest

from converters.errors import RecipeError
from converters.reading.spec import reader_spec
from converters.recipe.recipe import Recipe
from edgeslm.formats.card import ExtractTask
from edgeslm.formats.onnx.reader_spec import FieldSpec, ReaderSpec
from tests.helpers.recipes import BILL_SCHEMA, classify, extract

TEXT = {"type": "string"}
ADVICE = r"use a language model for it \(kind = 'causal'\)"


def recipe(properties: dict[str, Any], **more: Any) -> Recipe:
    """A recipe over these properties; ``more`` is put beside them."""
    schema = {"type": "object", "properties": properties, "required": [*properties], **more}
    task = ExtractTask.model_construct(kind="extract", json_schema=schema, grounded=True)
    return extract("rows.jsonl").model_copy(update={"task": task})


def fields(properties: dict[str, Any], **more: Any) -> tuple[FieldSpec, ...]:
    return reader_spec(recipe(properties, **more)).fields


def test_a_recipe_s_fields_are_read_by_their_sources_and_formats() -> None:
    own = reader_spec(extract("rows.jsonl"))
    assert [*BILL_SCHEMA["properties"]] == [field.names[0] for field in own.fields]
    assert own.fields == (
        FieldSpec("$.shop", "text"),
        FieldSpec("$.date", "date"),
        FieldSpec("$.total", "number", places=2),
    )
    assert ReaderSpec.from_json(own.to_json(), where="here") == own


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (TEXT, FieldSpec("$.a", "text", nullable=False)),
        ({"type": "number"}, FieldSpec("$.a", "number", nullable=False)),
        ({"type": ["integer", "null"]}, FieldSpec("$.a", "number")),
        ({"type": "string", "format": "time"}, FieldSpec("$.a", "time", nullable=False)),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
         FieldSpec("$.a", "date")),
        ({"type": "boolean"},
         FieldSpec("$.a", "listed", values=("false", "true"), nullable=False)),
        ({"enum": ["x", None]}, FieldSpec("$.a", "listed", values=('"x"', "null"))),
        ({"const": "x"}, FieldSpec("$.a", "listed", values=('"x"',), nullable=False)),
        ({"type": ["boolean", "null"]},
         FieldSpec("$.a", "listed", values=("false", "true", "null"))),
        ({"$ref": "#/$defs/Day"}, FieldSpec("$.a", "date", nullable=False)),
        ({"anyOf": [{"$ref": "#/$defs/Day"}, {"type": "null"}]}, FieldSpec("$.a", "date")),
    ],
)  # fmt: skip
def test_a_type_says_how_a_field_is_read(schema: Any, wanted: FieldSpec) -> None:
    definitions = {"Day": {"type": "string", "format": "date"}}
    assert fields({"a": schema}, **{"$defs": definitions}) == (wanted,)


def test_objects_are_read_leaf_by_leaf() -> None:
    inner = {"type": "object", "properties": {"na me": TEXT, "day": {"format": "date", **TEXT}}}
    assert [field.path for field in fields({"seller": inner, "last": TEXT})] == [
        "$.seller['na me']", "$.seller.day", "$.last",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": TEXT}, r"\$\.a\.b: a reader cannot answer the type 'array'"),
        ({"type": ["object", "null"], "properties": {"c": TEXT}},
         r"\$\.a\.b: a reader makes no object that may be null"),
        ({"anyOf": [TEXT, {"type": "number"}]}, r"\$\.a\.b: a reader takes one type or null"),
        ({"oneOf": [TEXT, {"type": "number"}]}, r"\$\.a\.b: a reader takes one type or null"),
        ({"type": ["string", "number"]}, r"\$\.a\.b: a reader takes one type or null"),
        ({}, r"\$\.a\.b: a reader cannot answer the type None"),
        ({"type": "object"}, r"\$\.a\.b: a reader needs an object's properties"),
        ({"type": "null"}, r"\$\.a\.b: a reader cannot answer the type 'null'"),
        (True, r"\$\.a\.b: a reader needs a type"),
        ({"enum": [["x"]]}, r"\$\.a\.b: a reader lists texts, numbers, true, false and null"),
        ({"$ref": "#/$defs/A"}, r"\$\.a\.b: its references lead to each other"),
    ],
)  # fmt: skip
def test_a_place_that_no_reader_answers_is_named_with_what_does(schema: Any, words: str) -> None:
    more = {"$defs": {"A": {"$ref": "#/$defs/A"}}}
    with pytest.raises(RecipeError, match=f"{words}.*{ADVICE}"):
        fields({"a": {"type": "object", "properties": {"b": schema}}}, **more)


def test_a_reference_that_leads_nowhere_is_named() -> None:
    with pytest.raises(RecipeError, match=r"\$\.a: '#/\$defs/No' leads to no definition"):
        fields({"a": {"$ref": "#/$defs/No"}})


def test_an_object_that_leads_to_itself_is_refused() -> None:
    again = {"type": "object", "properties": {"next": {"$ref": "#/$defs/A"}, "x": TEXT}}
    with pytest.raises(RecipeError, match="references lead to each other"):
        fields({"a": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": again}})


def test_other_tasks_have_no_reader() -> None:
    with pytest.raises(RecipeError, match="a reader takes an extract task, not classify"):
        reader_spec(classify("rows.jsonl", labels=["a", "b"]))
