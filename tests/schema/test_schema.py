"""The compiler: what it refuses and where, what it certifies, and what it closes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeslm.errors import OutputInvalidError, SchemaError
from edgeslm.schema.schema import certify, compile_schema
from tests.helpers.grammars import accepts

DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def _deep(levels: int) -> dict:
    schema: dict = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def _circular() -> dict:
    schema: dict = {}
    schema["properties"] = {"a": schema}
    return schema


#: schema, path, keyword, a part of the message
REFUSED = [
    (False, "", None, "false"),
    ([], "", None, "list"),
    (_deep(200), None, None, "levels deep"),
    (_circular(), None, None, "levels deep"),
    ({"description": "x" * 1_000_001}, "", None, "at most 1,000,000 bytes"),
    ({"minimum": float("nan")}, "/minimum", None, "nan"),
    ({"minimum": 10**400}, "/minimum", None, "bits"),
    ({"$id": "http://[", "type": "null"}, "", None, "Invalid URI"),
    ({"$id": "http://[", "$ref": "a"}, "", "$ref", "not a URI"),
    ({"patternProperties": {"(": {}}}, "", "patternProperties", "regex"),
    ({"exclusiveMinimum": 1e-30}, "", "exclusiveMinimum", "nearer to zero"),
    ({"default": {1, 2}}, "/default", None, "set"),
    ({"properties": {1: {}}}, "/properties", None, "must be text"),
    ({"title": "\ud800"}, "/title", None, "surrogate"),
    ({"$schema": "http://json-schema.org/draft-03/schema#"}, "", "$schema", "2020-12, 2019-09"),
    ({"$schema": "https://example.org/own"}, "", "$schema", "must name draft"),
    ({"type": "float"}, "", "type", "float"),
    ({"properties": {"a": {"minLength": -1}}}, "/properties/a", "minLength", "-1"),
    ({"$schema": DRAFT_2020, "items": [{}]}, "", "items", "prefixItems"),
    ({"pattern": "("}, "", "pattern", "regex"),
    ({"$ref": "other.json"}, "", "$ref", "out of the schema"),
    ({"$ref": "https://example.org/a"}, "", "$ref", "out of the schema"),
    ({"$ref": "#/$defs/a"}, "", "$ref", "leads to no schema"),
    ({"$ref": "#a"}, "", "$ref", "leads to no schema"),
    ({"$ref": "#"}, "", "$ref", "back to itself"),
    ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, None, "$ref", "back to itself"),
    (
        {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        "",
        "$ref",
        "without end",
    ),
    ({"items": {"type": "string", "foo": 1}}, "/items", "foo", "unknown keyword"),
    ({"not": {"items": {"foo": 1}}}, "/not/items", "foo", "unknown keyword"),
    ({"type": "string", "nullable": True}, "", "nullable", "null"),
    ({"dependencies": {}}, "", "dependencies", "not a keyword"),
    ({"$schema": DRAFT_7, "prefixItems": []}, "", "prefixItems", "not a keyword"),
    (
        {"$schema": DRAFT_7, "$ref": "#/definitions/a", "minimum": 1, "definitions": {"a": {}}},
        "",
        "minimum",
        "beside $ref",
    ),
    ({"enum": []}, "", "enum", "no value"),
    ({"enum": [1], "const": 2}, "", "enum", "no value"),
    ({"enum": ["a"], "minLength": 2}, "", "enum", "none of the listed"),
    ({"const": 2**60}, "", "const", "2^53"),
    ({"type": "string", "allOf": [{"type": "null"}]}, "/allOf/0", "type", "exclude"),
    ({"minLength": 3, "maxLength": 2}, "", "minLength", "above"),
    ({"minLength": 100_000}, "", "minLength", "longer"),
    ({"pattern": "^a$", "type": "string", "minLength": 2}, "", "pattern", "nothing satisfies"),
    ({"format": "uuid", "type": "string", "maxLength": 2}, "", "format", "nothing satisfies"),
    ({"minimum": 3, "maximum": 2}, "", "minimum", "nothing"),
    ({"exclusiveMinimum": 2, "maximum": 2}, "", "exclusiveMinimum", "nothing"),
    ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "", "minimum", "no integer"),
    ({"minimum": 1e20}, "", "minimum", "2^53"),
    ({"minItems": 3, "maxItems": 2}, "", "minItems", "above"),
    ({"items": False, "minItems": 1}, "/items", None, "no value"),
    ({"minItems": 5000}, "", "minItems", "4096"),
    ({"properties": {"a": False}, "required": ["a"]}, "/properties/a", None, "no value"),
    ({"properties": {"a": {"enum": []}}}, "/properties/a", "enum", "no value"),
    ({"minProperties": 2, "properties": {"a": {}}}, "", "minProperties", "cannot be 2"),
    ({"maxProperties": 1, "required": ["a", "b"]}, "", "maxProperties", "2 properties"),
]


@pytest.mark.parametrize(("schema", "path", "keyword", "message"), REFUSED)
def test_refused_before_inference(schema, path, keyword, message) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert message in str(caught.value)
    assert caught.value.keyword == keyword
    if path is not None:
        assert caught.value.path == path


def test_certify_lists_what_compile_refuses() -> None:
    rows = certify({"properties": {"a": {"foo": 1}, "b": {"type": "string", "bar": 2}}})
    refused = [(row.path, row.keyword) for row in rows if row.how == "refused"]
    assert refused == [("/properties/a", "foo"), ("/properties/b", "bar")]


def test_certify_lists_a_refusal_of_the_whole() -> None:
    rows = certify({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})
    assert [row.keyword for row in rows if row.how == "refused"] == ["$ref"]


@pytest.mark.parametrize(
    ("schema", "keyword", "how"),
    [
        ({"type": "string"}, "type", "mask"),
        ({"minLength": 1}, "minLength", "rewrite"),
        ({"format": "uuid", "type": "string"}, "format", "mask"),
        ({"format": "date", "type": "string"}, "format", "mask"),
        ({"format": "time", "type": "string"}, "format", "check"),
        ({"format": "iri", "type": "string"}, "format", "check"),
        ({"format": "money", "type": "string"}, "format", "rewrite"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "check"),
        ({"type": "integer", "maximum": 2**63}, "maximum", "check"),
        ({"type": "integer", "not": {"const": 1}}, "not", "rewrite"),
        ({"type": "string", "not": {"pattern": "a"}}, "not", "check"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "oneOf", "rewrite"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf", "check"),
        ({"oneOf": [{"const": 1}, {"const": 1.0}]}, "oneOf", "check"),
        ({"propertyNames": {"pattern": "^a"}}, "propertyNames", "rewrite"),
        ({"propertyNames": {"maxLength": 3}}, "propertyNames", "check"),
        ({"type": "string", "pattern": "^(?!a)"}, "pattern", "check"),
        ({"type": "string", "pattern": r"\bfoo"}, "pattern", "check"),
        ({"patternProperties": {"(?=a)": {}}}, "patternProperties", "check"),
        ({"patternProperties": {"^a": {}, "b$": {}}}, "patternProperties", "check"),
        ({"properties": {"a": {}}}, "additionalProperties", "rewrite"),
    ],
)
def test_how_a_keyword_is_enforced(schema: dict, keyword: str, how: str) -> None:
    rows = {row.keyword: row.how for row in certify(schema) if row.path == ""}
    assert rows[keyword] == how


def test_annotations_are_not_listed() -> None:
    schema = {"type": "null", "title": "t", "description": "d", "examples": [1], "x-mine": {"a": 1}}
    assert [row.keyword for row in certify(schema)] == ["type"]


def test_property_order_is_kept_also_across_allof() -> None:
    schema = compile_schema(
        {"properties": {"z": {}, "a": {}}, "allOf": [{"properties": {"m": {}, "a": {}}}]}
    )
    assert list(schema.closed["properties"]) == ["z", "a", "m"]


def test_closing_leaves_open_what_says_so() -> None:
    given = {"properties": {"a": {"properties": {"b": {}}}}, "additionalProperties": True}
    closed = compile_schema(given).closed
    assert closed["additionalProperties"] == {"$ref": "#/$defs/any"}
    assert closed["properties"]["a"]["additionalProperties"] is False


def test_references_by_pointer_anchor_and_identifier() -> None:
    number = {"type": "string", "minLength": 3}
    for schema in (
        {"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": number}},
        {"$ref": "#here", "$defs": {"a": {"$anchor": "here", **number}}},
        {"$ref": "a.json", "$defs": {"a": {"$id": "a.json", **number}}},
        {
            "$id": "https://example.org/root.json",
            "$ref": "a.json#/$defs/b",
            "$defs": {"a": {"$id": "a.json", "$defs": {"b": number}}},
        },
        {"$schema": DRAFT_7, "$ref": "#here", "definitions": {"a": {"$id": "#here", **number}}},
    ):
        closed = compile_schema(schema).closed
        name = closed["$ref"].rpartition("/")[2]
        assert closed["$defs"][name] == number


def test_a_long_chain_of_references_is_one_step() -> None:
    definitions: dict = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(2000)}
    definitions["d2000"] = {"type": "null"}
    closed = compile_schema({"$ref": "#/$defs/d0", "$defs": definitions}).closed
    assert closed["$defs"] == {"d2000": {"type": "null"}}


def test_recursion_through_joined_schemas_ends() -> None:
    node = {"properties": {"child": {"$ref": "#/$defs/node", "minProperties": 1}}}
    closed = compile_schema({"$ref": "#/$defs/node", "$defs": {"node": node}}).closed
    assert len(closed["$defs"]) == 2


def test_branches_that_multiply_are_left_to_the_check() -> None:
    choice = {"anyOf": [{"minimum": i} for i in range(20)]}
    schema = {"type": "integer", "allOf": [choice, choice, choice]}
    hows = [row.how for row in certify(schema) if row.keyword == "anyOf"]
    assert sorted(hows) == ["check", "check", "mask"]


def test_the_source_is_not_changed() -> None:
    given = {"properties": {"a": {"enum": [1.0]}}, "allOf": [{"required": ["a"]}]}
    before = json.dumps(given)
    compile_schema(given)
    assert json.dumps(given) == before


@pytest.mark.parametrize(
    "text", ["", "{", '{"a":1,"a":2}', '{"a":NaN}', '{"a":"x"}', '{"b":1}', "[" * 100_000]
)
def test_read_refuses_what_is_not_an_answer(text: str) -> None:
    schema = compile_schema({"properties": {"a": {"type": "integer"}}})
    with pytest.raises(OutputInvalidError) as caught:
        schema.read(text)
    assert caught.value.json == text


def test_read_gives_plain_json() -> None:
    value = compile_schema({"properties": {"a": {"type": "number"}}}).read('{"a":1284.50}')
    assert value == {"a": 1284.5}
    assert type(value["a"]) is float


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": ["string", "null"], "not": {"type": "null"}}, '"a"', "null"),
        ({"not": {"type": "number"}}, "null", "1"),
        ({"enum": ["a", "b"], "not": {"const": "a"}}, '"b"', '"a"'),
        ({"enum": [1, 2, 3], "allOf": [{"not": {"enum": [1, 3]}}]}, "2", "3"),
        ({"type": "object", "properties": {"a": {}}, "not": {"required": ["a"]}}, "{}", '{"a":1}'),
    ],
)
def test_the_mask_holds_what_not_forbids(schema: dict, good: str, bad: str) -> None:
    assert accepts(schema, good)
    assert not accepts(schema, bad)


def doubling(keyword: str) -> dict[str, Any]:
    """A schema of a few lines in which 2^30 schemas look at one value."""
    steps = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(30)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, "d30": {"type": "string"}}}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
def test_references_that_double_at_one_place_are_refused(keyword: str) -> None:
    with pytest.raises(SchemaError, match="at most 1,000,000 schemas"):
        compile_schema(doubling(keyword))


def test_patterns_too_large_together_are_refused_before_inference() -> None:
    names = {f"^a.{{{i}}}b": {"type": "integer", "minimum": i} for i in range(40)}
    with pytest.raises(SchemaError, match="less than 1 MB"):
        compile_schema({"type": "object", "patternProperties": names})
