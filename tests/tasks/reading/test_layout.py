"""A text's lines, pieces and candidates: where they stand, and how long that may take."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeslm.tasks.reading.layout import TYPED, Layout, _codes, lay_out
from edgeslm.tasks.reading.record import rows_of
from edgeslm.tasks.reading.tokens import unit_spans

PARTS = (
    "TOTAL", " ", "  ", "\t", "\n", "\r\n", ":", "(", ")", "|", "12.50", "1,234.56", "RM", "€",
    "2024-02-01", "01/02/2024", "3 March 2024", "10:30", "A-123/4", "123456-X", "½", "é", "中", "-",
    ".", "x", "\u00a0", "\u200b",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS), max_size=40).map("".join) | st.text(max_size=60)
#: a document's number as one expression, which takes the square of a text's length
CODE = re.compile(r"(?<!\w)(?=[A-Za-z/_.-]*\d)[A-Za-z0-9](?:[A-Za-z0-9/_.#-]*[A-Za-z0-9])?")


def laid_out(text: str, *, words: bool = False) -> Layout:
    return lay_out(text, TYPED, words=words)


@given(TEXTS, st.booleans())
@example("-\n5", False)
@example("5\n-\n\n-3", True)
def test_units_stand_in_the_text_in_its_order(text: str, words: bool) -> None:
    layout = laid_out(text, words=words)
    for line, number in zip(layout.lines, range(len(layout.lines)), strict=True):
        assert line.line == number
        assert "\n" not in text[line.start : line.end]
    for places in (layout.lines, layout.pieces):
        assert all(0 <= place.start < place.end <= len(text) for place in places)
        assert all(a.end <= b.start for a, b in pairwise(places))
    for piece in layout.pieces:
        line = layout.lines[piece.line]
        assert line.start <= piece.start < piece.end <= line.end
        assert text[piece.start : piece.end].strip() == text[piece.start : piece.end]
    for candidates in layout.candidates.values():
        assert [c.start for c in candidates] == sorted(c.start for c in candidates)
        for candidate in candidates:
            assert 0 <= candidate.start < candidate.end <= len(text)
            assert 0 < candidate.likely <= 1
            before = [line for line in layout.lines if line.start <= candidate.start]
            assert candidate.line == max(0, len(before) - 1)


@given(TEXTS, st.booleans())
def test_no_visible_word_of_a_text_is_lost(text: str, words: bool) -> None:
    layout = laid_out(text, words=words)
    kept = "".join(text[piece.start : piece.end] for piece in layout.pieces)
    assert re.findall(r"\w", kept) == re.findall(r"\w", text)


@given(TEXTS, st.booleans())
def test_rows_and_spans_are_those_of_the_units(text: str, words: bool) -> None:
    layout = laid_out(text, words=words)
    rows, spans = rows_of(layout), unit_spans(layout)
    assert len(spans) == layout.units
    assert spans[rows["text"]] == [(0, len(text))]
    assert spans[rows["pieces"]] == [(piece.start, piece.end) for piece in layout.pieces]
    for kind, candidates in layout.candidates.items():
        assert spans[rows[kind]] == [(c.start, c.end) for c in candidates]


def test_lines_fall_into_pieces_at_gaps_names_and_brackets() -> None:
    text = "SHOP  (123456-X)\nTotal: 12.50 | cash"
    own = [text[piece.start : piece.end] for piece in laid_out(text).pieces]
    assert own == ["SHOP", "(123456-X)", "Total:", "12.50", "cash"]
    own = [text[piece.start : piece.end] for piece in laid_out(text, words=True).pieces]
    assert own == ["SHOP", "(123456-X)", "Total:", "12.50", "|", "cash"]


def test_candidates_are_read_by_kind() -> None:
    layout = laid_out("No: A-123/4\n2024-02-01 10:30\nTotal 1,234.50")
    assert layout.candidates["code"][0].value == "A-123/4"
    assert layout.candidates["date"][0].value == "2024-02-01"
    assert layout.candidates["time"][0].value.startswith("10:30")
    assert str(layout.candidates["number"][-1].value) == "1234.50"
    assert [layout.candidates[kind][0].line for kind in TYPED] == [1, 1, 0, 0]
    assert lay_out("12.50", ["date"]).candidates == {"date": ()}


@given(st.text("aZ12/_.-#  ٣é\n", max_size=20))
def test_codes_are_those_of_their_expression(text: str) -> None:
    assert [*_codes(text)] == [match.span() for match in CODE.finditer(text)]


@pytest.mark.parametrize("text", ["a." * 25_000, "a/" * 24_999 + "1", "a#1" * 17_000, "é1_" * 9000])
def test_codes_of_a_long_text_take_no_square_of_its_length(text: str) -> None:
    start = time.process_time()
    lay_out(text, ["code"])
    assert time.process_time() - start < 1  # the expression takes 20 s for the first one
