"""What a file says of its reader: read back as written, refused by the place that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.errors import CardError
from edgeslm.formats.onnx.reader_spec import MAX_FIELDS, FieldSpec, ReaderSpec
from edgeslm.tasks.extraction.leaves import segment
from tests.helpers.tiny_reader import FIELDS, spec

VALUES = st.lists(st.text(max_size=5).map(json.dumps), min_size=1, max_size=4, unique=True)


@st.composite
def specs(draw):
    names = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6, unique=True))
    fields = []
    for name in names:
        read = draw(st.sampled_from(["text", "date", "time", "number", "code", "listed"]))
        fields.append(
            FieldSpec(
                f"${segment(name)}",
                read,
                places=draw(st.integers(0, 9) | st.none()),
                values=tuple(draw(VALUES)) if read == "listed" else (),
                nullable=draw(st.booleans()),
            )
        )
    return spec(fields, words=draw(st.booleans()))


def read(text: str) -> ReaderSpec:
    return ReaderSpec.from_json(text, where="tiny.onnx")


@given(specs())
def test_what_is_written_is_read_back(own):
    assert read(own.to_json()) == own
    columns = sum({"text": 2, "listed": len(f.values)}.get(f.read, 2) for f in own.fields)
    assert own.columns == 1 + columns
    assert own.tags == 1 + 2 * len(own.texts)


def set_key(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole.__setitem__(name, value)


def set_field(name: str, value: Any, at: int = 0) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole["fields"][at].__setitem__(name, value)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no key": (lambda whole: whole.pop("begin"), "its keys must be begin, fields"),
    "more keys": (set_key("more", 1), "its keys must be"),
    "format": (set_key("format", 2), "format must be 1"),
    "words": (set_key("words", 1), "words must be true or false"),
    "no fields": (set_key("fields", []), "fields must be a list"),
    "fields": (set_key("fields", {}), "fields must be a list"),
    "many fields": (lambda w: w.update(fields=w["fields"] * MAX_FIELDS), "fields must be a list"),
    "a field": (lambda whole: whole["fields"].append(3), "the keys of a field"),
    "twice": (set_field("path", "$.date"), "a field is given twice"),
    "twice, otherwise": (set_field("path", "$['date']"), "a field is given twice"),
    "within": (set_field("path", "$.date.day"), "others lie within"),
    "path": (set_field("path", "shop"), "path must lead to a member"),
    "array": (set_field("path", "$.a[0]"), "path must lead to a member"),
    "path's type": (set_field("path", None), "path must lead to a member"),
    "long path": (set_field("path", "$." + "a" * 1000), "path must lead to a member"),
    "read": (set_field("read", "colour"), "read must be one of"),
    "read's type": (set_field("read", ["text"]), "read must be one of"),
    "places": (set_field("places", 10), "places must be"),
    "places' type": (set_field("places", True), "places must be"),
    "nullable": (set_field("nullable", None), "nullable must be"),
    "values": (set_field("values", [1], 3), "values must be a list of texts"),
    "values' type": (set_field("values", "cash", 3), "values must be a list of texts"),
    "values' JSON": (set_field("values", ["cash"], 3), "values must be JSON"),
    "values' kinds": (set_field("values", ["[1]"], 3), "values must be JSON"),
    "same values": (set_field("values", ['"a"', '"a"'], 3), "values must differ"),
    "no values": (set_field("values", [], 3), "a listed field, and no other"),
    "values of a text": (set_field("values", ['"a"']), "a listed field, and no other"),
    "rows": (lambda whole: whole["transitions"].pop(), "transitions must have 3 rows"),
    "row": (lambda whole: whole["transitions"][1].pop(), "a row of scores must have 3"),
    "begin": (set_key("begin", [0, 0]), "a row of scores must have 3"),
    "score": (set_key("begin", [0, "0", 0]), "a score must be a number"),
    "no number": (set_key("begin", [0, float("nan"), 0]), "a score must be a number"),
    "endless": (set_key("begin", [0, float("inf"), 0]), "a score must be a number"),
    "huge": (set_key("begin", [0, 10**400, 0]), "a score must be a number"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_refused_by_its_name(fault):
    change, words = FAULTS[fault]
    whole = json.loads(spec().to_json())
    change(whole)
    with pytest.raises(CardError, match=words) as caught:
        read(json.dumps(whole))
    assert str(caught.value).startswith("tiny.onnx: edgeslm.reader: ")
    assert "make the file again" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(CardError):
        read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(JSON, st.data())
def test_any_change_ends_in_a_spec_or_one_error(value, data):
    whole = json.loads(spec(FIELDS).to_json())
    place: Any = whole
    for _ in range(data.draw(st.integers(1, 4))):
        keys = [*place] if isinstance(place, dict) else [*range(len(place))]
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key]:
            break
        place = place[key]
    if isinstance(place, dict):
        place[data.draw(st.sampled_from([*place]))] = value
    else:
        place[data.draw(st.integers(0, len(place) - 1))] = value
    try:
        own = read(json.dumps(whole))
    except CardError:
        return
    assert read(own.to_json()) == own
