"""Windows over a text's tokens: each token once, in its best window, and each unit's own run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.tasks.reading.layout import TYPED, lay_out
from edgeslm.tasks.reading.tokens import in_windows, unit_spans
from tests.tasks.reading.test_layout import TEXTS

BEGIN, END = 7, 8


@st.composite
def tokenized(draw):
    """A text, and places of tokens in its order, which need not cover it."""
    text = draw(TEXTS)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=40)))
    spans = [*pairwise(cuts)]
    kept = draw(st.lists(st.booleans(), min_size=len(spans), max_size=len(spans)))
    return text, [span for span, keep in zip(spans, kept, strict=True) if keep]


@given(tokenized(), st.integers(3, 16), st.booleans())
def test_each_token_is_found_in_its_window_and_each_unit_has_its_own(given_text, size, words):
    text, offsets = given_text
    ids = [100 + at for at in range(len(offsets))]
    layout = lay_out(text, TYPED, words=words)
    windows = in_windows(ids, offsets, layout, size=size, begin=BEGIN, end=END)
    assert windows.input_ids.shape == windows.attention_mask.shape
    assert windows.input_ids.shape[1] <= size
    assert windows.input_ids.reshape(-1)[windows.order].tolist() == ids
    for row, mask in zip(windows.input_ids, windows.attention_mask, strict=True):
        count = int(mask.sum())
        assert mask.tolist() == [1] * count + [0] * (len(mask) - count)
        assert row[0] == BEGIN
        assert row[count - 1] == END
        inner = row[1 : count - 1].tolist()
        assert inner == [*range(inner[0], inner[0] + len(inner))] if inner else count == 2
    for (start, stop), first, behind in zip(
        unit_spans(layout), windows.starts, windows.ends, strict=True
    ):
        own = [at for at, (a, b) in enumerate(offsets) if a < stop and b > start]
        assert [*range(first, behind)] == own


@given(st.integers(0, 200), st.integers(3, 40))
def test_a_token_s_window_shows_as_much_around_it_as_any(count, size):
    text = "x" * count
    layout = lay_out(text, [])
    offsets = [(at, at + 1) for at in range(count)]
    windows = in_windows(range(count), offsets, layout, size=size, begin=BEGIN, end=END)
    length = windows.input_ids.shape[1]
    room = size - 2
    for token, place in enumerate(windows.order.tolist()):
        row, at = divmod(place, length)
        before, behind = at - 1, windows.attention_mask[row].sum() - 2 - at
        first, last = token - before == 0, token + behind == count - 1
        shown = min(count if first else before, count if last else behind)
        assert shown >= min(count, room // 4)


def test_a_text_without_tokens_has_one_empty_window():
    windows = in_windows([], [], lay_out("x", ["code"]), size=8, begin=BEGIN, end=END)
    assert windows.input_ids.tolist() == [[BEGIN, END]]
    assert windows.order.size == 0
    assert np.array_equal(windows.starts, windows.ends)
