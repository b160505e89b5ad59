"""Schemas and values of every shape for property tests, and the one spelling of a value."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

NAMES = ("b", "a", "ab")
TEXTS = st.text(alphabet='abé"\\\n', max_size=4)
WHOLE = st.integers(-6, 6)
TENTHS = st.integers(-60, 60).map(lambda n: n / 10)
SCALARS = st.one_of(st.none(), st.booleans(), WHOLE, TENTHS, TEXTS)


def _some(keywords: dict[str, st.SearchStrategy]) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({}, optional=keywords)


def objects(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
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


def arrays(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return _some({
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "items": inner,
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 3),
        "uniqueItems": st.booleans(),
    }).map(lambda rest: {"type": "array", **rest})  # fmt: skip


def leaves() -> st.SearchStrategy[dict]:
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


def combined(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
    pairs = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        pairs.map(lambda items: {"anyOf": items}),
        pairs.map(lambda items: {"oneOf": items}),
        st.builds(lambda one, other: {**one, "allOf": [other]}, inner, inner),
        st.builds(lambda one, other: {**one, "not": other}, inner, inner),
    )


def referenced() -> st.SearchStrategy[dict]:
    """A reference beside other keywords."""
    return st.builds(
        lambda one, other: {**one, "$defs": {"it": other}, "$ref": "#/$defs/it"},
        leaves(),
        leaves(),
    )


SCHEMAS = st.recursive(
    leaves(),
    lambda inner: st.one_of(objects(inner), arrays(inner), combined(inner)),
    max_leaves=6,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from((*NAMES, "z")), inner)
    ),
    max_leaves=5,
)


def text_of(value: Any) -> str:
    """The canonical spelling: whole numbers bare, short escapes, no spaces."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{text_of(k)}:{text_of(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
