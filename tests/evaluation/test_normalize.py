"""The spelling that values are compared in, and what a field's values are taken for"""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.evaluation.normalize import compared, count_alike, kind_of, normal
from edgeslm.formats.text import FOLDS

STRICTEST_FIRST = ("none", "case", "punctuation")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["05/06/2018", "2018-06-05", None], "date"),
        (["9.50", "RM 1,234.00", "$ 3.99"], "amount"),
        ([1, 2.5, None], "number"),
        (["A SDN BHD", "B"], "text"),
        (["01234", "20180605"], "text"),  # all digits: perhaps a postcode
        (["05/06/2018", "O5/O6/2O18", "06.07.2018"], "date"),  # most decide
        ([True, False], "text"),
        ([None, ""], "text"),
        ([], "text"),
    ],
)
def test_what_a_field_is_taken_for(values, kind):
    assert kind_of(values) == kind


@pytest.mark.parametrize(
    ("value", "kind", "spelled"),
    [
        ("5 Jun 2018", "date", "2018-06-05"),
        (dt.date(2018, 6, 5), "date", "2018-06-05"),
        ("no date", "date", "no date"),
        ("RM 1,234.5", "amount", "1234.50"),
        (9.5, "amount", "9.50"),
        (Decimal("1.2E+3"), "amount", "1200.00"),
        ("1,200.0", "number", "1200"),
        (1200, "number", "1200"),
        (-0.0, "number", "0"),
        ("twelve", "number", "twelve"),
        ("12.50 EUR", "amount", "12.50"),
        ("12.50 euros", "amount", "12.50"),
        ("RM 12.50 CR", "amount", "12.50"),
        ("12€50", "amount", "12.50"),
        ("minus 12.50", "amount", "-12.50"),
        # a unit or a magnitude makes it another thing
        ("12.50 kg", "amount", "12.50 kg"),
        ("1.5 Mio", "number", "1.5 mio"),
        ("ab12", "number", "ab12"),
        ("12 pcs", "number", "12 pcs"),
        ("\u00ad", "text", None),
        (1e300, "number", "1e+300"),
        (float("inf"), "amount", "inf"),
        ("  Jalan\n 3 ", "text", "jalan 3"),
        ("01234", "text", "01234"),
        (True, "text", "true"),
        (None, "text", None),
        (" ", "date", None),
    ],
)
def test_the_spelling_that_is_compared(value, kind, spelled):
    assert normal(value, kind) == spelled


@pytest.mark.parametrize("other", ["12.50 kg", "12.50 Mio", "ab12.50", "12.50 of 20.00"])
@pytest.mark.parametrize("kind", ["amount", "number"])
def test_a_number_is_not_right_with_other_words_nor_wrong_with_a_currency(other, kind):
    assert normal("12.50", kind) != normal(other, kind)
    assert normal("12.50", kind) == normal("EUR 12.50", kind) == normal(12.5, kind)
    assert normal(other, kind) == normal(other.upper(), kind)


@given(st.text(), st.sampled_from(["date", "amount", "number", "text"]))
def test_what_is_spelled_so_stays_so(text, kind):
    once = normal(text, kind)
    assert normal(once, kind) == once


@given(st.integers(-(10**18), 10**18), st.sampled_from(["amount", "number"]))
def test_a_number_and_its_text_are_equal(number, kind):
    assert normal(number, kind) == normal(str(number), kind)


# --- what a comparison ignores ------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "kind", "same"),
    [
        ("Corner Shop", "Corner Shop", "text", "none case punctuation"),
        ("Corner Shop", "CORNER  SHOP ", "text", "case punctuation"),
        ("ＡＢＣ ﬁn", "abc fin", "text", "case punctuation"),
        ("ni\u00adce", "nice", "text", "case punctuation"),
        ("No. 3-A, Jalan Dua", "NO 3A JALAN DUA", "text", "punctuation"),
        ("27, JALAN 3", "27,JALAN 3", "text", "punctuation"),
        ("a $ b", "a b", "text", "punctuation"),
        ("O’Neill", "O'Neill", "text", "punctuation"),
        ("1.5 l", "15 l", "text", "punctuation"),
        ("e-\u0301", "\u00e9", "text", "punctuation"),
        ("Café", "Cafe", "text", ""),
        ("कि", "का", "text", ""),
        ("3 A", "3 B", "text", ""),
        # without letters and digits the marks are all that there is
        ("€", "$", "text", ""),
        ("-", None, "text", ""),
        ("€ ", "€", "text", "case punctuation"),
        # nothing is nothing
        ("", None, "text", "none case punctuation"),
        (" \u00ad", None, "text", "none case punctuation"),
        # dates and numbers by what they mean; unread ones as text whose points count
        ("05/06/2018", "2018-06-05", "date", "case punctuation"),
        (dt.date(2018, 6, 5), "2018-06-05", "date", "none case punctuation"),
        ("RM 1,234.50", "1234.5", "amount", "case punctuation"),
        ("1234.50", "12345.0", "amount", ""),
        ("-3.00", "3.00", "amount", ""),
        ("1.5 kg", "15 kg", "amount", ""),
        (12, 12.0, "number", "none case punctuation"),
        (12, "12", "number", "case punctuation"),
        (12, Decimal("12.00"), "amount", "none case punctuation"),
        (True, "true", "text", "case punctuation"),
        (20180605, "20180605", "date", ""),  # a text may be read as a date, a number is none
    ],
)
def test_what_each_way_of_comparing_takes_for_the_same(one, other, kind, same):
    equal = [fold for fold in FOLDS if normal(one, kind, fold) == normal(other, kind, fold)]
    assert {*equal} == {*same.split()}


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
ALIKE = st.text("aA 1.-,é\u0301€\u00adＡ", max_size=5)
KINDS = st.sampled_from(["date", "amount", "number", "text"])


@given(LEAVES | ALIKE, LEAVES | ALIKE, KINDS)
def test_what_is_equal_in_a_stricter_way_is_so_in_a_looser_one(one, other, kind):
    equal = [normal(one, kind, f) == normal(other, kind, f) for f in STRICTEST_FIRST]
    assert equal == sorted(equal)


@given(LEAVES | ALIKE, KINDS)
def test_what_is_no_value_is_none_in_any_way(value, kind):
    assert len({normal(value, kind, fold) is None for fold in FOLDS}) == 1


@given(st.text() | ALIKE)
def test_letters_and_digits_stay_so(text):
    once = normal(text, "text", "punctuation")
    assert normal(once, "text", "punctuation") == once


@pytest.mark.parametrize(
    ("one", "other", "kind", "same"),
    [
        ("2023-12-12T10:00:00", "2023-12-12T22:00:00", "date", False),
        ("2023-12-12T10:00:00", "2023-12-12T10:00:00Z", "date", True),
        ("2023-12-12T10:00:00+01:00", "2023-12-12T10:00:00Z", "date", False),
        ("2023-12-12T10:00:00", "12 Dec 2023 10:00", "date", True),
        ("2023-12-12T10:00:00", "12 Dec 2023 10 pm", "date", False),
        ("2023-12-12", "2023-12-12T22:00:00", "date", True),  # one says no time
        (dt.datetime(2023, 12, 12, 10), "2023-12-12T10:00:00", "date", True),
        (dt.datetime(2023, 12, 12, 10), "2023-12-12T11:00:00", "date", False),
        ("2023-12-12T10:00:00", "2023-12-13T10:00:00", "date", False),
        ("12.50 USD", "12.50 EUR", "amount", False),
        ("12.50", "12.50 EUR", "amount", True),
        (12.5, "EUR 12.50", "amount", True),
        ("€ 12.50", "EUR 12.50", "amount", True),
        ("€ 12.50", "$12.50", "amount", False),
        ("$12.50", "12.50 USD", "amount", True),
        ("US$12.50", "CAD 12.50", "amount", False),
        ("12.50 kr", "SEK 12.50", "amount", True),
        ("RM12.50", "12.50 MYR", "amount", True),
        ("12 EUR", "12 GBP", "number", False),
        ("12 EUR", "12 EUR", "text", True),
    ],
)
def test_what_both_values_say_of_time_and_currency_must_be_the_same(one, other, kind, same):
    values = [compared(one, kind), compared(other, kind)]
    assert values[0].is_like(values[1]) == values[1].is_like(values[0]) == same
    assert count_alike(values[:1], values[1:]) == same


def test_values_that_say_the_same_are_paired_first():
    true = [compared(text, "amount") for text in ("12.50", "12.50 USD")]
    said = [compared(text, "amount") for text in ("12.50 USD", "EUR 12.50")]
    assert count_alike(true, said) == count_alike(said, true) == 2
