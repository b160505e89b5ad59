"""Texts: which ones are empty, and how two are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.errors import InputError
from edgeslm.formats.text import check_text, fold, is_blank

#: soft hyphen, joiners, marks of direction, byte order mark, variation selector, Hangul filler
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0f\u3164"


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t\r ", "\u00a0\u3000", *INVISIBLE, f" {INVISIBLE}\n"]
)
def test_a_text_that_shows_nothing_is_empty(text: str) -> None:
    assert is_blank(text)
    assert fold(text) == ""
    with pytest.raises(InputError, match=r"^the input is empty.*; give it some text$"):
        check_text(text)


def test_what_is_there_but_invisible_is_said() -> None:
    with pytest.raises(InputError, match="only white space and invisible characters"):
        check_text("\u00ad")


@pytest.mark.parametrize("text", ["x", "\u00adx", "\u0301", "0", "\x00", "😀", "\u200d9"])
def test_a_text_that_shows_something_is_not(text: str) -> None:
    assert not is_blank(text)
    assert check_text(text) == text
    assert fold(text) != ""


@given(st.text(), st.text(f"{INVISIBLE} \n", max_size=4))
def test_the_empty_texts_are_those_that_are_compared_as_nothing(text: str, nothing: str) -> None:
    assert is_blank(text) == (fold(text) == "")
    assert is_blank(nothing + text) == is_blank(text)
