"""Whatever the schema: valid values can be written, invalid ones cannot be answers."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.errors import SchemaError
from edgeslm.schema.schema import compile_schema
from tests.helpers.grammars import accepts, answers, matcher
from tests.helpers.schemas import (
    NAMES,
    SCALARS,
    SCHEMAS,
    VALUES,
    arrays,
    combined,
    leaves,
    objects,
    referenced,
    text_of,
)


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=8))
def test_no_invalid_value_is_an_answer(schema: dict, values: list[Any]) -> None:
    try:
        compiled = compile_schema(schema)
        matcher(compiled)
    except SchemaError:
        return
    held = all(row.how in ("mask", "rewrite") for row in compiled.certificate)
    for value in values:
        if (accepts if held else answers)(compiled, text_of(value)):
            assert jsonschema_rs.is_valid(schema, value)


@settings(max_examples=250, deadline=None)
@given(
    st.one_of(leaves(), arrays(leaves()), combined(leaves()), referenced()),
    st.lists(VALUES, max_size=12),
)
def test_every_valid_value_can_be_written(schema: dict, values: list[Any]) -> None:
    valid = [value for value in values if jsonschema_rs.is_valid(schema, value)]
    try:
        compiled = compile_schema(schema)
        matcher(compiled)
    except SchemaError as error:
        # an item that no value fits is the author's mistake, even if the list may be empty
        assert not valid or "tems" in error.path, "a schema that has values was refused"
        return
    for value in valid:
        assert accepts(compiled, text_of(value))
        compiled.read(text_of(value))


@settings(max_examples=200, deadline=None)
@given(objects(leaves()), st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, SCALARS)))
def test_every_valid_object_can_be_written_in_the_order_of_the_schema(
    schema: dict, value: dict[str, Any]
) -> None:
    if not jsonschema_rs.is_valid(schema, value):
        return
    given_names = [*schema["properties"], *schema.get("required", ())]
    if not schema.get("additionalProperties") and not set(value) <= set(given_names):
        return
    dependent = ["a", "b"] if "dependentRequired" in schema else []  # named by the condition
    order = list(dict.fromkeys([*given_names, *dependent, *value]))
    text = text_of({name: value[name] for name in order if name in value})
    try:
        compiled = compile_schema(schema)
    except SchemaError as error:
        # an optional property that no value fits is the author's mistake, and said so
        assert error.path.startswith("/properties") or "additionalProperties" in error.path
        return
    assert accepts(compiled, text)
    compiled.read(text)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, st.data())
def test_following_the_mask_always_stays_valid_json_of_the_schema(
    schema: dict, data: st.DataObject
) -> None:
    try:
        compiled = compile_schema(schema)
        state = matcher(compiled)
    except SchemaError:
        return
    text = bytearray()
    for _ in range(60):
        if state.is_stopped:
            break
        allowed = [int(token) for token in state.mask()[:256].nonzero()[0]]
        assert allowed or state.is_accepting, bytes(text)
        if not allowed:
            break
        token = data.draw(st.sampled_from(allowed))
        state.consume([token])
        text.append(token)
    if state.is_accepting:
        value = json.loads(text.decode())
        validator = jsonschema_rs.validator_for(compiled.closed)
        assert validator.is_valid(value)
