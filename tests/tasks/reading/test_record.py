"""A record from scores: what adds up, what competes, how it is spelled, where it stands."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.formats.onnx.reader_spec import FieldSpec, ReaderSpec
from edgeslm.tasks.extraction.leaves import segment
from edgeslm.tasks.reading.layout import lay_out
from edgeslm.tasks.reading.record import (
    Reading,
    read_record,
    rows_of,
    spelled,
    to_json,
    typed_kinds,
)
from tests.helpers.tiny_reader import spec

TOTAL = FieldSpec("$.total", "number", places=2)


def read(text: str, scores: dict[tuple[str, int], float], own: ReaderSpec) -> list[Reading]:
    """Readings of a text; ``scores`` are those that are not 0, by unit's kind and place."""
    layout = lay_out(text, typed_kinds(own), words=own.words)
    rows = rows_of(layout)
    table = np.zeros((layout.units, own.columns))
    for (kind, place), score in scores.items():
        if kind.startswith("null") or kind == "value":
            table[0, place] = score
        else:
            table[rows[kind].start + place] = score
    return read_record(layout, table, own)


def one(text: str, scores: dict[tuple[str, int], float], field: FieldSpec) -> Reading:
    [reading] = read(text, scores, spec([field]))
    return reading


# --- typed values ---------------------------------------------------------------


def test_places_that_read_alike_count_together():
    text = "a 5.00\nb 7.00\nc 5.00"
    low = {("null", 2): -50.0}
    reading = one(text, {**low, ("number", 1): 0.5}, TOTAL)
    assert reading.json == '"5.00"'  # two of e^0 against one of e^0.5
    assert reading.confidence == pytest.approx(2 / (2 + np.exp(0.5)))
    assert text[slice(*reading.span)] == "5.00"
    assert one(text, {**low, ("number", 1): 1.5}, TOTAL).json == '"7.00"'
    surer = one(text, {**low, ("number", 2): 0.1}, TOTAL)
    assert surer.span == (16, 20)  # the surer of the two places


def test_null_competes_where_the_field_may_be_null():
    text, scores = "a 5.00", {("null", 2): 3.0}
    assert one(text, scores, TOTAL)[1:4] == (
        "null", pytest.approx(np.exp(3) / (np.exp(3) + 1)), None
    )  # fmt: skip
    must = FieldSpec("$.total", "number", places=2, nullable=False)
    assert one(text, scores, must)[1:4] == ('"5.00"', 1.0, (2, 6))


@given(st.lists(st.floats(-1000, 1000), min_size=3, max_size=3), st.floats(-1000, 1000))
def test_a_field_that_may_not_be_null_never_is_where_there_is_a_value(scores, null):
    must = FieldSpec("$.total", "number", nullable=False)
    own = {("number", at): score for at, score in enumerate(scores)} | {("null", 2): null}
    reading = one("a 5.00\nb 7.00\nc 5.00", own, must)
    assert reading.json in ("5", "7")
    assert 0 <= reading.confidence <= 1


@pytest.mark.parametrize("kind", ["date", "time", "number", "code"])
def test_a_text_without_a_value_reads_null(kind):
    reading = one("nothing here", {}, FieldSpec("$.a", kind))
    assert (reading.json, reading.span) == ("null", None)


@pytest.mark.parametrize(
    ("value", "places", "json_text"),
    [
        ("5", None, "5"), ("5.10", None, "5.1"), ("5.00", None, "5"), ("-0.50", None, "-0.5"),
        ("5", 2, '"5.00"'), ("5.1", 2, '"5.10"'), ("5.123", 2, None), ("5.120", 2, '"5.12"'),
        ("5.00", 0, '"5"'), ("5.5", 0, None), ("1E+3", 2, '"1000.00"'), ("1E+3", None, "1000"),
    ],
)  # fmt: skip
def test_decimals_are_spelled_with_so_many_places(value, places, json_text):
    assert spelled(Decimal(value), FieldSpec("$.a", "number", places=places)) == json_text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(0, 9) | st.none())
def test_a_spelled_number_is_the_value_itself(value, places):
    text = spelled(value, FieldSpec("$.a", "number", places=places))
    if text is not None:
        assert Decimal(str(json.loads(text, parse_float=Decimal))) == value
        assert places is None or len(json.loads(text).partition(".")[2]) == places


# --- texts and listed values ------------------------------------------------------


def test_a_text_field_is_a_run_of_pieces_on_one_line():
    own = spec([FieldSpec("$.shop", "text")])
    text = "before\nOLD  TOWN\nTOYS\nbehind"
    layout = lay_out(text, [])
    table = np.zeros((layout.units, 3))
    table[:, 0] = 5.0
    table[2] = [0, 9, 0]
    table[3:5] = [0, 0, 9]
    [reading] = read_record(layout, table, own)
    assert json.loads(reading.json) == "OLD TOWN TOYS"
    assert text[slice(*reading.span)] == "OLD  TOWN\nTOYS"
    table[2:5] = [9, 0, 0]
    [reading] = read_record(layout, table, own)
    assert (reading.json, reading.span) == ("null", None)
    assert reading.confidence > 0.9


@pytest.mark.parametrize("nullable", [True, False])
def test_a_text_without_words_has_no_text(nullable):
    own = spec([FieldSpec("$.shop", "text", nullable=nullable)])
    layout = lay_out("§ §", [])
    [reading] = read_record(layout, np.zeros((layout.units, 3)), own)
    assert (reading.json, reading.span) == ("null" if nullable else '""', None)


def test_listed_values_are_weighed_on_the_whole_text():
    values = ('"a"', "true", "null", "3")
    field = FieldSpec("$.kind", "listed", values=values)
    reading = one("text", {("value", 2): 2.0}, field)
    assert reading.json == "true"
    assert list(reading.probabilities) == ["a", "true", "null", "3"]
    assert sum(reading.probabilities.values()) == pytest.approx(1)
    assert reading.confidence == max(reading.probabilities.values())
    assert reading.without_value() is reading


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 5.0, 600.0]))
def test_any_scores_give_a_record_of_every_field(seed, scale):
    fields = [
        FieldSpec("$.a", "text"), FieldSpec("$.b.c", "date"), FieldSpec("$.b.d", "text"),
        FieldSpec("$.e", "number"), FieldSpec("$.f", "listed", values=('"x"', "null")),
    ]  # fmt: skip
    own = spec(fields)
    layout = lay_out("SHOP  one\n2024-01-02 and 3.50\nlast", typed_kinds(own))
    table = np.random.default_rng(seed).normal(size=(layout.units, own.columns)) * scale
    readings = read_record(layout, table, own)
    assert [reading.field for reading in readings] == fields
    for reading in readings:
        assert 0 <= reading.confidence <= 1
        assert scale < 600 or reading.field.read != "text" or reading.confidence > 0.4
        value = json.loads(reading.json)
        if reading.field.read == "text" and value is not None:
            assert " ".join(layout.text[slice(*reading.span)].split()) == value
    record = json.loads(to_json(readings))
    assert list(record) == ["a", "b", "e", "f"]
    assert list(record["b"]) == ["c", "d"]


# --- the JSON text --------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=8) | st.sampled_from(
    [
        "a b",
        "a.b",
        "it's",
        'say "it"',
        "back\\slash",
        "\n",
        "\\n",
        "é",
        "[0]",
        "'",
        "\u2028",
        "\x00",
    ]
)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_any_name_comes_back_out_of_its_path(names):
    path = "$" + "".join(map(segment, names))
    field = FieldSpec(path, "text")
    assert field.names == names
    value: Any = json.loads(to_json([Reading(field, '"x"', 1.0, None)]))
    for name in names:
        assert list(value) == [name]
        value = value[name]
    assert value == "x"


@given(st.dictionaries(st.tuples(NAMES, NAMES), st.integers(), min_size=1, max_size=6))
def test_records_of_nested_fields_are_the_values_at_their_paths(values):
    readings = [
        Reading(FieldSpec(f"${segment(a)}{segment(b)}", "number"), str(value), 1.0, None)
        for (a, b), value in values.items()
    ]
    record = json.loads(to_json(readings))
    assert {(a, b): value for a, inner in record.items() for b, value in inner.items()} == values
