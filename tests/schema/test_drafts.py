"""Schemas of every draft, what the standard calls an annotation, and metaschemas offline."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_specifications import REGISTRY

from edgeslm.errors import EmptySchemaError, OutputInvalidError, SchemaError
from edgeslm.schema.schema import Schema, certify, compile_schema
from tests.helpers.grammars import answers
from tests.helpers.schemas import NAMES, SCHEMAS, VALUES, text_of

URI = {
    4: "http://json-schema.org/draft-04/schema#",
    6: "http://json-schema.org/draft-06/schema#",
    7: "http://json-schema.org/draft-07/schema#",
    2019: "https://json-schema.org/draft/2019-09/schema",
    2020: "https://json-schema.org/draft/2020-12/schema",
}

#: draft, schema, a text that is an answer, a text that is none
MEANINGS = [
    (4, {"type": "integer", "minimum": 3, "exclusiveMinimum": True}, "4", "3"),
    (4, {"type": "integer", "maximum": 3, "exclusiveMaximum": False}, "3", "4"),
    (4, {"$ref": "#x", "definitions": {"a": {"id": "#x", "type": "null"}}}, "null", "1"),
    (6, {"type": "integer", "exclusiveMinimum": 3}, "4", "3"),
    (7, {"type": "array", "items": [{"type": "null"}], "additionalItems": False}, "[]", "[1]"),
    (2019, {"items": [{"type": "null"}], "additionalItems": False}, "[null]", "[null,1]"),
    (2019, {"type": "array", "items": {"$recursiveRef": "#"}}, "[[]]", "[1]"),
    (2020, {"type": "array", "items": {"$dynamicRef": "#"}}, "[[]]", "[1]"),
    (
        2020,
        {
            "$dynamicAnchor": "n",
            "type": "object",
            "properties": {"a": {"$dynamicRef": "#n"}},
            "additionalProperties": False,
        },
        '{"a":{}}',
        '{"a":1}',
    ),
]


@pytest.mark.parametrize(("draft", "schema", "good", "bad"), MEANINGS)
@pytest.mark.parametrize("close", [True, False])
def test_each_draft_means_what_it_says(
    draft: int, schema: dict, good: str, bad: str, close: bool
) -> None:
    schema = {"$schema": URI[draft], **schema}
    assert answers(schema, good, close_objects=close)
    assert not answers(schema, bad, close_objects=close)


@pytest.mark.parametrize(
    ("draft", "keyword", "value"),
    [
        (4, "const", 1),
        (6, "if", True),
        (7, "dependentRequired", {}),
        (7, "prefixItems", []),
        (2019, "prefixItems", []),
        (2020, "additionalItems", False),
        (2020, "foo", 1),
        (2020, "nullable", True),
    ],
)
def test_what_a_draft_does_not_know(draft: int, keyword: str, value: Any) -> None:
    schema = {"$schema": URI[draft], "type": "integer", keyword: value}
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.keyword == keyword
    rows = {row.keyword: row for row in certify(schema, close_objects=False)}
    assert rows[keyword].how == "rewrite"
    assert "an annotation" in rows[keyword].note
    assert answers(schema, "2", close_objects=False)


def test_beside_a_reference_old_drafts_see_nothing() -> None:
    schema = {
        "$schema": URI[7],
        "properties": {"a": {"$ref": "#/definitions/n", "type": "string"}},
        "definitions": {"n": {"type": "integer"}},
    }
    assert answers(schema, '{"a":1}', close_objects=False)
    assert not answers(schema, '{"a":"x"}', close_objects=False)


@pytest.mark.parametrize(
    ("schema", "draft"),
    [
        ({"type": "array", "items": [{"type": "null"}]}, 7),
        ({"minimum": 1, "exclusiveMinimum": True}, 4),
        ({"$schema": "http://json-schema.org/schema#", "items": [{}]}, 7),
        ({"$schema": "https://json-schema.org/draft-07/schema", "items": [{}]}, 7),
        ({"$schema": "http://json-schema.org/draft-05/hyper-schema#", "type": "null"}, 4),
    ],
)
def test_a_draft_is_named_in_many_ways_or_is_the_first_that_fits(schema: dict, draft: int) -> None:
    assert compile_schema(schema).source["$schema"] == URI[draft]


def test_without_closing_no_type_is_implied_and_objects_are_open() -> None:
    schema = {"minimum": 3, "properties": {"a": {"type": "integer"}}}
    for text in ('"x"', "null", "[1]", '{"a":1,"b":2}', "3"):
        assert answers(schema, text, close_objects=False)
    for text in ("2", '{"a":"x"}'):
        assert not answers(schema, text, close_objects=False)


def test_a_property_that_no_value_fits_is_left_out_without_closing() -> None:
    kind = {"type": "object"}
    schema = {
        **kind,
        "properties": {"a": {"$ref": "#/$defs/no"}, "b": {"$ref": "#/$defs/loop"}},
        "$defs": {
            "no": {"enum": [1], "type": "string"},
            "loop": {"required": ["x"], "properties": {"x": {"$ref": "#/$defs/loop"}}, **kind},
        },
    }
    assert answers(schema, "{}", close_objects=False)
    assert not answers(schema, '{"a":1}', close_objects=False)
    with pytest.raises(EmptySchemaError):
        compile_schema({**schema, "required": ["b"]}, close_objects=False)


def test_schemas_that_join_in_circles_compile_within_bounds() -> None:
    names = "abc"
    definitions = {
        f"n{i}": {
            "properties": {
                name: {
                    "anyOf": [{"$ref": f"#/$defs/n{(i * 3 + j) % 7}"}, {"$ref": f"#/$defs/n{k}"}]
                }
                for j, name in enumerate(names)
                for k in [(i + j) % 7]
            },
            "allOf": [
                {"properties": {name: {"$ref": f"#/$defs/n{(i + 2 * j) % 7}"}}}
                for j, name in enumerate(names)
            ],
        }
        for i in range(7)
    }
    schema = {"$ref": "#/$defs/n0", "$defs": definitions}
    rows = certify(schema)
    assert any(row.how == "check" and "too many" in row.note for row in rows)
    assert answers(schema, '{"a":{"b":{}}}')


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=6))
def test_without_closing_the_answers_are_exactly_the_valid_values(
    schema: dict, values: list[Any]
) -> None:
    valid = [jsonschema_rs.is_valid(schema, value) for value in values]
    try:
        compiled = compile_schema(schema, close_objects=False)
    except EmptySchemaError:
        assert not any(valid)
        return
    for value, expected in zip(values, valid, strict=True):
        if expected:
            try:
                compiled.read(text_of(value))
            except OutputInvalidError as error:
                raise AssertionError("a valid value is not an answer") from error
        elif _in_order(value):
            assert not answers(compiled, text_of(value))


def _in_order(value: Any) -> bool:
    return not isinstance(value, dict) or [n for n in NAMES if n in value] == list(value)


def _answers(schema: Schema[Any], value: Any) -> bool:
    return answers(schema, json.dumps(value, separators=(",", ":")))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("uri", [*URI.values(), URI[7].rstrip("#")])
def test_a_property_that_is_a_schema(uri: str, closed: bool) -> None:
    given = {"$schema": uri, "type": "object", "properties": {"s": {"$ref": uri}}}
    schema = compile_schema(given, close_objects=closed)
    assert _answers(schema, {"s": {"minLength": 1}})
    assert _answers(schema, {"s": {"properties": {"a": {"type": "string"}}}})
    assert not _answers(schema, {"s": {"minLength": -1}})
    assert not _answers(schema, {"s": {"properties": {"a": {"type": "strin"}}}})
    assert not _answers(schema, {"s": 1})


@pytest.mark.parametrize("uri", URI.values())
def test_the_metaschema_as_the_whole_schema(uri: str) -> None:
    schema = compile_schema({"$schema": uri, "$ref": uri}, close_objects=False)
    assert _answers(schema, {"maximum": 3})
    assert not _answers(schema, {"maximum": "3"})


def test_a_definition_inside_it_and_a_vocabulary() -> None:
    part = {"$schema": URI[7], "$ref": URI[7] + "/definitions/simpleTypes"}
    assert _answers(compile_schema(part), "array")
    assert not _answers(compile_schema(part), "list")
    part = {"$schema": URI[2020], "$ref": "https://json-schema.org/draft/2020-12/meta/content"}
    assert _answers(compile_schema(part, close_objects=False), {"contentEncoding": "base64"})
    assert not _answers(compile_schema(part, close_objects=False), {"contentEncoding": 1})


def test_a_copy_that_the_author_put_there_is_the_only_one() -> None:
    copy = dict(REGISTRY.contents(URI[7]))
    given = {"$schema": URI[7], "$ref": URI[7], "definitions": {"mine": copy}}
    schema = compile_schema(given)
    assert list(schema.source["definitions"]) == ["mine"]
    assert _answers(schema, {"minLength": 1})
    assert not _answers(schema, {"minLength": -1})


@pytest.mark.parametrize(
    "reference",
    [
        URI[2019],  # of another draft
        "https://json-schema.org/draft/2020-12/meta/nothing",
        "https://json-schema.org/draft/2020-12/hyper-schema",
        "http://json-schema.org/geo",
    ],
)
def test_what_is_no_part_of_the_drafts_metaschema_leads_out(reference: str) -> None:
    with pytest.raises(SchemaError, match="leads out of the schema"):
        compile_schema({"$schema": URI[2020], "properties": {"s": {"$ref": reference}}})


def test_texts_that_only_look_like_references_bring_nothing() -> None:
    given = {"$schema": URI[7], "enum": [{"$ref": URI[7]}, "a"]}
    assert _answers(compile_schema(given), "a")


def test_a_fault_that_another_draft_does_not_have_says_how_the_schema_was_read() -> None:
    both = {"a": {"minimum": 1, "exclusiveMinimum": True}, "b": {"type": "strin"}}
    with pytest.raises(SchemaError, match=r"read as draft 2020-12, since \$schema names none"):
        compile_schema({"properties": both})
    for schema in ({"properties": {"b": both["b"]}}, {"$schema": URI[7], "properties": both}):
        with pytest.raises(SchemaError) as caught:
            compile_schema(schema)
        assert "read as draft" not in str(caught.value)
