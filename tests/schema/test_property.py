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

NAMES = ("b", "a", "ab")
TEXTS = st.text(alphabet='abé"\\\n', max_size=4)
WHOLE = st.integers(-6, 6)
TENTHS = st.integers(-60, 60).map(lambda n: n / 10)
SCALARS = st.one_of(st.none(), st.booleans(), WHOLE, TENTHS, TEXTS)


def _some(keywords: dict[str, st.SearchStrategy]) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({}, optional=keywords)


def _objects(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.builds(
        lambda properties, rest: {"type": "object", "properties": properties, **rest},
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        _some({
            "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
            "additionalProperties": st.one_of(st.booleans(), inner),
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(1, 3),
            "dependentRequired": st.just({"a": ["b"]}),
        }),
    )  # fmt: skip


def _arrays(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return _some({
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "items": inner,
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 3),
        "uniqueItems": st.booleans(),
    }).map(lambda rest: {"type": "array", **rest})  # fmt: skip


def _leaves() -> st.SearchStrategy[dict]:
    bounds = {
        "minimum": TENTHS, "maximum": TENTHS, "exclusiveMinimum": WHOLE,
        "exclusiveMaximum": WHOLE, "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.1]),
    }  # fmt: skip
    texts = {
        "minLength": st.integers(0, 2), "maxLength": st.integers(1, 4),
        "pattern": st.sampled_from(["a", "^a", "b$", "^[ab]*$", "é|\\\\"]),
    }  # fmt: skip
    return st.one_of(
        st.just({"type": "null"}),
        st.just({"type": ["boolean", "null"]}),
        st.lists(SCALARS, min_size=1, max_size=4).map(lambda values: {"enum": values}),
        _some(bounds).map(lambda rest: {"type": "integer", **rest}),
        _some(bounds).map(lambda rest: {"type": "number", **rest}),
        _some(texts).map(lambda rest: {"type": "string", **rest}),
    )  # fmt: skip


def _combined(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
    pairs = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        pairs.map(lambda items: {"anyOf": items}),
        pairs.map(lambda items: {"oneOf": items}),
        st.builds(lambda one, other: {**one, "allOf": [other]}, inner, inner),
        st.builds(lambda one, other: {**one, "not": other}, inner, inner),
    )


def _referenced() -> st.SearchStrategy[dict]:
    """A reference beside other keywords."""
    return st.builds(
        lambda one, other: {**one, "$defs": {"it": other}, "$ref": "#/$defs/it"},
        _leaves(),
        _leaves(),
    )


SCHEMAS = st.recursive(
    _leaves(),
    lambda inner: st.one_of(_objects(inner), _arrays(inner), _combined(inner)),
    max_leaves=6,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from((*NAMES, "z")), inner)
    ),
    max_leaves=5,
)


def _text(value: Any) -> str:
    """The canonical spelling: whole numbers bare, short escapes, no spaces."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(k)}:{_text(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


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
        if (accepts if held else answers)(compiled, _text(value)):
            assert jsonschema_rs.is_valid(schema, value)


@settings(max_examples=250, deadline=None)
@given(
    st.one_of(_leaves(), _arrays(_leaves()), _combined(_leaves()), _referenced()),
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
        assert accepts(compiled, _text(value))
        compiled.read(_text(value))


@settings(max_examples=200, deadline=None)
@given(_objects(_leaves()), st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, SCALARS)))
def test_every_valid_object_can_be_written_in_the_order_of_the_schema(
    schema: dict, value: dict[str, Any]
) -> None:
    if not jsonschema_rs.is_valid(schema, value):
        return
    given_names = [*schema["properties"], *schema.get("required", ())]
    if not schema.get("additionalProperties") and not set(value) <= set(given_names):
        return
    order = list(dict.fromkeys([*given_names, *value]))
    text = _text({name: value[name] for name in order if name in value})
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
