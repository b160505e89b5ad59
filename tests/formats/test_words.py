"""Words: cuts never break a grapheme cluster or a word, and lose nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.formats.words import is_mark, one_line, parts


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("RM12.50 l'eau", ["RM", "12", ".", "50", " ", "l", "'", "eau"]),
        ("Cafe\u0301 7\u20e3", ["Cafe\u0301", " ", "7\u20e3"]),
        ("नमस्ते", ["नमस्ते"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("ភ្នំពេញ", ["ភ្នំ", "ពេ", "ញ"]),
        ("東京都", ["東", "京", "都"]),
        ("서울", ["서", "울"]),
        (unicodedata.normalize("NFD", "서울"), [unicodedata.normalize("NFD", c) for c in "서울"]),
        ("👩‍👩‍👧🇩🇪🇫🇷", ["👩‍👩‍👧", "🇩🇪", "🇫🇷"]),
        ("ｶﾞ", ["ｶﾞ"]),
        ("co\u00adop", ["co\u00adop"]),
    ],
)
def test_parts(text, cut):
    assert parts(text) == cut


@given(st.text())
def test_parts_joined_are_the_text_and_none_begins_with_a_mark(text):
    flat = one_line(text)
    pieces = parts(flat)
    assert "".join(pieces) == flat
    assert not any(is_mark(part[0]) for part in pieces)
    assert one_line(flat) == flat
