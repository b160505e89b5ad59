"""Alignment: which pieces and values a record's fields are, and that reading them gives it back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.reading.align import align, letters, value_at
from edgeslm.formats.onnx.reader_spec import FieldSpec
from edgeslm.tasks.reading.layout import Layout, lay_out
from edgeslm.tasks.reading.record import read_record, to_json, typed_kinds
from tests.helpers.tiny_reader import FIELDS, receipts, spec, wanted_scores

SHOP, PLACE = FieldSpec("$.shop", "text"), FieldSpec("$.place", "text")
TOTAL = FieldSpec("$.total", "number", places=2)


def texts(text: str, answer: dict[str, Any], *fields: FieldSpec) -> tuple[Layout, list[list[int]]]:
    """A text's layout, and the tags that each of its pieces may have."""
    layout = lay_out(text, [])
    tags = align(layout, answer, spec(fields)).tags
    return layout, [np.flatnonzero(row).tolist() for row in tags]


def typed(text: str, value: Any, field: FieldSpec) -> tuple[int, ...] | None:
    own = spec([field])
    [name] = field.names
    [right] = align(lay_out(text, typed_kinds(own)), {name: value}, own).typed
    return right


# --- texts --------------------------------------------------------------------


def test_a_value_is_a_run_of_pieces_whatever_its_case_and_marks() -> None:
    text = "No. 1\nOld Town,\nTOYS LTD.\nend"
    assert texts(text, {"shop": "OLD TOWN TOYS LTD"}, SHOP)[1] == [[0], [1], [2], [0]]


def test_the_same_value_once_more_may_be_tagged() -> None:
    assert texts("OAK\nTEA\nOAK", {"shop": "Oak"}, SHOP)[1] == [[1], [0], [0, 1]]


def test_mistakes_of_a_machine_are_no_other_value() -> None:
    text = "GREEN LEAF B00KS SDN\nTEL 123\nGRAND HOTEL"
    assert texts(text, {"shop": "GREEN LEAF BOOKS SDN"}, SHOP)[1] == [[1], [0], [0]]


def test_a_value_that_stands_nowhere_may_be_any_piece() -> None:
    assert texts("OAK\nTEA", {"shop": "River Flowers"}, SHOP)[1] == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("value", [None, "", " -- "])
def test_no_value_is_no_tag(value: Any) -> None:
    assert texts("OAK\nTEA", {"shop": value}, SHOP)[1] == [[0], [0]]
    assert texts("OAK\nTEA", {}, SHOP)[1] == [[0], [0]]


def test_two_fields_never_share_a_piece() -> None:
    text = "OAK STREET\nOAK\nSTREET\nOAK STREET"
    answer = {"shop": "OAK STREET", "place": "OAK STREET"}
    rows = texts(text, answer, SHOP, PLACE)[1]
    assert rows[0] == [1]  # the first field has the first place
    assert rows[1:3] == [[3], [4]]  # the other the next one that is free
    answer = {"shop": "OAK", "place": "OAK"}
    assert texts("OAK", answer, SHOP, PLACE)[1] == [[1]]


def test_a_path_leads_to_its_value() -> None:
    field = FieldSpec("$.seller['na.me']", "text")
    assert value_at({"seller": {"na.me": "Oak"}}, field) == "Oak"
    assert value_at({"seller": None}, field) is None
    assert value_at(None, field) is None
    assert letters("Café  No. 1!") == "caféno1"


# --- typed and listed values ----------------------------------------------------


def test_all_places_of_a_value_are_right() -> None:
    assert typed("a 5.00\nb 7.00\nc 5", "5.00", TOTAL) == (0, 2)
    assert typed("a 5.00", None, TOTAL) == ()
    assert typed("a 5.00", "6.00", TOTAL) is None
    assert typed("a 5.00", 5.0, FieldSpec("$.a", "number")) == (0,)
    assert typed("a 5.00", 5, FieldSpec("$.a", "number")) == (0,)
    assert typed("a 1,234.50", 1234.5, FieldSpec("$.a", "number")) == (0,)


def test_a_date_is_right_by_its_meaning_and_a_code_by_its_letters() -> None:
    right = typed("on 3 March 2024", "2024-03-03", FieldSpec("$.a", "date"))
    assert right is not None
    assert len(right) == 1
    code = FieldSpec("$.a", "code")
    assert typed("No AB-12/3", "AB 12 3", code) == typed("No AB-12/3", "ab-12/3", code) == (0,)
    assert typed("No AB-12/3", "AB-12/4", code) is None


def test_a_listed_value_is_its_place() -> None:
    field = FieldSpec("$.a", "listed", values=('"x"', "true", "null"))
    layout = lay_out("text", [])
    for value, place in (("x", 0), (True, 1), (None, 2), ("y", None)):
        assert align(layout, {"a": value}, spec([field])).listed == (place,)


# --- what is right reads as the record ------------------------------------------

LINES = st.lists(
    st.sampled_from(
        ["OAK BAKERY", "1 LONG STREET", "Oak  (Town) Ltd", "TOTAL: 12.50", "2024-02-01", "TEA 3.25",
         "3 March 2024", "THANK YOU", "CHANGE: 1.00", "PAID BY CARD", "ÖL & MEHR"]
    ),
    min_size=1, max_size=9,
)  # fmt: skip


def given_back(layout: Layout, answer: dict[str, Any], own: Any) -> Any:
    return json.loads(to_json(read_record(layout, wanted_scores(layout, answer, own), own)))


@pytest.mark.parametrize("words", [False, True])
def test_scores_that_follow_the_targets_read_the_receipts(words: bool) -> None:
    own = spec(FIELDS, words=words)
    for text, record in receipts():
        layout = lay_out(text, typed_kinds(own), words=words)
        assert given_back(layout, record, own) == record


@given(LINES, st.data())
def test_scores_that_follow_the_targets_read_any_record_that_can_be_copied(lines, data) -> None:
    own = spec([SHOP, PLACE, FieldSpec("$.day", "date"), TOTAL])
    text = "\n".join(lines)
    layout = lay_out(text, typed_kinds(own))
    shown = [text[piece.start : piece.end] for piece in layout.pieces]
    start = data.draw(st.integers(0, len(shown) - 1))
    end = data.draw(st.integers(start + 1, min(len(shown), start + 3)))
    shop = " ".join(shown[start:end])
    answer: dict[str, Any] = {
        "shop": " ".join(shop.split()),
        "place": None,
        "day": data.draw(st.sampled_from([None, *{c.value for c in layout.candidates["date"]}])),
        "total": None,
    }
    amounts = [c.value for c in layout.candidates["number"] if c.value.as_tuple().exponent == -2]
    if amounts:
        answer["total"] = f"{data.draw(st.sampled_from(amounts)):.2f}"
    read = given_back(layout, answer, own)
    assert letters(read.pop("shop") or "") == letters(answer.pop("shop"))
    assert read == answer
