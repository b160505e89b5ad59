"""The label trie gives each label the probability it has alone, whatever labels share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeslm.decoding.label_scores import (
    LabelTokens,
    log_softmax_at,
    score_labels,
    tokenize_labels,
)
from edgeslm.engines.engine import Batch, Logits, drive
from edgeslm.errors import LabelError
from edgeslm.tasks.decision import softmax
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES, prefilled

#: prefixes of each other, shared words, non-ASCII, one letter, long
LABELS = [
    "a",
    "ab",
    "abc",
    "the",
    "the total",
    "the total due",
    "é",
    "été",
    "退款",
    "card lost",
    "card stolen",
    "x" * 40,
]


def score(
    engine: ScriptedEngine, labels: Sequence[LabelTokens], row: Logits, length: int
) -> tuple[NDArray[np.float64], int]:
    forks = range(2, engine.max_sequences)
    steps = score_labels(engine, labels, sequence=0, length=length, row=row, forks=forks)
    return drive(engine, steps)


def alone(engine: ScriptedEngine, labels, length, row) -> np.ndarray:
    """Each label by itself on a forked sequence: the definition."""
    scores = []
    for tokens in labels:
        engine.fork(0, 1)
        score = log_softmax_at(row, tokens[:1])[0]
        rows = engine.evaluate(Batch.run(tokens[:-1], length, 1, wanted=len(tokens) - 1))
        for after, token in zip(rows, tokens[1:], strict=True):
            score += log_softmax_at(after, [token])[0]
        scores.append(score)
        engine.truncate(1, 0)
    return np.asarray(scores)


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(
        st.text("ab é退\n", min_size=1, max_size=6).filter(str.strip),
        min_size=2,
        max_size=12,
        unique=True,
    ),
    seed=st.integers(0, 999),
    outputs=st.integers(6, 64),
    sequences=st.integers(3, 40),
)
def test_the_trie_equals_each_label_alone(texts, seed, outputs, sequences):
    engine = ScriptedEngine(
        seed=seed, pieces=PIECES, max_outputs=outputs * 3, max_sequences=sequences
    )
    labels = tokenize_labels(texts, engine)
    row, length = prefilled(engine)
    scores, decodes = score(engine, labels, row, length)
    np.testing.assert_array_equal(scores, alone(engine, labels, length, row))
    read_only = max(map(len, labels)) == 1
    assert decodes == 0 if read_only else decodes >= math.ceil(len(labels) / (sequences - 2))
    assert softmax(scores).sum() == pytest.approx(1, abs=1e-9)


def test_labels_that_are_prefixes_of_others():
    engine = ScriptedEngine("ab", sharpness=30.0)
    labels = tokenize_labels(LABELS, engine)
    row, length = prefilled(engine)
    scores, decodes = score(engine, labels, row, length)
    shares = softmax(scores)
    assert LABELS[int(shares.argmax())] == "ab"
    assert shares.max() > 0.99
    assert decodes == 1


def test_shared_tokens_are_evaluated_once():
    engine = ScriptedEngine()
    labels = tokenize_labels(["card lost", "card stolen"], engine)
    row, length = prefilled(engine)
    score(engine, labels, row, length)
    assert len(engine.evaluated[-1].tokens) == len("card ") + len("lost") + len("stolen")


def test_labels_of_one_token_each_are_read_behind_the_prompt():
    engine = ScriptedEngine()
    labels = tokenize_labels(["a", "b", "c"], engine)
    assert [len(tokens) for tokens in labels] == [1, 1, 1]
    row, length = prefilled(engine)
    before = len(engine.evaluated)
    scores, decodes = score(engine, labels, row, length)
    assert decodes == 0
    assert len(engine.evaluated) == before
    np.testing.assert_array_equal(scores, log_softmax_at(row, [tokens[0] for tokens in labels]))


def test_one_longer_label_keeps_every_terminator():
    engine = ScriptedEngine()
    end = engine.vocab.end[0]
    assert all(tokens[-1] == end for tokens in tokenize_labels(["a", "b", "ab"], engine))


def test_what_forks_held_before_does_not_matter():
    engine = ScriptedEngine()
    labels = tokenize_labels(LABELS, engine)
    row, length = prefilled(engine)
    first, _ = score(engine, labels, row, length)
    again, _ = score(engine, labels, row, length)
    np.testing.assert_array_equal(first, again)


def test_temperature_flattens_and_keeps_the_order():
    scores = np.log([0.6, 0.3, 0.1])
    assert softmax(scores) == pytest.approx([0.6, 0.3, 0.1])
    flat = softmax(scores, 4.0)
    assert flat.sum() == pytest.approx(1)
    assert list(np.argsort(flat)) == [2, 1, 0]
    assert flat[0] < 0.5
    assert softmax(np.asarray([-3000.0, -3001.0])).sum() == pytest.approx(1)  # no underflow


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a"], "two labels"),
        (["a", " "], "empty"),
        (["a", "a"], "the same to the model"),
        ([], "two labels"),
    ],
)
def test_label_sets_that_make_no_sense(texts, message):
    with pytest.raises(LabelError, match=message):
        tokenize_labels(texts, ScriptedEngine())


def test_a_label_longer_than_a_batch_is_refused():
    engine = ScriptedEngine(max_outputs=16)
    labels = tokenize_labels(["x" * 17, "y"], engine)
    row, length = prefilled(engine)
    with pytest.raises(LabelError, match="verbalizer"):
        score(engine, labels, row, length)
