"""Numbers: bounds that the mask holds exactly, and digits that a free model may not repeat."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.errors import EmptySchemaError, OutputInvalidError, SchemaError
from edgeslm.schema.parts import MASK_ONLY, for_mask
from edgeslm.schema.schema import certify, compile_schema
from tests.helpers.grammars import accepts, matcher

LARGEST = "9" * 18


def test_a_bound_is_told_from_zero_where_the_step_of_short_numbers_is_wider() -> None:
    schema = {"type": "number", "minimum": 1e-11, "maximum": 1}
    assert accepts(schema, "0.000000001")
    assert not accepts(schema, "0")
    with pytest.raises(SchemaError, match="nearer to zero than 1e-12"):
        compile_schema({"type": "number", "minimum": 9e-13})


def test_the_step_of_short_numbers_is_not_the_bound_near_zero() -> None:
    assert accepts({"type": "number"}, "0.123456789")
    assert not accepts({"type": "number"}, "0.1234567891")
    assert not accepts({"type": "number"}, "0.00000000001")


def test_an_opposite_of_a_bound_near_zero_is_held() -> None:
    schema = {"type": "number", "minimum": 0, "maximum": 1e-8, "not": {"maximum": 1e-10}}
    assert {row.keyword: row.how for row in certify(schema)}["not"] == "rewrite"
    assert accepts(schema, "0.000000001")
    assert not accepts(schema, "0.00000000009")


@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_free_number_has_at_most_18_digits_before_the_point(kind: str, sign: str) -> None:
    assert accepts({"type": kind}, sign + LARGEST)
    for longer in (10**18, 10**18 + 1, 10**19 - 1):
        assert not accepts({"type": kind}, f"{sign}{longer}")


def test_a_number_that_has_many_digits_is_valid_all_the_same() -> None:
    schema = compile_schema({"properties": {"lat": {"type": "number"}, "n": {"type": "integer"}}})
    assert schema.read(f'{{"lat":52.52000659999999,"n":{10**18}}}') == {
        "lat": 52.52000659999999,
        "n": 10**18,
    }


def test_the_mask_adds_its_rules_to_every_leaf_once() -> None:
    closed = compile_schema({"type": "integer", "minimum": 0}).closed
    assert MASK_ONLY in closed
    for schema in (closed, {**closed, "$defs": {}}):
        assert MASK_ONLY not in for_mask(schema)
    twice = compile_schema({"properties": {"a": {"type": "number"}, "b": {"type": "number"}}})
    masked = for_mask(twice.closed)
    assert masked["properties"]["a"] == masked["properties"]["b"]
    assert len(masked["$defs"]) == 2  # one side of zero each


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"multipleOf": 3}, ["0", "-3", LARGEST], ["1", "1.0", "3.0", "1" + "0" * 18]),
        ({"type": "integer", "multipleOf": 0.5}, ["1", "-7"], ["0.5", "1.5"]),
        ({"minimum": 0.1234567890121, "maximum": 0.1234567890129}, ["0.1234567890125"], ["0.1"]),
        ({"exclusiveMinimum": 0.5, "exclusiveMaximum": 0.50000000001}, ["0.500000000005"], ["0.5"]),
        ({"minimum": 5}, ["5", LARGEST], ["4", "1" + "0" * 18]),
        ({"type": "integer", "maximum": 2**60}, [str(2**60), "-" + LARGEST], [str(-(10**18))]),
    ],
)
def test_bounds_of_the_author_and_of_short_numbers_together(
    schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    assert [text for text in good if not accepts(schema, text)] == []
    assert [text for text in bad if accepts(schema, text)] == []


@pytest.mark.parametrize(
    "steps",
    [[10**200 + i for i in range(40)], [0.7, 1.5, 10**250 + 1], [1e-300, 1e300]],
)
def test_steps_whose_common_multiple_is_out_of_reach_are_checked(steps: list[float]) -> None:
    schema = {"type": "number", "allOf": [{"multipleOf": step} for step in steps]}
    hows = {row.how for row in certify(schema) if row.keyword == "multipleOf"}
    assert hows == {"check"}


def test_an_exclusive_bound_of_2_to_the_53_is_left_to_the_check() -> None:
    schema = compile_schema({"type": "integer", "exclusiveMaximum": 2**53})
    assert {row.keyword: row.how for row in schema.certificate}["exclusiveMaximum"] == "check"
    with pytest.raises(OutputInvalidError):
        schema.read(str(2**53))
    with pytest.raises(SchemaError, match=r"2\^53"):
        compile_schema({"type": "integer", "exclusiveMinimum": 2**53})


BOUNDS = st.one_of(
    st.integers(-50, 50),
    st.decimals(-3, 3, places=3).map(float),
    st.sampled_from([0, 1e-12, -1e-12, 3e-10, -2e-9, 2**53 - 1, 1 - 2**53, 0.1, 1 / 3, 1e15 + 0.5]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["integer", "number"]),
    st.fixed_dictionaries({}, optional=dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), BOUNDS
    )),
    st.lists(st.decimals(-4, 4, places=2) | st.integers(-60, 60).map(Decimal), max_size=12),
)  # fmt: skip
def test_the_mask_agrees_with_the_standard_on_every_bound(
    kind: str, bounds: dict[str, float], values: list[Decimal]
) -> None:
    schema = {"type": kind, **bounds}
    values += [Decimal(repr(bound)) + step for bound in bounds.values() for step in (-1, 0, 1)]
    texts = {f"{value:f}" for value in values if not (value.is_zero() and value.is_signed())}
    whole = [text for text in texts if kind == "number" or "." not in text]
    valid = [text for text in whole if jsonschema_rs.is_valid(schema, Decimal(text))]
    try:
        state = matcher(schema, close_objects=False)
    except EmptySchemaError:
        assert valid == []
        return
    for text in whole:
        tokens = list(text.encode())
        fork = state.copy()
        held = fork.valid_prefix(tokens) == len(tokens)
        if held:
            fork.consume(tokens)
        at_a_bound = any(Decimal(text) == Decimal(repr(bound)) for bound in bounds.values())
        if not (at_a_bound and "." in text):  # a bound with decimals has one spelling
            assert (held and fork.is_accepting) == (text in valid), text


@pytest.mark.parametrize("step", [65_538, 123_456_789, 0.123456789])
def test_a_step_that_takes_the_library_seconds_is_checked_at_the_end(step):
    schema = compile_schema({"type": "integer", "multipleOf": step})
    assert "multipleOf" not in str(for_mask(schema.closed)).replace("'multipleOf': 1}", "")
    assert schema.read(str(7 * 123_456_789 * 65_538)) == 7 * 123_456_789 * 65_538
    with pytest.raises(OutputInvalidError):
        schema.read("123456788")
