"""Augmented rows: what the answer says stands in the text, and what was dropped does not"""

from __future__ import annotations

import random
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.data.augment import augmented, drop_field
from converters.data.rows import Row
from converters.recipe.data import Data
from edgeslm.tasks.extraction.evidence import SpanFinder

WRITTEN = ("{0:%d/%m/%Y}", "{0:%Y-%m-%d}", "{0:%d-%b-%Y}", "{0:%d.%m.%y}", "{0:%d %B %Y}")

days = st.dates(date(1972, 6, 1), date(2067, 6, 1))
amounts = st.decimals("-999999.99", "999999.99", places=2, allow_nan=False).map(str)
words = st.text("ABC abc#\n", min_size=1, max_size=12)


def data(**augment: float) -> Data:
    file = {"path": "a", "url": "u", "licence": "l"}
    return Data.model_validate({"files": [file], "augment": augment})


@st.composite
def bills(draw: st.DrawFn) -> Row:
    """A shop, a date and amounts in some order, with other words around and between."""
    day, total, tax = draw(days), draw(amounts), draw(amounts)
    lines = [
        "SHOP & CO",
        f"Date {draw(st.sampled_from(WRITTEN)).format(day)} 12:30",
        f"TOTAL {total}",
        f"TAX {tax}",
        *draw(st.lists(words, max_size=4)),
    ]
    text = "\n".join(draw(st.permutations(lines)))
    answer = {"shop": "SHOP & CO", "date": day.isoformat(), "total": total, "tax": tax}
    return Row(f"row {draw(st.integers(0, 10**6))}", text, answer, None, (text,))


def stands_in_text(row: Row, name: str) -> bool:
    return SpanFinder(row.input).find(row.answer[name]) is not None


@given(bills(), st.integers(0, 50))
@settings(max_examples=150, deadline=None)
def test_varied_answers_are_read_in_the_varied_text(row, seed):
    (changed,) = augmented([row], data(vary_field=1), seed=str(seed))
    for name in row.answer:
        assert stands_in_text(changed, name)
        assert type(changed.answer[name]) is str
    assert list(changed.answer) == list(row.answer)
    assert changed.parts == (changed.input,)
    equal = row.answer["total"] == row.answer["tax"]
    assert not equal or changed.answer["total"] == changed.answer["tax"]


@given(bills(), st.sampled_from(["shop", "date", "total", "tax"]))
@settings(max_examples=150, deadline=None)
def test_a_dropped_value_stands_nowhere(row, name):
    changed = drop_field(row, name)
    assert changed.answer[name] is None
    assert SpanFinder(changed.input).find(row.answer[name]) is None
    for other, value in changed.answer.items():
        assert value is None or value == row.answer[other]
        assert value is None or stands_in_text(changed, other)
    assert {*changed.input.split("\n")} <= {*row.input.split("\n"), ""}


def test_most_varied_rows_differ_and_keep_their_number_of_digits():
    row = Row("1", "A B\n03/04/2018\nTOTAL 12.50\nCASH 12.50", {"d": "2018-04-03", "t": "12.50"})
    copies = [augmented([row], data(vary_field=1), seed=str(i))[0] for i in range(60)]
    assert len({copy.answer["t"] for copy in copies}) > 20
    assert len({copy.answer["d"] for copy in copies}) > 20
    for copy in copies:
        assert copy.input.count(copy.answer["t"]) == 2
        assert len(copy.answer["t"]) == 5
    forms = {copy.input.split("\n")[1] for copy in copies if copy.answer["d"] != "2018-04-03"}
    assert any("/" in form for form in forms) and any("/" not in form for form in forms)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("TOTAL 1,234.50", {"total": "1234.50"}),  # written with a group, so found nowhere
        ("TOTAL 12345678901.50", {"total": "12345678901.50"}),
        ("12 05 1950", {"date": "1950-05-12"}),  # two digits of its year would be another's
        ("no date here", {"date": "2018-05-12"}),
        ("0001-01-01 and 9999-12-31", {"from": "0001-01-01", "to": "9999-12-31"}),
        ("THE 12.50 SHOP\nTOTAL 12.50", {"shop": "THE 12.50 SHOP", "total": "12.50"}),
        ("n", {"count": 3, "yes": True, "none": None, "list": []}),
    ],
)
def test_what_cannot_be_varied_safely_stays(text, answer):
    row = Row("1", text, answer, None, (text,))
    for seed in range(20):
        (changed,) = augmented([row], data(vary_field=1), seed=str(seed))
        assert (changed.input, changed.answer) == (text, answer)


def test_fields_of_lines_that_go_are_null_too():
    row = Row("1", "SHOP 12.50\nTHANKS", {"shop": "SHOP", "total": "12.50", "word": "THANKS"})
    changed = drop_field(row, "total")
    assert changed.input == "THANKS"
    assert changed.answer == {"shop": None, "total": None, "word": "THANKS"}


def test_fields_over_several_lines_and_places_go_whole():
    text = "a\nNO. 3, X\nROAD\nb\nno. 3, x road, again\nc"
    changed = drop_field(Row("1", text, {"address": "NO. 3, X ROAD"}), "address")
    assert changed.input == "a\nb\nc"


@pytest.mark.parametrize("answer", [{"a": "not there"}, {"a": None}, {"a": "x"}])
def test_a_field_that_is_not_there_or_is_all_stays(answer):
    row = Row("1", "x", answer)
    assert drop_field(row, "a") is row


SHOPS = [
    Row(
        f"row {i}",
        f"{name} SDN BHD\n{number} ROAD,\n{town}\nTOTAL {number}.50\nBY {name} SDN BHD",
        {"shop": f"{name} SDN BHD", "place": f"{number} ROAD, {town}", "total": f"{number}.50"},
    )
    for i, (name, number, town) in enumerate(
        [("Golden Leaf", 17, "KAJANG"), ("Kedai Murah", 301, "MASAI"), ("Best Denki", 42, "IPOH")]
    )
]


@pytest.mark.parametrize("how", ["swap_field", "vary_text"])
def test_other_texts_stand_in_input_and_answer_alike(how):
    changed = 0
    for seed in range(40):
        for row, before in zip(augmented(SHOPS, data(**{how: 1}), seed=str(seed)), SHOPS,
                               strict=True):  # fmt: skip
            assert all(stands_in_text(row, name) for name in row.answer)
            assert row.answer["total"] == before.answer["total"]
            assert row.input.count(row.answer["shop"]) == 2
            assert row.parts == (row.input,) or row == before
            changed += row.answer != before.answer
    assert changed > 40


def test_a_swapped_text_is_one_that_another_row_has():
    known = {name: {row.answer[name] for row in SHOPS} for name in ("shop", "place")}
    seen = set()
    for seed in range(40):
        for row in augmented(SHOPS, data(swap_field=1), seed=str(seed)):
            seen |= {(row.id, name, row.answer[name]) for name in known}
            assert all(row.answer[name] in known[name] for name in known)
    assert len(seen) == 3 * 2 * 3


@pytest.mark.parametrize("how", ["swap_field", "vary_text"])
def test_a_text_is_no_other_inside_longer_words_and_numbers(how):
    row = Row("1", "LEAF\nCLOVERLEAF STREET\nLEAFLET 3\n(LEAF)", {"shop": "LEAF"})
    others = [Row(name, f"{name}\nSTREET", {"shop": name}) for name in ("MELATI", "KENARI")]
    changed = set()
    for seed in range(40):
        after = augmented([row, *others], data(**{how: 1}), seed=str(seed))[0]
        shop = after.answer["shop"]
        assert after.input == f"{shop}\nCLOVERLEAF STREET\nLEAFLET 3\n({shop})"
        changed.add(shop)
    assert len(changed) > 1


def test_only_rare_words_and_numbers_are_others():
    for seed in range(40):
        for row in augmented(SHOPS * 50, data(vary_text=1), seed=str(seed))[:3]:
            assert row.answer["shop"].endswith(" SDN BHD")
            assert " ROAD, " in row.answer["place"]


@pytest.mark.parametrize("answer", [{"a": "not there"}, {"a": None}, {"a": "12.50"}, "label"])
def test_rows_without_texts_are_neither_swapped_nor_varied(answer):
    row = Row("1", "TOTAL 12.50", answer)
    assert augmented([row, *SHOPS], data(swap_field=1, vary_text=1), seed="s")[0] == row


def test_the_last_part_is_dropped_where_there_are_several():
    row = Row("1", "tesco, 5.00", "food", "food", ("tesco", ", 5.00"))
    (changed,) = augmented([row], data(drop_part=1), seed="s")
    assert (changed.input, changed.parts) == ("tesco", ("tesco",))
    (again,) = augmented([changed], data(drop_part=1), seed="s")
    assert again == changed


def test_shares_are_those_of_the_recipe():
    rows = [Row(str(i), "A\n12.50\nB", {"t": "12.50"}, None, ("A\n12.50\nB",)) for i in range(2000)]
    dropped = augmented(rows, data(drop_field=0.3), seed="0")
    assert sum(row.answer["t"] is None for row in dropped) / 2000 == pytest.approx(0.3, abs=0.04)


def test_nothing_is_changed_unasked_and_the_seed_fixes_the_rest():
    rows = [
        Row(str(i), f"A\n{i}.50", {"t": f"{i}.50"}, None, ("A\n", f"{i}.50")) for i in range(50)
    ]
    assert augmented(rows, data(), seed="0") == rows
    everything = data(drop_field=0.5, vary_field=0.5, drop_part=0.5)
    first = augmented(rows, everything, seed="0")
    assert first == augmented(rows, everything, seed="0") != augmented(rows, everything, seed="1")
    order: list[Any] = list(range(50))
    random.Random(0).shuffle(order)  # a row's change is its own, wherever it stands
    assert augmented([rows[i] for i in order], everything, seed="0") == [first[i] for i in order]
