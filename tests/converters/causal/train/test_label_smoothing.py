"""Label smoothing: what is asked for at each token, against a plain loop and torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from converters.causal.train.label_smoothing import LabelSmoothing
from converters.recipe.recipe import Recipe
from tests.helpers.recipes import classify, extract

VOCABULARY = 8
LABELS = [(1, 2, 7), (1, 3, 7), (1, 7), (4, 7), (5, 6, 6, 7)]


def smoothed(labels, share, logits, answers):
    targets = torch.tensor([token for answer in answers for token in answer])
    return LabelSmoothing(labels, share).losses(logits, targets, answers).mean()


def looped(logits, answers, labels, share):
    """The definition, one token at a time."""
    total, at = 0.0, 0
    for answer in answers:
        for i, token in enumerate(answer):
            chances = torch.log_softmax(logits[at], -1)
            among = sorted({o[i] for o in labels if len(o) > i and o[:i] == answer[:i]})
            wanted = torch.zeros(VOCABULARY)
            wanted[among] = share / len(among)
            wanted[token] += 1 - share
            total -= float(wanted @ chances)
            at += 1
    return total / at


@settings(max_examples=60, deadline=None)
@given(
    answers=st.lists(st.sampled_from(LABELS), min_size=1, max_size=6),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_it_is_what_a_loop_over_the_tokens_says(answers, share, seed):
    torch.manual_seed(seed)
    logits = 4 * torch.randn(sum(map(len, answers)), VOCABULARY)
    loss = smoothed(LABELS, share, logits, answers)
    assert float(loss) == pytest.approx(looped(logits, answers, LABELS, share), rel=1e-5)


def test_nothing_smoothed_is_cross_entropy():
    logits = torch.randn(5, VOCABULARY)
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 3, 7, 4, 7]))
    loss = smoothed(LABELS, 0.0, logits, [LABELS[1], LABELS[3]])
    assert float(loss) == pytest.approx(float(plain), rel=1e-6)


def test_labels_of_one_token_each_are_torchs_own_smoothing():
    labels = [(token,) for token in range(VOCABULARY)]
    logits = torch.randn(3, VOCABULARY)
    own = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0, 5]), label_smoothing=0.2)
    loss = smoothed(labels, 0.2, logits, [(2,), (0,), (5,)])
    assert float(loss) == pytest.approx(float(own), rel=1e-6)


def test_the_gradient_leaves_a_doubt_among_the_labels_alone():
    logits = torch.zeros(1, VOCABULARY, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=2.0)
    for _ in range(2000):
        optimizer.zero_grad()
        smoothed([(0,), (1,), (2,), (3,)], 0.2, logits, [(1,)]).backward()
        optimizer.step()
    shares = logits.detach().softmax(-1)[0].tolist()
    assert shares[:4] == pytest.approx([0.05, 0.85, 0.05, 0.05], abs=0.01)
    assert sum(shares[4:]) < 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (extract("rows.jsonl").model_dump(mode="json", by_alias=True), "classify task"),
        (
            {
                **classify("rows.jsonl", labels=["a", "b"]).model_dump(mode="json", by_alias=True),
                "kind": "encoder",
                "base": "folder",
                "prompt": {},
            },
            "encoder.label_smoothing",
        ),
    ],
)
def test_where_it_makes_no_sense_it_is_refused(fields, message):
    Recipe.model_validate(fields)
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({**fields, "train": {**fields["train"], "label_smoothing": 0.1}})
