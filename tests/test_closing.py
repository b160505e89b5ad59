"""A cut answer is closed validly, wherever it was cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import PIECES, matcher_for

from edgeslm.closing import closing_tokens
from edgeslm.errors import EngineError
from edgeslm.schema import compile_schema
from edgeslm.testing import ScriptedEngine

ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 2},
        "when": {"type": "string", "format": "date"},
        "at": {"type": ["string", "null"], "format": "date-time"},
        "uid": {"type": "string", "format": "uuid"},
        "kind": {"enum": ["invoice", 'in"quotes', "receipt"]},
        "lines": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "price": {"type": "number", "minimum": 5},
                    "tags": {"type": "array", "items": {"type": "boolean"}},
                },
                "required": ["name", "price"],
            },
        },
        "note": {"type": "string", "pattern": "^a*b{2}$"},
        "more": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["id", "when", "at", "uid", "kind", "lines", "note"],
}
ANSWER = json.dumps(
    {
        "id": 'é\\"x',
        "when": "2026-03-14",
        "at": "2026-03-14T10:20:30Z",
        "uid": "123e4567-e89b-12d3-a456-426614174000",
        "kind": 'in"quotes',
        "lines": [{"name": "a,]}", "price": 12.5, "tags": [True]}, {"name": "", "price": 7}],
        "note": "aaabb",
        "more": {'k"ey': 3},
    },
    ensure_ascii=False,
    separators=(",", ":"),
).encode()
NODE = {
    "$ref": "#/$defs/n",
    "$defs": {
        "n": {
            "type": "object",
            "properties": {
                "v": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
            },
            "required": ["v", "next"],
        }
    },
}


@pytest.mark.parametrize("pieces", [(), PIECES], ids=["bytes", "pieces"])
@pytest.mark.parametrize("cut", range(len(ANSWER) + 1))
def test_every_prefix_of_an_answer_is_closed(cut, pieces):
    engine = ScriptedEngine(pieces=pieces)
    matcher = matcher_for(engine, ORDER)
    prefix = list(ANSWER[:cut])  # the first 256 tokens are the bytes
    if matcher.valid_prefix(prefix) != len(prefix):
        pytest.skip("this vocabulary forces a longer token here")
    matcher.consume(prefix)
    ending = closing_tokens(matcher, engine.vocab, ANSWER[:cut])
    text = (ANSWER[:cut] + engine.detokenize(ending)).decode()
    compile_schema(ORDER).read(text)
    if cut == len(ANSWER):
        assert ending == []


@settings(max_examples=40, deadline=None)
@given(depth=st.integers(0, 12), cut=st.integers(0, 200))
def test_recursive_answers_are_closed_by_the_short_branch(depth, cut):
    value: object = None
    for i in range(depth + 1):
        value = {"v": i, "next": value}
    answer = json.dumps(value, separators=(",", ":")).encode()[:cut]
    engine = ScriptedEngine()
    matcher = matcher_for(engine, NODE)
    matcher.consume(list(answer))
    text = (answer + engine.detokenize(closing_tokens(matcher, engine.vocab, answer))).decode()
    compile_schema(NODE).read(text)
    assert len(text) <= len(answer) + 20 + depth


def test_the_matcher_is_left_as_it_was():
    engine = ScriptedEngine()
    matcher = matcher_for(engine, {"type": "array", "items": {"type": "boolean"}})
    matcher.consume(list(b"[tr"))
    closing_tokens(matcher, engine.vocab, b"[tr")
    matcher.consume(list(b"ue,false]"))
    assert matcher.is_accepting


def test_an_ending_that_is_too_far_is_an_error():
    engine = ScriptedEngine()
    matcher = matcher_for(engine, {"type": "string", "minLength": 6000})
    with pytest.raises(EngineError, match="no ending within"):
        closing_tokens(matcher, engine.vocab, b"")
