"""Numbers: every usual spelling comes back as the value it was written from."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeslm.tasks.extraction.readings.numbers import numbers, read_number


def readings(text: str) -> dict[str, set[Decimal]]:
    found: dict[str, set[Decimal]] = {}
    for written in numbers(text):
        found.setdefault(text[slice(*written.span)], set()).update(written.readings)
    return found


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
    ],
)
def test_what_a_spelling_can_mean(text, expected):
    found = {reading for written in numbers(text) for reading in written.readings}
    assert found == {Decimal(number) for number in expected}


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
    ],
)
def test_what_is_open_is_decided_by_the_document_or_a_prior(text, spelling, first, only):
    meant = next(w.readings for w in numbers(text) if text[slice(*w.span)] == spelling)
    assert next(iter(meant)) == Decimal(first)
    assert (len(meant) == 1) == only
    assert all(0 < share <= 1 for share in meant.values())
    assert list(meant.values()) == sorted(meant.values(), reverse=True)


@pytest.mark.parametrize("text", ["Total 1O.50", "12.5O", "l2.50", "1.234,56.78"])
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
    assert any(value in found.readings for found in numbers(f"Total {written} paid"))


@given(st.text("0123456789.,' -()$\u00a0OlR/M", max_size=40))
def test_whatever_is_written_is_read_in_its_place(text):
    for found in numbers(text):
        assert 0 <= found.start < found.end <= len(text)
        assert all(value.is_finite() for value in found.readings)
    value = read_number(text)
    assert value is None or value.is_finite()


@pytest.mark.parametrize(
    "text", ["", "RM", "10%", "1e5", "1-2", "1.00 2.00", "1,28,4", "nan", "9" * 99]
)
def test_what_is_not_one_number_is_none(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    "spelling",
    ["1\u200b298.00", "12\u00ad50", "12·50", "1_298.00", "1˙298.00", "12..50", "12€50", "1.2e3",
     "1e3", "3½", "12.5k", "1.5M", "1万2000"],
)  # fmt: skip
def test_a_spelling_that_is_no_number_is_not_read_by_its_first_digits(spelling):
    found = list(numbers(f"TOTAL {spelling} CASH 20.00"))
    assert {value for item in found for value in item.readings} == {Decimal("20.00")}
    assert any(not item.readings for item in found), "it is seen, so that others are less sure"
    assert read_number(spelling) is None


def test_a_letter_for_a_digit_is_no_amount():
    assert read_number("12.5O") is None
