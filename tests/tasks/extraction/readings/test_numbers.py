"""Numbers: every usual spelling comes back as the value it was written from."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeslm.tasks.extraction.readings.numbers import numbers, read_number


def readings(text: str) -> dict[str, set[Decimal]]:
    by_spelling: dict[str, set[Decimal]] = {}
    for written in numbers(text):
        by_spelling.setdefault(text[slice(*written.span)], set()).update(written.readings)
    return by_spelling


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,284.50", {"1284.50"}),
        ("1.284,50", {"1284.50"}),
        ("1,284", {"1284", "1.284"}),
        ("1.284.567", {"1284567"}),
        ("1.284.50", {"1284.50"}),
        ("12.50", {"12.50"}),
        ("0.123", {"0.123"}),
        (".5", {"0.5"}),
        ("-12", {"-12"}),
        ("10-20", {"10", "20"}),
        ("INV-7", {"7"}),
        ("RM 2 125.00", {"2125.00", "2", "125.00"}),
        ("8 081118", {"8", "81118"}),
        ("1'000’000", {"1000000"}),
        ("1,23,456.00", {"123456.00"}),
        ("12,34,56,789", {"123456789"}),
        ("TOTAL 1\u00a0298,00", {"1298.00"}),
        ("TOTAL 1\u202f298,00", {"1298.00"}),
        ("1\u2009234\u2009567", {"1234567"}),
        ("−12.50", {"-12.50"}),
        ("-$12.50", {"-12.50"}),
        ("-RM 12.50", {"-12.50"}),
        ("$-12.50", {"-12.50"}),
        ("RM-12.50", {"-12.50", "12.50"}),
        ("12.50-", {"-12.50", "12.50"}),
        ("(12.50)", {"-12.50", "12.50"}),
        ("(RM 1,284.50)", {"-1284.50", "1284.50"}),
        ("Fr. 12.–", {"12"}),
        ("Rs. 500/-", {"500"}),
        ("52.52000659999999", {"52.52000659999999"}),
        ("١٢٫٥٠", {"12.50"}),
        ("१,२३,४५६.५०", {"123456.50"}),
        ("１，２３４．５０", {"1234.50"}),
        ("1.2.3", {"1", "2", "3"}),
        ("1.234,56.78", {"1", "234", "56", "78"}),
        ("12.5O", set()),
        ("9" * 5000, set()),
        ("none", set()),
        # a minus with a space behind it
        ("- 12.50", {"-12.50", "12.50"}),
        ("Total\n- 12.50", {"-12.50", "12.50"}),
        ("Discount: - 12.50", {"-12.50", "12.50"}),
        ("Saldo: − 12,50 €", {"-12.50", "12.50"}),
        ("Discount\t- RM 12.50", {"-12.50", "12.50"}),
        ("Discount    - €12.50", {"-12.50", "12.50"}),
        ("EUR - 12.50", {"-12.50", "12.50"}),
        ("Temperature: - 5", {"-5", "5"}),
        # a range, a dash, a bullet, a subtraction
        ("3 - 4", {"3", "4"}),
        ("12.50 - 13.50", {"12.50", "13.50"}),
        ("A - 12", {"12"}),
        ("TEL NO:- 12 - 602", {"12", "602"}),
        ("Lot A - 12.50", {"12.50"}),
        ("$10 - $20", {"10", "20"}),
        ("10 € - 20 €", {"10", "20"}),
        ("15.00 RM minus 12.50", {"15.00", "12.50"}),
        ("1/2 345", {"0.5", "1", "2", "345"}),
        ("- 12 eggs\n- 3 apples", {"12", "3"}),
        ("15.00 minus 12.50", {"15.00", "12.50"}),
        # the word
        ("minus 12.50", {"-12.50", "12.50"}),
        ("MINUS RM 12.50", {"-12.50", "12.50"}),
        ("negative 3", {"-3", "3"}),
        ("terminus 12.50", {"12.50"}),
        # a side of a ledger
        ("12.50 CR", {"12.50", "-12.50"}),
        ("RM 12.50DR", {"12.50", "-12.50"}),
        ("12 CR", {"12"}),
        ("12.50 CRATES", {"12.50"}),
        # a currency where the decimals begin
        ("12€50", {"12.50"}),
        ("-12€50", {"-12.50"}),
        ("1.234€50", {"1234.50"}),
        ("12 DM 50", {"12.50", "12", "50"}),
        ("12 € 50 €", {"12", "50"}),
        ("RM 12 RM 50", {"12", "50"}),
        ("2 RM 50.00", {"2", "50.00"}),
        ("2x$50", {"50", "2"}),
        # fractions
        ("1/2", {"0.5", "1", "2"}),
        ("1\u20442", {"0.5", "1", "2"}),
        ("2 1/2 kg", {"2.5", "2", "1"}),
        ("1/3", {"1", "3"}),
        ("24/7", {"24", "7"}),
        ("10/25", {"10", "25"}),
        ("03/04/2026", {"3", "4", "2026"}),
        ("12 h 50", {"12", "50"}),
        ("12h50", {"12", "50"}),
        # a magnitude
        ("1.5 million", {"1500000", "1.5"}),
        ("1,5 Mio. €", {"1500000", "1.5"}),
        ("-€2 bn", {"-2000000000", "2"}),
        ("12 Crore", {"120000000", "12"}),
        ("3 millions of 7", {"3000000", "3", "7"}),
        ("5 Millionaires", {"5"}),
        # an amount with two points
        ("12.50.30", {"12", "50", "30"}),
        ("10.00.53 PM", {"10", "0", "53"}),
        ("16/11,,46350", {"16"}),
        ("9" * 45, set()),
        ("9" * 45 + ".99", set()),
        ("999999999999999999.99", {"999999999999999999.99"}),
    ],
)
def test_what_a_spelling_can_mean(text, expected):
    values = {reading for written in numbers(text) for reading in written.readings}
    assert values == {Decimal(number) for number in expected}


@pytest.mark.parametrize(
    ("text", "spelling", "first", "only"),
    [
        ("1,234", "1,234", "1234", False),
        ("1.234", "1.234", "1.234", False),
        ("12,50 and 1.234", "1.234", "1234", True),
        ("12,50 and 1,234", "1,234", "1.234", True),
        ("0.5 and 1,234", "1,234", "1234", True),
        ("1,234,567 and 1.234", "1.234", "1.234", True),
        ("12.50 or 12,50 and 1,234", "1,234", "1234", False),  # they do not agree
        ("(12.50)", "12.50", "-12.50", False),
        ("(5)", "5", "5", False),
        ("12.50-", "12.50-", "-12.50", False),
        ("- 12.50", "- 12.50", "-12.50", False),
        ("minus 12.50", "minus 12.50", "-12.50", False),
        ("12.50 CR", "12.50", "12.50", False),
        ("12.50 DR", "12.50", "12.50", False),
        ("12€50", "12€50", "12.50", True),
        ("12 DM 50", "12 DM 50", "12.50", True),
        ("1/2", "1/2", "0.5", True),
        ("1.5 million", "1.5 million", "1500000", True),
    ],
)
def test_what_is_open_is_decided_by_the_document_or_a_prior(text, spelling, first, only):
    meant = next(w.readings for w in numbers(text) if text[slice(*w.span)] == spelling)
    assert next(iter(meant)) == Decimal(first)
    assert (len(meant) == 1) == only
    assert all(0 < share <= 1 for share in meant.values())
    assert list(meant.values()) == sorted(meant.values(), reverse=True)


@pytest.mark.parametrize(
    "text",
    ["Total 1O.50", "12.5O", "l2.50", "1.234,56.78", "12.50.30", "9" * 41, f"-{'9' * 45}.99"],
)
def test_what_looks_like_a_number_and_cannot_be_read_is_said(text):
    assert any(not written.readings for written in numbers(text))


SPACES = " \u00a0\u2009\u202f"


def grouped(value: Decimal, group: str, point: str) -> str:
    return f"{value:,}".replace(".", "#").replace(",", group).replace("#", point)


def indian(value: Decimal) -> str:
    whole, _, part = f"{abs(value)}".partition(".")
    head, tail = whole[:-3], whole[-3:]
    pairs = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return ("-" if value < 0 else "") + ",".join([*pairs, tail]) + "." + part


SPELLINGS = {
    "plain": str,
    "comma": lambda v: grouped(v, ",", "."),
    "point": lambda v: grouped(v, ".", ","),
    "Swiss": lambda v: grouped(v, "’", "."),
    **{f"space {ord(s):x}": (lambda v, s=s: grouped(v, s, ",")) for s in SPACES},
    "decimal comma": lambda v: str(v).replace(".", ","),
    "Indian": indian,
    "minus": lambda v: grouped(v, ",", ".").replace("-", "−"),
    "currency before": lambda v: f"{'-' if v < 0 else ''}€{abs(v):,}",
    "currency behind": lambda v: f"{grouped(v, '.', ',')} €",
    "Thai digits": lambda v: str(v).translate({48 + i: 0x0E50 + i for i in range(10)}),
    "full width": lambda v: f"{v:,}".translate({i: i + 0xFEE0 for i in range(0x21, 0x7F)}),
    "minus behind": lambda v: f"{abs(v):,}" + ("-" if v < 0 else ""),
    "brackets": lambda v: f"({abs(v):,})" if v < 0 else f"{v:,}",
}
AMOUNTS = st.decimals(-(10**11), 10**11, places=2).map(lambda v: v or abs(v))


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(value=AMOUNTS)
@example(value=Decimal("-12.50"))
@example(value=Decimal("1298.00"))
@example(value=Decimal("123456.00"))
def test_every_spelling_is_read_back(spelling, value):
    written = SPELLINGS[spelling](value)
    assert read_number(written) == value
    assert any(value in spelled.readings for spelled in numbers(f"Total {written} paid"))


@given(st.text("0123456789.,' -()$\u00a0OlR/M", max_size=40))
def test_whatever_is_written_is_read_in_its_place(text):
    for spelled in numbers(text):
        assert 0 <= spelled.start < spelled.end <= len(text)
        assert all(value.is_finite() for value in spelled.readings)
    value = read_number(text)
    assert value is None or value.is_finite()


@pytest.mark.parametrize(
    "text", ["", "RM", "10%", "1e5", "1-2", "1.00 2.00", "1,28,4", "nan", "9" * 99]
)
def test_what_is_not_one_number_is_none(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    "spelling",
    ["1\u200b298.00", "12\u00ad50", "12·50", "1_298.00", "1˙298.00", "12..50", "12€5", "1.2e3",
     "1e3", "3½", "12.5k", "1.5M", "1万2000", "½", "0x1F", "3×10^5", "3 x 10⁵", "10^5", "①②",
     "12。50"],
)  # fmt: skip
def test_a_spelling_that_is_no_number_is_not_read_by_its_first_digits(spelling):
    spelled = list(numbers(f"TOTAL {spelling} CASH 20.00"))
    assert {value for item in spelled for value in item.readings} == {Decimal("20.00")}
    assert any(not item.readings for item in spelled), "it is seen, so that others are less sure"
    assert read_number(spelling) is None


@pytest.mark.parametrize(
    "text",
    [
        "12.50.30",
        "1/2",
        "7/8",
        "12 DM 50",
        "12 h 50",
        "12h50",
        "1.5 million",
        "- 12.50",
        "minus 12.50",
        "12.50 CR",
        "12.50 DR",
    ],
)
def test_parts_and_signs_that_are_open_are_not_read_with_certainty(text):
    spelled = list(numbers(text))
    unread = any(not written.readings for written in spelled)
    assert spelled
    assert unread or all(share < 1 for item in spelled for share in item.readings.values())


LESS_SURE = {
    "a minus after a colon": lambda v: f"Balance: {'- ' if v < 0 else ''}{abs(v):,}",
    "a minus in a line of its own": lambda v: f"Discount\n{'- ' if v < 0 else ''}{abs(v):,}",
    "minus": lambda v: f"is {'minus ' if v < 0 else ''}{abs(v):,} in all",
    "a side of a ledger": lambda v: f"{v:,} CR",
    "a currency as the point": lambda v: "is " + str(v).replace(".", "€"),
    "a spaced currency as the point": lambda v: "is " + str(v).replace(".", " DM "),
}


@pytest.mark.parametrize("spelling", LESS_SURE)
@given(value=AMOUNTS)
@example(value=Decimal("-12.50"))
@example(value=Decimal("12.00"))
def test_every_spelling_that_is_open_has_its_value_as_the_likeliest(spelling, value):
    readable = [written for written in numbers(LESS_SURE[spelling](value)) if written.readings]
    best = max(readable, key=lambda written: max(written.readings.values()))
    assert next(iter(best.readings)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("RM 12.50", "12.50"),
        ("rm12.50", "12.50"),
        ("EUR 1.284,50", "1284.50"),
        ("12,50 €", "12.50"),
        ("US$ 12.50", "12.50"),
        ("R$ 12,50", "12.50"),
        ("12.50 kr.", "12.50"),
        ("12.50 złotych", "12.50"),
        ("Kč 12", "12"),
        ("12 euros", "12"),
        ("1200円", "1200"),
        ("100 руб.", "100"),
        ("Fr. 12.–", "12"),
        ("Rs. 500/-", "500"),
        ("- 12.50", "-12.50"),
        ("minus 12.50", "-12.50"),
        ("(RM 12.50)", "-12.50"),
        ("12.50 CR", "12.50"),
        ("12.50 dr", "12.50"),
        ("12€50", "12.50"),
        ("12 DM 50", "12.50"),
        ("999999999999999999.99", "999999999999999999.99"),
    ],
)
def test_a_currency_and_signs_beside_a_number_leave_it_the_number(text, value):
    assert read_number(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    ["12.50 kg", "1.5 Mio", "EUR 1.5 Mio", "ab12", "12ab", "12.50 ml", "12 h 50", "12 pcs", "x 12",
     "A-12", "top 5", "12.50 RM kg", "ab$12", "no. 12", "12.50.30", "1/2", "12 Cr 5",
     "12.50 cents"],
)  # fmt: skip
def test_other_words_beside_a_number_make_it_another_thing(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    "part",
    [
        "1'234",
        "'1",
        "1/2 ",
        "12€50 ",
        "- 1",
        "minus 1 ",
        "12.50.",
        "1^",
        "1 - €",
        "三",
        "①",
        "111 ",
    ],
)
def test_numbers_of_a_long_text_are_found_in_time_proportional_to_it(part):
    def seconds(n):
        text = "SEK: " + part * (n // len(part))
        begin = time.perf_counter()
        assert sum(1 for _ in numbers(text)) >= 0
        return time.perf_counter() - begin

    assert min(seconds(80_000) for _ in range(2)) < 8 * max(0.02, min(map(seconds, [20_000] * 3)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12,50 €-", "12.50"),
        ("12.50 EUR -", "12.50"),
        ("45,00 EUR-", "45.00"),
        ("45 EUR-", "45"),
        ("refund 12.50 EUR -\ntotal", "12.50"),
        ("(12.50 EUR -)", "12.50"),
    ],
)
def test_a_minus_behind_the_currency_likely_negates(text, value):
    (read,) = [written.readings for written in numbers(text)]
    assert read == {Decimal("-" + value): 0.9, Decimal(value): pytest.approx(0.1)}
    if "total" not in text:
        assert read_number(text) == Decimal("-" + value)


@pytest.mark.parametrize(
    "text",
    [
        "10 EUR - 20 EUR",
        "10 EUR- 20 EUR",
        "10 EUR - EUR 20",
        "10 EUR - note",
        "5 €-Schein",
        "5 €--",
    ],
)
def test_a_dash_behind_the_currency_is_no_sign(text):
    assert all(value > 0 for written in numbers(text) for value in written.readings)


def test_a_time_of_day_makes_no_number_less_sure():
    assert all(item.readings for item in numbers("10.00.53PM paid 12.00"))


def test_a_letter_for_a_digit_is_no_amount():
    assert read_number("12.5O") is None


@pytest.mark.parametrize(
    ("text", "spelling", "value"),
    [
        ("kr 1 234:50", "1 234:50", "1234.50"),
        ("1\u00a0234:50 kr", "1\u00a0234:50", "1234.50"),
        ("SEK 12:50", "12:50", "12.50"),
        ("12:50 kronor", "12:50", "12.50"),
        ("三万五千円", "三万五千", "35000"),
        ("二百五十元", "二百五十", "250"),
        ("三五〇円", "三五〇", "350"),
        ("叁萬伍仟元", "叁萬伍仟", "35000"),
        ("一億二千万円", "一億二千万", "120000000"),
    ],
)
def test_an_amount_as_one_language_writes_it_is_read_beside_its_currency(text, spelling, value):
    likeliest = max(numbers(f"paid {text}, no 7"), key=lambda written: written.end - written.start)
    assert f"paid {text}, no 7"[slice(*likeliest.span)] == spelling
    assert likeliest.readings == {Decimal(value): 0.9}
    assert read_number(text) == Decimal(value)


@pytest.mark.parametrize("text", ["数千円", "千元", "万元", "一元", "三二十円", "百千円", "3千円"])
def test_numerals_that_are_words_or_no_number_have_no_value(text):
    assert not any(written.readings for written in numbers(text))


@pytest.mark.parametrize("text", ["100 kr 12:50", "12:50 kr 100", "12:50", "12:50:30 kr"])
def test_a_time_beside_an_amount_is_no_amount(text):
    assert Decimal("12.50") not in {value for one in numbers(text) for value in one.readings}


def test_a_digit_in_a_circle_is_a_bullet():
    assert all(written.readings for written in numbers("① 12.00"))
