"""A cut answer is closed validly, wherever it was cut."""

from __future__ import annotations

import json
import re
from datetime import date

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from edgeslm.decoding.closing import closing_tokens
from edgeslm.errors import EngineError, OutputInvalidError
from edgeslm.schema.schema import compile_schema
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES, extractor_for, matcher_for

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


# --- values that the grammar does not hold in full ----------------------------------------------

NUMBERS = st.integers(0, 99).map("{:02}".format)
TIMES = st.builds(
    "{}:{}:{}{}".format,
    NUMBERS,
    NUMBERS,
    st.one_of(st.just("60"), NUMBERS),
    st.sampled_from(["Z", ".5Z", "+01:30", "-23:59", ""]),
)
DAYS = st.one_of(
    st.builds("{}{}-02-29".format, NUMBERS, NUMBERS),
    st.builds("{}{}-{}-{}".format, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
)
VALUES = {
    "date": DAYS,
    "time": TIMES,
    "date-time": st.builds("{}T{}".format, DAYS, TIMES),
    "duration": st.from_regex("P([0-9]{1,9}[YMWD]){0,3}(T([0-9]{1,4}[HMS])*)?", fullmatch=True),
    "email": st.from_regex(r"[a-z.+-]{1,80}(@[a-z-]{1,70}(\.[a-z-]{1,9})?)?", fullmatch=True),
    "hostname": st.from_regex(r"[a-z-]{1,70}(\.[a-z-]{1,9}){0,3}", fullmatch=True),
    "ipv4": st.builds("{}.{}.2{}.{}".format, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    "ipv6": st.from_regex(r"([0-9a-f]{0,4}:){1,8}[0-9a-f]{0,4}", fullmatch=True),
    "uri": st.from_regex(r"[a-z]{1,8}:(//)?[a-z./?#%\[-]{0,20}", fullmatch=True),
    "uuid": st.uuids().map(str),
}


@pytest.mark.parametrize("name", VALUES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_format_is_closed_validly_wherever_it_is_cut(name, data):
    """The answer begins as a value does that may be wrong further on, or anywhere."""
    schema = {"type": "string", "format": name}
    value = data.draw(VALUES[name])
    read, _ = extractor_for(json.dumps(value), schema)
    budget = data.draw(st.integers(1, len(value) + 1))
    try:
        result = read("x", max_tokens=budget, on_invalid="raise")
    except OutputInvalidError as error:  # it was not cut, and only the end can tell of these
        assert ":60" in error.json, "a leap second at another time of the day"
        return
    assert jsonschema_rs.is_valid(schema, result.value, validate_formats=True)
    assert len(result.value) < len(value) + 40


@given(year=st.integers(1, 9999))
@settings(max_examples=50, deadline=None)
def test_the_mask_knows_which_years_have_a_29_february(year):
    try:
        exists = bool(date(year, 2, 29))
    except ValueError:
        exists = False
    for name, text in (("date", '"'), ("date-time", 'T00:00:00Z"')):
        answer = f'"{year:04}-02-29{text}'.encode()
        matcher = MATCHERS[name]
        assert (matcher.valid_prefix(answer) == len(answer)) == exists
        others = f'"{year:04}-02-28{text}', f'"{year:04}-12-29{text}'
        assert all(matcher.valid_prefix(other.encode()) == len(other) for other in others)


MATCHERS = {
    name: matcher_for(ScriptedEngine(), {"type": "string", "format": name})
    for name in ("date", "date-time")
}


class Even(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def of_even_length(cls, code: str) -> str:
        if len(code) % 2:
            raise ValueError("odd")
        return code


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_rule_of_the_class_is_kept_by_giving_up_the_end(cut):
    read, _ = extractor_for('{"code":"abcdefgh"}', Even)
    result = read("x", max_tokens=cut, drafts=False)
    assert re.fullmatch("(ab(cd(ef(gh)?)?)?)?", result.value.code)
    assert not result.complete
    assert result.fields["$.code"].confidence == 0


class Never(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def refuse(cls, code: str) -> str:
        raise ValueError("never")


def test_an_answer_that_no_ending_makes_valid_is_an_error_that_shows_it():
    read, _ = extractor_for('{"code":"abcdefgh"}', Never)
    with pytest.raises(OutputInvalidError) as caught:
        read("x", max_tokens=8)
    assert "ab" in caught.value.json
