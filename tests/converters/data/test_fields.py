"""Rows become inputs and answers: dotted paths, templates, dates and amounts in one spelling."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.data.fields import Template, lookup, normal_amount, normal_date, normalise
from converters.errors import RecipeError
from converters.recipe.data import AnswerField


def test_paths_lead_through_objects_and_lists_and_to_names_with_dots():
    values = {"key": {"total": 3}, "lines": [{"text": "a"}], "a.b": 7}
    assert lookup(values, "key.total") == 3
    assert lookup(values, "lines.0.text") == "a"
    assert lookup(values, "a.b") == 7
    assert [lookup(values, p) for p in ("key.none", "lines.1", "key.total.x", "lines.x")] == [
        None
    ] * 4


def test_parts_joined_are_the_input_and_literals_lead_the_part_that_follows():
    template = Template.parse("Shop: {shop}, {sum.total} paid")
    parts = template.fill({"shop": "Aldi", "sum": {"total": 2.5}})
    assert parts == ("Shop: Aldi", ", 2.5 paid")


@given(st.lists(st.sampled_from(["{a}", "{b.c}", ", ", "x"]), max_size=6).map("".join))
def test_a_template_loses_nothing(text):
    if "{" not in text:
        with pytest.raises(RecipeError):
            Template.parse(text)
        return
    filled = text.replace("{a}", "1").replace("{b.c}", "two")
    assert "".join(Template.parse(text).fill({"a": 1, "b": {"c": "two"}})) == filled


@pytest.mark.parametrize("text", ["", "no place", "{a} {", "}{a}", "{{a}}", "{}"])
def test_a_malformed_template_is_refused(text):
    with pytest.raises(RecipeError, match=r"data\.input"):
        Template.parse(text)


@pytest.mark.parametrize("value", [None, "", "  ", True, ["a"], {"b": 1}])
def test_what_is_no_text_fills_no_placeholder(value):
    with pytest.raises(ValueError, match="a is"):
        Template.parse("{a}").fill({"a": value})


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("20180304", "2018-03-04"),
        ("25032018", "2018-03-25"),
        ("(28/03/2018)", "2018-03-28"),
        ("18 MAR 2018", "2018-03-18"),
        ("25/FEB/2017", "2017-02-25"),
        ("28-03-18", "2018-03-28"),
        ("OCT 3, 2016", "2016-10-03"),
        ("3rd Sept 2016", "2016-09-03"),
        ("2018-03-04", "2018-03-04"),
        ("2018-03-04T10:20:30.5Z", "2018-03-04"),
        ("19/10/2018 20:49:59", "2018-10-19"),
        ("12/25/2018", "2018-12-25"),
    ],
)
def test_dates(text, iso):
    assert normal_date(text, day_first=True) == iso


def test_day_first_decides_what_is_open():
    assert normal_date("03/04/2018", day_first=True) == "2018-04-03"
    assert normal_date("03/04/2018", day_first=False) == "2018-03-04"


@pytest.mark.parametrize(
    "text", ["May", "12", "2018", "10.00", "27/13/2018", "31/02/2018", "10:30", "next week", "1284"]
)
def test_what_is_no_whole_date_is_refused(text):
    with pytest.raises(ValueError, match="not a date"):
        normal_date(text, day_first=True)


@given(
    st.dates(dt.date(1970, 1, 1), dt.date(2060, 12, 31)),
    st.sampled_from(["%d/%m/%Y", "%d %b %Y", "%Y%m%d", "%B %d, %Y", "%d.%m.%Y"]),
)
def test_every_date_comes_back(date, spelled):
    assert normal_date(date.strftime(spelled), day_first=True) == date.isoformat()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("RM 53.60", "53.60"),
        ("$9.99", "9.99"),
        ("US$5", "5.00"),
        ("1,284.50", "1284.50"),
        ("1.284,50", "1284.50"),
        ("53,6", "53.60"),
        ("1,284", "1284.00"),
        ("-0.40", "-0.40"),
        ("-RM 0.02", "-0.02"),
        ("RM-0.02", "-0.02"),
        ("(5.00)", "-5.00"),
        ("5 EUR", "5.00"),
        (".99", "0.99"),
        ("-0.00", "0.00"),
    ],
)
def test_amounts(text, amount):
    assert normal_amount(text) == amount


@pytest.mark.parametrize("text", ["RM", "10%", "1.005", "1e5", "1,28,4", "1.00 2.00", "nan", "1-2"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"amount|two decimals"):
        normal_amount(text)


@given(st.decimals(-(10**9), 10**9, places=2), st.sampled_from(["{}", "RM {}", "{} EUR", "${}"]))
def test_every_amount_comes_back(value, spelled):
    assert Decimal(normal_amount(spelled.format(f"{value:,.2f}"))) == value


def test_normalise_by_kind():
    def one(value, as_):
        return normalise(value, AnswerField.model_validate({"source": "x", "as": as_}))

    assert one(" A \n B ", "text") == "A B"
    assert one(7, "text") == "7"
    assert one(72.6, "amount") == "72.60"
    assert one(["kept", 1], "value") == ["kept", 1]
    assert [one("  ", as_) for as_ in ("text", "date", "amount", "value")] == [None] * 4
    with pytest.raises(ValueError, match="not text"):
        one(["a"], "text")
