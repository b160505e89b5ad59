"""Dates, times and numbers are copied from a text that has some; all else is free."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.grammar import lark_matcher
from edgeslm.errors import CardError, InputError
from edgeslm.formats.card import Card, Style
from edgeslm.models.gguf import GgufModel
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.grounding import ground_copied
from edgeslm.testing import ScriptedEngine
from tests.helpers.grammars import tokenizer
from tests.helpers.scripted import extractor_for

TEXT = "ACME Ltd, issued 14 March 2026 10:20, 3 items, TOTAL 12.50, paid RM 5"
DATE = {"type": "string", "format": "date"}
MONEY = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}


def one(schema):
    return {"type": "object", "properties": {"x": schema}, "required": ["x"]}


def accepts(schema, value, text: str = TEXT) -> bool:
    grammar = ground_copied(compile_schema(schema), text, Style())
    assert grammar is not None
    state = lark_matcher(grammar, tokenizer())
    tokens = list(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if state.valid_prefix(tokens) < len(tokens):
        return False
    state.consume(tokens)
    return state.is_accepting


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (DATE, ["2026-03-14"], ["1430-03-14", "2026-03-15"]),
        ({"type": ["string", "null"], "format": "date"}, ["2026-03-14", None], ["2026-03-15"]),
        ({"type": "number"}, [12.5, 3, 5], [12.51, -1, 125]),
        ({"type": "integer", "minimum": 4}, [5, 14], [3, 12]),
        ({"type": ["number", "null"]}, [12.5, None], [99]),
        (MONEY, ["12.50", "5.00"], ["12.51", "99.00"]),
        ({"type": "string", "format": "time"}, ["10:20:00Z"], ["10:21:00Z", "10:20:00+02:00"]),
        (
            {"type": "string", "format": "date-time"},
            ["2026-03-14T10:20:00Z"],
            ["2026-03-15T10:20:00Z", "2026-03-14T10:21:00Z"],
        ),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, [[], [3, 14]], [[4]]),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, [12.5, "free"], [99]),
    ],
)
def test_what_the_text_offers_is_what_stands_there(schema, good, bad):
    assert [value for value in good if not accepts(one(schema), {"x": value})] == []
    assert [value for value in bad if accepts(one(schema), {"x": value})] == []


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (DATE, "TOTAL 12.50", "1999-01-01"),
        ({"type": "number", "maximum": 0}, TEXT, -7),
        ({"type": "string"}, TEXT, "free words"),
        ({"enum": [77, "EUR"]}, TEXT, 77),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, TEXT, "EUR"),
        ({"type": "string", "pattern": "^[0-9]{5}$"}, TEXT, "48155"),
        ({"type": "string", "format": "email"}, TEXT, "a@b.example"),
        ({"type": "object"}, TEXT, {"any": 99}),
    ],
)
def test_all_else_is_free(schema, text, value):
    both = {"type": "object", "properties": {"n": {"type": "integer"}, "x": schema},
            "required": ["n", "x"]}  # fmt: skip
    assert accepts(both, {"n": 14 if "14" in text else 12, "x": value}, text.replace("12.50", "12"))
    assert ground_copied(compile_schema(one(schema)), text, Style()) is None


def test_definitions_that_refer_to_themselves_are_copied_too():
    node = {"type": "object", "properties": {
        "n": {"type": "integer"}, "name": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    }, "required": ["n", "name", "next"]}  # fmt: skip
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    inner = {"n": 14, "name": "free", "next": None}
    assert accepts(schema, {"n": 3, "name": "x", "next": inner})
    assert not accepts(schema, {"n": 3, "name": "x", "next": {**inner, "n": 15}})


FIELDS = {
    "type": "object",
    "properties": {
        "d": {"type": ["string", "null"], "format": "date"},
        "n": {"type": ["number", "null"]},
        "m": MONEY,
        "t": {"type": "string", "maxLength": 5},
        "l": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    },
    "required": ["d", "n", "m", "t", "l"],
}


@settings(max_examples=40)
@given(words=st.text("ab 0123456789.,-/\u00a0", max_size=20), seed=st.integers(0, 2**32))
def test_whatever_is_let_through_is_valid(words, seed):
    grammar = ground_copied(compile_schema(FIELDS), f"{words} 7 x", Style())
    state, rng, answer = lark_matcher(grammar, tokenizer()), random.Random(seed), b""
    while not state.is_stopped:
        token = rng.choice([int(i) for i in state.mask().nonzero()[0] if i < 128])
        state.consume([token])
        answer += bytes([token])
    compile_schema(FIELDS).read(answer.decode())


BENT = '{"who":"Somebody","day":"1430-03-14","n":99}'
SHOP = {
    "type": "object",
    "properties": {"who": {"type": "string"}, "day": DATE, "n": {"type": "integer"}},
    "required": ["who", "day", "n"],
}


def test_a_model_without_a_card_copies_by_default_and_says_what_it_could_not():
    read, _ = extractor_for(BENT, SHOP)
    answer = read("on 14 March 2026")
    assert answer.value["day"] == "2026-03-14"
    assert answer.value["n"] in (14, 2026)
    assert answer.value["who"] == "Somebody"
    said = {path: field.grounded for path, field in answer.fields.items()}
    assert said == {"$.who": None, "$.day": True, "$.n": True}
    none = read("nothing to read")
    assert none.json == BENT
    assert {path: f.grounded for path, f in none.fields.items()} == {
        "$.day": False, "$.n": False, "$.who": None
    }  # fmt: skip
    assert none.fields["$.day"].to_dict()["grounded"] is False
    assert read("on 14 March 2026", grounded=False).json == BENT
    assert next(read.map(["on 14 March 2026"])).json == answer.json


@pytest.mark.parametrize(("said", "day"), [(None, "1430-03-14"), ("auto", "2026-03-14")])
def test_a_card_keeps_what_it_was_proven_with(said, day):
    task = {"kind": "extract", "json_schema": SHOP, **({} if said is None else {"grounded": said})}
    card = Card.from_dict({"name": "shop", "licence": "MIT", "task": task}, where="here")
    read = GgufModel(ScriptedEngine(BENT), card).extractor()
    assert read("on 14 March 2026").value["day"] == day


def test_a_card_can_say_no_other_word():
    task = {"kind": "extract", "json_schema": SHOP, "grounded": "always"}
    with pytest.raises(CardError):
        Card.from_dict({"name": "shop", "licence": "MIT", "task": task}, where="here")


AT = one({"type": "string", "format": "time"})
WHEN = one({"type": "string", "format": "date-time"})


@pytest.mark.parametrize(
    ("schema", "script", "text", "value", "grounded", "reading"),
    [
        (AT, "10:30:00-11:00", "Starts 10:30", "10:30:00Z", False, 0.5),
        (AT, "22:30:00-23:00", "The meeting starts at 10:30 PM.", "22:30:00Z", False, 0.5),
        (AT, "10:30:00Z", "Starts 10:30 UTC", "10:30:00Z", True, 1),
        (AT, "10:30:00-11:00", "open 10:30-11:00", "10:30:00Z", False, 0.5),
        (AT, "10:30:00Z", "Starts 10:30 (UTC)", "10:30:00Z", False, 0.5),
        (AT, "10:30:00+02:00", "Starts 10:30+0200", "10:30:00+02:00", True, 1),
        (AT, "10:30:00-05:00", "Starts 10:30 GMT-5", "10:30:00-05:00", True, 1),
        (AT, "10:30:00Z", "at 10:30:00.250-05:30", "10:30:00-05:30", True, 1),
        (AT, "10:30:00+01:00", "at 10:30 +1 555 1234", "10:30:00Z", False, 0.5),
        (AT, "10:30:00Z", "no time", "10:30:00Z", False, 0.1),
        (WHEN, "2023-12-12T12:00:00Z", "Signed on 12 December 2023 in Rome",
         "2023-12-12T12:00:00Z", False, 0.1),
        (WHEN, "2023-12-12T10:30:00-01:00", "12 December 2023, 10:30",
         "2023-12-12T10:30:00Z", False, 0.5),
        (WHEN, "2023-12-12T10:30:00-01:00", "12 December 2023, 10:30 UTC+1",
         "2023-12-12T10:30:00+01:00", True, 1),
        (WHEN, "2023-12-12T10:30:00-01:00", "2023-12-12T10:30:00-01:00",
         "2023-12-12T10:30:00-01:00", True, 1),
    ],
)  # fmt: skip
def test_a_time_is_grounded_with_its_offset_and_none_is_made_up(
    schema, script, text, value, grounded, reading
):
    read, _ = extractor_for(json.dumps({"x": script}, separators=(",", ":")), schema)
    answer = read(text)
    field = answer.fields["$.x"]
    assert answer.value == {"x": value}
    assert (field.grounded, field.reading) == (grounded, reading)
    assert field.confidence <= reading


@pytest.mark.parametrize(
    ("schema", "text", "value", "confidence"),
    [
        (AT, "Starts 10:30", None, 0.5),
        (AT, "Starts 10:30 UTC", "10:30:00Z", 1),
        (AT, "Starts late", None, 1),
        (WHEN, "12 December 2023, 10:30", None, 0.5),
        (WHEN, "Signed on 12 December 2023 in Rome", None, 1),  # no time of day at all
        (WHEN, "12 December 2023, 10:30 UTC+1", "2023-12-12T10:30:00+01:00", 1),
    ],
)
def test_a_time_whose_offset_the_text_lacks_is_no_grounded_value(schema, text, value, confidence):
    kind = {"type": ["string", "null"], "format": schema["properties"]["x"]["format"]}
    script = json.dumps({"x": value or "10:30:00Z"}, separators=(",", ":"))
    for grounded in (True, ["x"]):
        answer = extractor_for(script, one(kind))[0](text, grounded=grounded)
        assert answer.value == {"x": value}
        assert answer.fields["$.x"].confidence == pytest.approx(confidence, abs=0.01)
    if value is None:
        with pytest.raises(InputError):
            extractor_for(script, schema)[0](text, grounded=True)
