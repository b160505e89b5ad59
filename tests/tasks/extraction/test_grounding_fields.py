"""Grounded fields: those that are named take their values from the text, all others are free."""

from __future__ import annotations

import json

import pytest

from edgeslm.decoding.grammar import lark_matcher
from edgeslm.errors import CardError, SchemaError
from edgeslm.formats.card import Card, Style
from edgeslm.models.gguf import GgufModel
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.grounding import ground, grounded_fields
from edgeslm.testing import ScriptedEngine
from tests.helpers.grammars import tokenizer
from tests.helpers.grounding import INVENTED, TEXT, Shop
from tests.helpers.scripted import extractor_for

RECORD = {
    "type": "object",
    "properties": {
        "company": {"type": ["string", "null"], "maxLength": 20},
        "kind": {"type": "string", "pattern": "^[a-z]+$"},
        "tax": {"anyOf": [{"$ref": "#/$defs/rate"}, {"type": "null"}]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/rate"}},
    },
    "required": ["company", "kind", "tax", "lines"],
    "$defs": {"rate": {"type": "object", "properties": {"rate": {"type": "integer"}}}},
}


def record_accepts(fields: set[str], company: str, kind: str, tax: int, line: int) -> bool:
    answer = {"company": company, "kind": kind, "tax": {"rate": tax}, "lines": [{"rate": line}]}
    compiled = compile_schema(RECORD)
    grammar = ground(compiled, TEXT, Style(), grounded_fields(compiled, fields))
    state = lark_matcher(grammar, tokenizer())
    tokens = list(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode())
    return state.valid_prefix(tokens) == len(tokens)


@pytest.mark.parametrize(
    ("fields", "free"),
    [
        ({"company"}, {"kind", "tax", "line"}),
        ({"company", "tax"}, {"kind", "line"}),
        ({"lines"}, {"company", "kind", "tax"}),
        ({"company", "kind", "tax", "lines"}, set()),
    ],
)
def test_named_fields_alone_are_grounded(fields, free):
    inside = {"company": "Café", "kind": "ery", "tax": 14, "line": 7}
    outside = {"company": "Cafeteria", "kind": "invented", "tax": 15, "line": 8}
    assert record_accepts(fields, **inside)
    for name, value in outside.items():
        assert record_accepts(fields, **{**inside, name: value}) == (name in free), name


@pytest.mark.parametrize("value", ["CAFE", "a1", "", "é"])
def test_free_fields_keep_the_rules_of_the_schema(value):
    assert not record_accepts({"company"}, "Café", value, 14, 7)


@pytest.mark.parametrize("separator", [",", ", "])
def test_free_fields_keep_the_style(separator):
    style = Style(item_separator=separator)
    compiled = compile_schema(RECORD)
    grammar = ground(compiled, TEXT, style, frozenset({"company"}))
    state = lark_matcher(grammar, tokenizer())
    answer = separator.join(
        ['{"company":null', '"kind":"x"', '"tax":null', '"lines":[{"rate":1}', "{}]}"]
    )
    assert state.valid_prefix(list(answer.encode())) == len(answer)


@pytest.mark.parametrize("optional", [True, False])
def test_fields_are_found_behind_references_and_choices(optional):
    node = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        },
        "required": ["name", "next"],
    }
    root = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]} if optional else {
        "$ref": "#/$defs/node"
    }  # fmt: skip
    compiled = compile_schema({**root, "$defs": {"node": node}})
    names = grounded_fields(compiled, {"name"})

    def fits(answer: str) -> bool:
        state = lark_matcher(ground(compiled, TEXT, Style(), names), tokenizer())
        return state.valid_prefix(list(answer.encode())) == len(answer.encode())

    assert fits('{"name":"RM","next":{"name":"invented","next":null}}')
    assert not fits('{"name":"invented","next":null}')
    assert fits("null") is optional


@pytest.mark.parametrize("names", [{"compny"}, "compny", ["company", "rate"]])
def test_a_field_of_no_such_name_is_refused(names):
    read, engine = extractor_for("{}", RECORD)
    with pytest.raises(SchemaError, match=r"no field '(compny|rate)'.*company, kind, tax, lines"):
        read("x", grounded=names)
    with pytest.raises(SchemaError, match="it has none"):
        extractor_for("7", {"type": "integer"})[0]("7", grounded={"x"})
    assert engine.evaluated == []


def test_an_extractor_grounds_the_named_fields():
    text = "Harbour Bakery\nTotal 1,284.50"
    read, _ = extractor_for(INVENTED.replace("99.95", "1284.50"), Shop)
    answer = read(text, grounded={"name", "address"})
    assert answer.value.name == "Harbour Bakery"
    assert answer.value.address in (None, *text.split(), "") or answer.value.address in text
    assert read(text, grounded={"total"}).value.address == "1 Main Street"
    assert read(text, grounded=set()).json == read(text, grounded=False).json


def test_the_card_names_the_fields():
    schema = compile_schema(Shop).source
    task = {"kind": "extract", "json_schema": schema, "grounded": ["total"]}
    card = Card.from_dict({"name": "shop", "licence": "MIT", "task": task}, where="here")
    assert Card.from_json(card.to_json(), where="here") == card
    script = INVENTED.replace("Harbour Bakery", "Bakery")
    answer = GgufModel(ScriptedEngine(script), card).extractor()("Bakery 12.50").value
    assert answer["address"] == "1 Main Street"
    assert answer["total"] != 99.95
    other = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    free = GgufModel(ScriptedEngine('{"x":9}'), card).extractor(other, grounded=False)
    assert free("none").value == {"x": 9}
    task["grounded"] = ["sum"]
    with pytest.raises(CardError, match=r"task.*grounded names no property: 'sum'"):
        Card.from_dict({"name": "shop", "licence": "MIT", "task": task}, where="here")
