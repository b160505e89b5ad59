"""Words become lines in reading order: rows of tables stay whole, columns of text are apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.documents.document import Box
from edgeslm.documents.layout import Piece, lines_of, separators

#: width and height of a character, and from one line to the next
WIDE, HIGH, STEP = 6.0, 10.0, 14.0


def words(text, x, y, high=HIGH):
    """The words of a line of text that begins at a place, as if typed."""
    pieces = []
    for word in text.split(" "):
        box = Box(x, y, x + WIDE * len(word), y + high)
        pieces.append(Piece(word, box, box))
        x += WIDE * (len(word) + 1)
    return pieces


def page(*cells):
    return [piece for cell in cells for piece in words(*cell)]


def shown(pieces):
    """The lines of a page as text."""
    return [
        "".join(
            piece.text + separator
            for piece, separator in zip(line, [*separators(line), ""], strict=True)
        )
        for line in lines_of(pieces)
    ]


def test_words_of_a_row_are_one_line_however_far_apart():
    cells = page(("TOTAL", 0, 0), ("5.00", 500, 1), ("CASH", 0, STEP), ("10.00", 494, STEP))
    assert shown(reversed(cells)) == ["TOTAL  5.00", "CASH  10.00"]


def test_a_table_is_read_row_by_row():
    rows = [("Description", "Qty", "Price")]
    rows += [(f"Steel screw number {n}", str(n), f"{n}.50") for n in range(1, 9)]
    cells = page(
        *(
            (text, x, STEP * y)
            for y, row in enumerate(rows)
            for text, x in zip(row, (0, 250, 400), strict=True)
        )
    )
    assert shown(cells) == ["  ".join(row) for row in rows]


def test_a_table_of_texts_is_read_row_by_row():
    rows = [("Task to be done", "Name of the owner", "State of it")] * 6
    cells = page(
        *(
            (text, x, STEP * y)
            for y, row in enumerate(rows)
            for text, x in zip(row, (0, 250, 450), strict=True)
        )
    )
    assert shown(cells) == ["  ".join(row) for row in rows]


def test_labels_and_values_are_read_row_by_row():
    rows = [
        ("Name of the customer:", "John Smith and Sons"),
        ("Street and number:", "Long Street north side"),
        ("Name of the town:", "Old Town by the Sea"),
        ("Name of the land:", "Country of the North"),
    ]
    cells = page(
        *(
            (text, x, STEP * y)
            for y, row in enumerate(rows)
            for text, x in zip(row, (0, 250), strict=True)
        )
    )
    assert shown(cells) == ["  ".join(row) for row in rows]


def test_two_addresses_side_by_side_are_read_one_after_the_other():
    left = ["Bill to", "John Smith", "12 High Street", "10115 Berlin"]
    right = ["Ship to", "Jane Miller", "5 Low Road", "20095 Hamburg"]
    cells = page(
        ("ACME Limited", 0, 0),
        *((text, 0, 40 + STEP * y) for y, text in enumerate(left)),
        *((text, 300, 40 + STEP * y) for y, text in enumerate(right)),
        ("Thank you for your order, which is below.", 0, 140),
    )
    assert shown(cells) == [
        "ACME Limited", *left, *right, "Thank you for your order, which is below."
    ]  # fmt: skip


def test_a_letterhead_beside_facts_is_read_first():
    left = ["Acme Widgets GmbH", "Industriestrasse 12", "10115 Berlin", "VAT DE123456789"]
    right = ["Invoice number: INV-42", "Invoice date: 1 May 2026", "Customer number: C-9981"]
    cells = page(
        *((text, 0, STEP * y) for y, text in enumerate(left)),
        *((text, 300, STEP * y) for y, text in enumerate(right)),
    )
    assert shown(cells) == [*left, *right]


def test_labels_without_a_colon_and_values_are_read_row_by_row():
    rows = [
        ("Invoice number", "INV-42"),
        ("Invoice date", "15 September 2026"),
        ("Amount due", "RM 12.50"),
        ("Customer address", "12 High Street, London"),
    ]
    cells = page(
        *(
            (text, x, STEP * y)
            for y, row in enumerate(rows)
            for text, x in zip(row, (0, 250), strict=True)
        )
    )
    assert shown(cells) == ["  ".join(row) for row in rows]


@pytest.mark.parametrize("shift", [0, HIGH / 2])
def test_columns_of_prose_are_read_one_after_the_other(shift):
    left = [f"the left side goes on here {n}x" for n in "abcdefgh"]
    right = [f"and the right one goes too {n}y" for n in "abcdefgh"]
    cells = page(
        ("A title that goes over both of the columns of this page", 0, 0),
        *((text, 0, 20 + STEP * y) for y, text in enumerate(left)),
        *((text, 220, 20 + shift + STEP * y) for y, text in enumerate(right)),
    )
    _, *lines = shown(cells)
    assert lines == [*left, *right]


def test_a_small_word_beside_a_large_one_is_on_its_line():
    cells = page(("TOTAL", 0, 0, 30), ("incl. VAT", 200, 18, 8), ("next", 0, 36))
    assert shown(cells) == ["TOTAL  incl. VAT", "next"]


def test_a_word_that_is_printed_twice_for_bold_type_is_one():
    cells = page(("Sum", 0, 0), ("Sum", 0.4, 0.2), ("go", 40, 0), ("go", 70, 0))
    assert shown(cells) == ["Sum  go  go"]


boxes = st.builds(
    lambda x, y, wide, high: Box(x, y, x + wide, y + high),
    *([st.floats(-1e4, 1e4)] * 2),
    *([st.floats(0, 1e3)] * 2),
)


@given(st.lists(st.builds(lambda n, box: Piece(str(n), box, box), st.integers(), boxes)))
@settings(max_examples=200, deadline=None)
def test_no_word_is_lost_wherever_it_stands(pieces):
    distinct = [piece._replace(text=f"{n}.{piece.text}") for n, piece in enumerate(pieces)]
    lines = lines_of(distinct)
    assert sorted(piece.text for line in lines for piece in line) == sorted(
        piece.text for piece in distinct
    )
    assert all(line for line in lines)
