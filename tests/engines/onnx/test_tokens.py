"""An encoder's tokens: what is cut and what stays, padding, and tokenizers that are damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.engines.onnx.tokens import EncoderTokens, stack
from edgeslm.errors import (
    ModelFileError,
)
from tests.helpers.tiny_onnx import LABELS, tokenizer_json


@given(st.data())
def test_truncation_keeps_both_ends_and_the_special_tokens(data: st.DataObject) -> None:
    words = [f"w{i}" for i in range(40)]
    limit = data.draw(st.integers(4, 20))
    text = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=60))
    tokens = EncoderTokens(tokenizer_json(words), limit, where="x")
    ids = tokens(" ".join(text), "middle")["input_ids"].tolist()
    own = [4 + words.index(word) for word in text]
    assert (ids[0], ids[-1]) == (2, 3)
    if len(own) + 2 <= limit:
        assert ids[1:-1] == own
    else:
        kept, room = ids[1:-1], limit - 2
        assert kept == own[: room - room // 2] + own[len(own) - room // 2 :]


def test_rows_are_padded_with_zeros() -> None:
    rows = [{"x": np.array([1, 2, 3])}, {"x": np.array([4])}]
    assert stack(rows)["x"].tolist() == [[1, 2, 3], [4, 0, 0]]


def test_damaged_tokenizers_are_one_error() -> None:
    whole = tokenizer_json(LABELS)
    without_unknown = whole.replace('"[UNK]":1,', "")
    without_special = whole.replace('"id":"[CLS]"', '"id":"[GONE]"')
    assert len({whole, without_unknown, without_special}) == 3
    for text in (without_unknown, without_special):
        with pytest.raises(ModelFileError, match="tokenizer is damaged"):
            EncoderTokens(text, 16, where="x")
