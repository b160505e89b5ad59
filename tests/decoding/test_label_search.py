"""Labels that cannot matter are not followed, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeslm.decoding.label_scores import LabelTokens, score_labels, tokenize_labels
from edgeslm.decoding.label_search import UNDECIDED, LabelTrie, search_labels
from edgeslm.decoding.session import Session
from edgeslm.engines.engine import Logits, drive
from edgeslm.errors import LabelError
from edgeslm.formats.card import LabelSpec, PromptSpec
from edgeslm.tasks.classification import LanguageClassifier
from edgeslm.tasks.decision import softmax
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES, prefilled

Scored = tuple[NDArray[np.float64], int]


def searched(
    engine: ScriptedEngine, labels: Sequence[LabelTokens], row: Logits, length: int, t: float = 1.0
) -> Scored:
    forks = range(2, engine.max_sequences)
    steps = search_labels(
        engine, LabelTrie(labels), sequence=0, length=length, row=row, forks=forks, temperature=t
    )
    return drive(engine, steps)


def exact(
    engine: ScriptedEngine, labels: Sequence[LabelTokens], row: Logits, length: int
) -> Scored:
    forks = range(2, engine.max_sequences)
    return drive(
        engine,
        score_labels(engine, labels, sequence=0, length=length, row=row, forks=forks),
    )


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(
        st.text("ab é退\n", min_size=1, max_size=6).filter(str.strip),
        min_size=2,
        max_size=30,
        unique=True,
    ),
    wanted=st.sampled_from(["", "ab", "aba", "é", "b b", "zzz"]),
    seed=st.integers(0, 999),
    sharpness=st.sampled_from([0.0, 6.0, 12.0, 30.0]),
    temperature=st.sampled_from([0.3, 1.0, 1.0, 1.7, 6.0]),
    outputs=st.integers(18, 64),
    sequences=st.integers(3, 40),
)
def test_the_bound_holds(texts, wanted, seed, sharpness, temperature, outputs, sequences):
    engine = ScriptedEngine(
        wanted,
        seed=seed,
        pieces=PIECES,
        sharpness=sharpness,
        max_outputs=outputs,
        max_sequences=sequences,
    )
    labels = tokenize_labels(texts, engine)
    row, length = prefilled(engine)
    true, _ = exact(engine, labels, row, length)
    scores, _ = searched(engine, labels, row, length, temperature)
    followed = scores == true
    true_shares, shares = softmax(true, temperature), softmax(scores, temperature)
    assert true_shares[~followed].sum() <= UNDECIDED
    assert shares.argmax() == true_shares.argmax()
    assert followed[shares.argmax()]
    np.testing.assert_allclose(shares, true_shares, rtol=0, atol=UNDECIDED)


def many(engine: ScriptedEngine) -> tuple[LabelTokens, ...]:
    return tokenize_labels([f"{a}{b}{c}" for a in "pqrst" for b in "uvw" for c in "xyz"], engine)


def test_labels_of_one_token_each_need_no_decode():
    engine = ScriptedEngine()
    labels = tokenize_labels(list("abcdef"), engine)
    row, length = prefilled(engine)
    true, _ = exact(engine, labels, row, length)
    before = len(engine.evaluated)
    scores, decodes = searched(engine, labels, row, length)
    assert decodes == 0
    assert len(engine.evaluated) == before
    np.testing.assert_array_equal(scores, true)


def test_one_sure_label_is_followed_alone():
    engine = ScriptedEngine("qvy", sharpness=40.0)
    labels = many(engine)
    row, length = prefilled(engine)
    scores, decodes = searched(engine, labels, row, length)
    assert softmax(scores)[15 * 0 + 9 + 3 + 1] > 0.99
    assert decodes == 3
    assert [len(batch.tokens) for batch in engine.evaluated[-3:]] == [1, 1, 1]


def test_what_follows_without_a_choice_is_one_batch():
    engine = ScriptedEngine("abcdef", sharpness=40.0)
    labels = tokenize_labels(["abcdef", "xyz", "abcxyz"], engine)
    row, length = prefilled(engine)
    _, decodes = searched(engine, labels, row, length)
    assert [len(batch.tokens) for batch in engine.evaluated[-2:]] == [3, 3]
    assert decodes == 2


def test_alike_labels_are_all_followed():
    engine = ScriptedEngine(sharpness=0.0)
    labels = many(engine)
    row, length = prefilled(engine)
    assert np.array_equal(
        searched(engine, labels, row, length)[0], exact(engine, labels, row, length)[0]
    )


def test_a_model_that_wants_no_label_is_asked_in_whole():
    engine = ScriptedEngine("q!", sharpness=40.0)  # behind the q none of the labels goes on so
    labels = many(engine)
    row, length = prefilled(engine)
    before = len(engine.evaluated)
    scores, decodes = searched(engine, labels, row, length)
    assert len(engine.evaluated) - before == decodes <= 6
    assert np.array_equal(scores, exact(engine, labels, row, length)[0])


def test_with_few_forks_the_rest_is_scored_in_whole():
    engine = ScriptedEngine(sharpness=0.0, max_sequences=5)
    labels = many(engine)
    row, length = prefilled(engine)
    assert np.array_equal(
        searched(engine, labels, row, length)[0], exact(engine, labels, row, length)[0]
    )


def test_scores_that_underflow_are_told_apart():
    engine = ScriptedEngine()
    labels = tokenize_labels(["a" * 20, "a" * 19 + "b", "b" * 21, "c" * 22], engine)
    row, length = prefilled(engine)
    cold = 0.1
    scores, _ = searched(engine, labels, row, length, cold)
    true, _ = exact(engine, labels, row, length)
    assert np.exp(true / cold).max() == 0
    np.testing.assert_allclose(softmax(scores, cold), softmax(true, cold), rtol=0, atol=UNDECIDED)


def test_a_label_longer_than_a_batch_is_refused():
    engine = ScriptedEngine(max_outputs=16)
    labels = tokenize_labels(["x" * 17, "y"], engine)
    row, length = prefilled(engine)
    with pytest.raises(LabelError, match="verbalizer"):
        searched(engine, labels, row, length)


def test_a_classifier_follows_all_labels_if_asked_to():
    engine = ScriptedEngine("qv", sharpness=40.0)
    names = [f"{a}{b}" for a in "pqr" for b in "uvy"]
    with_all = LanguageClassifier(
        Session(engine), [LabelSpec(name=name) for name in names], PromptSpec(user="{{ text }}")
    )
    quick, whole = with_all("text"), with_all("text", all_labels=True)
    assert quick.label == whole.label
    assert quick.timing.decodes > 0
    assert quick.probabilities == pytest.approx(whole.probabilities, abs=UNDECIDED)
    assert quick.probabilities != whole.probabilities
    assert sum(quick.probabilities.values()) == pytest.approx(1)
    for text, by_map in zip(
        ("text", "other"), with_all.map(["text", "other"], all_labels=True), strict=True
    ):
        assert by_map.probabilities == with_all(text, all_labels=True).probabilities
