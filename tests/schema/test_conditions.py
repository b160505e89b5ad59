"""Conditions between properties: the mask lets through what the schema allows, and no more."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.grammar import Matcher
from edgeslm.errors import OutputInvalidError, SchemaError
from edgeslm.schema.compiler import Compiler
from edgeslm.schema.document import Document
from edgeslm.schema.regex import other_than
from edgeslm.schema.schema import Schema, certify, compile_schema
from tests.helpers.grammars import accepts, answers, matcher

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
NAMES = ("a", "b", "c")
CLOSED = {
    "type": "object",
    "properties": {
        "a": {"type": "string"},
        "b": {"type": "integer", "minimum": -3, "maximum": 3},
        "c": {"type": ["boolean", "null"]},
    },
    "additionalProperties": False,
}
VALUES = {"a": ("", "x", "xy"), "b": (-1, 0, 2), "c": (True, False, None)}


def _objects() -> list[dict[str, Any]]:
    """Every object over a few values of each property, and without it."""
    rows = itertools.product(*((None, *((value,) for value in VALUES[name])) for name in NAMES))
    return [
        {name: held[0] for name, held in zip(NAMES, row, strict=True) if held is not None}
        for row in rows
    ]


OBJECTS = _objects()


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _agree(schema: dict[str, Any], *, close_objects: bool) -> None:
    """Mask and checks accept what the standard does; the mask alone, where it claims so."""
    validator = jsonschema_rs.validator_for(schema)
    try:
        compiled = compile_schema(schema, close_objects=close_objects)
        start = matcher(compiled)
    except SchemaError:
        assert not any(map(validator.is_valid, OBJECTS))
        return
    held = all(row.how in ("mask", "rewrite") for row in compiled.certificate)
    for value in OBJECTS:
        valid = validator.is_valid(value)
        text = _text(value)
        passed = _passes(start.copy(), text)
        if held:
            assert passed == valid, value
        assert (passed and _checked(compiled, text)) == valid, value


def _passes(state: Matcher, text: str) -> bool:
    tokens = list(text.encode())
    if state.valid_prefix(tokens) < len(tokens):
        return False
    state.consume(tokens)
    return state.is_accepting


def _checked(schema: Schema[Any], text: str) -> bool:
    try:
        schema.read(text)
    except OutputInvalidError:
        return False
    return True


@pytest.mark.parametrize(
    "rules",
    [
        {"if": {"properties": {"a": {"const": "x"}}}, "then": {"required": ["b"]}},
        {
            "if": {"properties": {"a": {"const": "x"}}, "required": ["a"]},
            "then": {"required": ["b"]},
            "else": {"properties": {"b": False}},
        },
        {"if": {"required": ["a", "b"]}, "then": {"required": ["c"]}},
        {"if": {"properties": {"b": {"minimum": 1}}}, "else": {"required": ["c"]}},
        {"if": {"properties": {"b": {"enum": [0, 2]}}}, "then": {"properties": {"c": False}}},
        {
            "if": {"properties": {"c": {"type": "null"}}, "required": ["c"]},
            "then": {"properties": {"a": {"minLength": 1}}},
            "else": {"required": ["a"]},
        },
        {"if": {"not": {"required": ["a"]}}, "then": {"required": ["b"]}},
        {
            "if": {"anyOf": [{"required": ["a"]}, {"properties": {"b": {"const": 2}}}]},
            "then": {"required": ["c"]},
        },
        {"if": {"properties": {"a": {"maxLength": 1}}}, "else": {"required": ["c"]}},
        {"if": True, "then": {"required": ["a"]}, "else": False},
        {"if": False, "then": {"required": ["a"]}, "else": {"required": ["b"]}},
        {"dependentRequired": {"a": ["b", "c"], "c": ["a"]}},
        {"dependentSchemas": {"a": {"properties": {"b": {"minimum": 1}}}, "b": False}},
        {"$schema": DRAFT_7, "dependencies": {"a": ["b"], "b": {"required": ["c"]}}},
        {"minProperties": 1},
        {"minProperties": 2},
        {"maxProperties": 1},
        {"minProperties": 1, "maxProperties": 2, "required": ["b"]},
        {"minProperties": 1, "maxProperties": 2},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"oneOf": [{"properties": {"b": {"const": 0}}}, {"properties": {"c": {"const": True}}}]},
        {"not": {"required": ["a", "b"]}},
        {"not": {"properties": {"a": {"enum": ["x", ""]}, "c": {"const": False}}}},
        {
            "required": ["a"],
            "allOf": [
                {
                    "if": {"properties": {"a": {"const": text}}},
                    "then": {"required": [name], "properties": {"b": {"minimum": low}}},
                }
                for text, name, low in (("x", "b", 0), ("", "c", 1), ("xy", "b", 2))
            ],
        },
    ],
)
@pytest.mark.parametrize("close_objects", [True, False])
def test_the_mask_alone_holds_it(rules: dict[str, Any], close_objects: bool) -> None:
    schema = {**CLOSED, **rules}
    rows = certify(schema, close_objects=close_objects)
    assert {row.how for row in rows} == {"mask", "rewrite"}, rows
    _agree(schema, close_objects=close_objects)


def _leaf_rules() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from([
        {"const": "x"}, {"const": 0}, {"enum": ["", "xy", True]}, {"type": "string"},
        {"type": ["integer", "null"]}, {"minimum": 1}, {"exclusiveMaximum": 0}, {"maxLength": 1},
        {"minLength": 1}, {"not": {"const": None}}, {"const": 0, "maxLength": 1}, {},
        {"pattern": "^x"}, {"type": "integer"},
    ])  # fmt: skip


def _parts(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
    return st.fixed_dictionaries({}, optional={
        "properties": st.dictionaries(st.sampled_from(NAMES), _leaf_rules(), max_size=2),
        "required": names,
        "if": inner, "then": inner, "else": inner, "not": inner,
        "dependentRequired": st.dictionaries(st.sampled_from(NAMES), names, max_size=2),
        "dependentSchemas": st.dictionaries(st.sampled_from(NAMES), inner, max_size=1),
        "minProperties": st.integers(0, 3), "maxProperties": st.integers(0, 3),
        "oneOf": st.lists(inner, min_size=1, max_size=3),
        "anyOf": st.lists(inner, min_size=1, max_size=2),
    })  # fmt: skip


RULES = st.recursive(
    st.fixed_dictionaries({}, optional={
        "properties": st.dictionaries(st.sampled_from(NAMES), _leaf_rules(), max_size=2),
        "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    }),
    _parts,
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(RULES)
def test_mask_and_checks_agree_with_the_standard(rules: dict[str, Any]) -> None:
    schema = {"allOf": [rules], **CLOSED, "required": []}
    _agree(schema, close_objects=False)


@settings(max_examples=40, deadline=None)
@given(RULES)
def test_a_closed_reading_loses_nothing_by_a_rewrite(rules: dict[str, Any]) -> None:
    schema = {"allOf": [rules], **CLOSED, "required": []}
    try:
        compiler = Compiler(Document(schema), close_objects=True, rewrite=False)
        before: Schema[Any] = Schema(schema, compiler.run(), (), asserted=schema)
        checked = matcher(before)
    except SchemaError:
        return
    if compiler.certificate.refused is not None:
        return
    compiled = compile_schema(schema)
    start = matcher(compiled)
    for value in OBJECTS:
        text = _text(value)
        if _passes(checked.copy(), text) and _checked(before, text):
            assert _passes(start.copy(), text), value


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(alphabet="ab]^é", max_size=4), min_size=1, max_size=4),
    st.lists(st.text(alphabet='ab]^é"\\\n', max_size=5), max_size=8),
)
def test_any_text_but_these(forbidden: list[str], texts: list[str]) -> None:
    pattern = other_than(forbidden)
    validator = jsonschema_rs.validator_for({"pattern": pattern})
    schema = compile_schema({"type": "string", "not": {"enum": forbidden}})
    start = matcher(schema)
    for text in [*texts, *forbidden]:
        assert validator.is_valid(text) == (text not in forbidden)
        assert _passes(start.copy(), _text(text)) == (text not in forbidden)


def test_a_tag_with_many_conditions_is_held() -> None:
    kinds = [f"k{i}" for i in range(20)]
    schema = {
        "properties": {
            "kind": {"enum": kinds},
            **{kind: {"type": "integer"} for kind in kinds},
        },
        "required": ["kind"],
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}}, "then": {"required": [kind]}}
            for kind in kinds
        ],
    }
    compiled = compile_schema(schema)
    assert {row.how for row in compiled.certificate} == {"mask", "rewrite"}
    assert accepts(compiled, '{"kind":"k3","k3":1}')
    assert not accepts(compiled, '{"kind":"k3","k4":1}')


@pytest.mark.parametrize(
    "rules",
    [
        {"dependentRequired": {f"p{i}": [f"p{i + 1}"] for i in range(0, 30, 2)}},
        {"minProperties": 10},
        {"minProperties": 3, "maxProperties": 17},
        {"oneOf": [{"required": [f"p{i}"]} for i in range(20)]},
        {"not": {"required": [f"p{i}" for i in range(40)]}},
        {
            "allOf": [
                {"if": {"properties": {f"p{i}": {"minimum": 3}}}, "then": {"required": ["p39"]}}
                for i in range(30)
            ]
        },
    ],
)
def test_what_multiplies_is_left_to_the_check(rules: dict[str, Any]) -> None:
    names = [f"p{i}" for i in range(40)]
    schema = {"properties": {name: {"type": "integer"} for name in names}, **rules}
    compiled = compile_schema(schema)
    assert "check" in {row.how for row in compiled.certificate}
    assert len(json.dumps(compiled.closed)) < 1_000_000
    matcher(compiled)


def test_a_condition_does_not_add_properties_nor_close_an_open_object() -> None:
    asks = {"if": {"properties": {"b": {"const": 1}}, "required": ["b"]}, "then": {"required": []}}
    assert not accepts({"properties": {"a": {"type": "null"}}, **asks}, '{"b":1}')
    assert accepts({"type": "object", **asks}, '{"z":1}')
    assert accepts({"type": "object", "dependentRequired": {"a": ["b"]}}, '{"z":1}')
    assert not accepts({"type": "object", "dependentRequired": {"a": ["b"]}}, '{"a":1}')


def test_a_condition_that_nothing_can_meet_is_no_error() -> None:
    never = {"properties": {"a": {"const": 5}}}
    schema = {**CLOSED, "dependentSchemas": {"b": never}, "if": never, "then": {"required": ["c"]}}
    _agree(schema, close_objects=True)


def test_what_needs_itself_without_end_only_through_a_count_is_no_error() -> None:
    node = {"properties": {"child": {"$ref": "#/$defs/node", "minProperties": 1}}}
    schema = compile_schema({"$ref": "#/$defs/node", "$defs": {"node": node}})
    assert answers(schema, "{}")
