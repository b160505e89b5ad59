"""Leaves of an answer: all values, in their places, by RFC 9535 paths."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.tasks.extraction.leaves import field_of, field_values, leaves

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def flatten(value, path="$"):
    if isinstance(value, dict) and value:
        return [leaf for item in value.values() for leaf in flatten(item)]
    if isinstance(value, list) and value:
        return [leaf for item in value for leaf in flatten(item)]
    return [value]


@given(value=JSON, spaced=st.booleans(), ascii_only=st.booleans())
def test_leaves_are_all_values_in_their_places(value, spaced, ascii_only):
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    read = leaves(text)
    assert [leaf.value for leaf in read] == flatten(value)
    assert all(json.loads(text[leaf.start : leaf.end]) == leaf.value for leaf in read)
    assert len({leaf.path for leaf in read}) == len(read)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"total":1}', ["$.total"]),
        ('{"items":[{"a":1},{"a":2}]}', ["$.items[0].a", "$.items[1].a"]),
        (
            '{"total due":1,"ünits":2,"_x1":3,"1x":4}',
            ["$['total due']", "$.ünits", "$._x1", "$['1x']"],
        ),
        (
            '{"it\'s":1,"a\\"b":2,"c\\\\d":3,"n\\n":4}',
            ["$['it\\'s']", "$['a\"b']", "$['c\\\\d']", "$['n\\n']"],
        ),
        ('{"":0,"a-b":{}}', ["$['']", "$['a-b']"]),
        ("[[],3]", ["$[0]", "$[1]"]),
        ('"x"', ["$"]),
    ],
)
def test_paths_are_rfc_9535(text, paths):
    assert [leaf.path for leaf in leaves(text)] == paths


@given(value=JSON)
def test_the_fields_of_a_value_are_those_of_its_text(value):
    pairs = [(leaf.path, leaf.value) for leaf in leaves(json.dumps(value))]
    expected = [(field_of(path), leaf) for path, leaf in pairs if leaf not in ([], {})]
    assert list(field_values(value)) == [pair for pair in expected if pair != ("$", None)]
