"""Heads of an encoder: losses and scores against their definitions, rows that fit no head"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from converters.data.rows import Row
from converters.encoder.heads import (
    EncodedText,
    HeadLosses,
    HeadSpec,
    encode_texts,
    macro_f1,
    score_heads,
)
from converters.encoder.model import load_tokenizer
from converters.errors import DataError
from tests.helpers.tiny_bert import write_tiny_bert

HEADS = (HeadSpec("a", ("x", "y")), HeadSpec("b", ("p", "q", "r"), multi_label=True))


def texts(*answers: tuple[tuple[int, ...], tuple[int, ...]]) -> list[EncodedText]:
    return [EncodedText(str(at), (1,), answer) for at, answer in enumerate(answers)]


def test_the_loss_is_that_of_its_definition():
    rows = texts(((0,), (0, 2)), ((0,), ()), ((1,), (1,)))
    logits = torch.tensor([[1.0, -1, 2, 0, 1], [0.5, 0, -1, -1, 3], [0, 0, 1, 1, 1]])
    plain = HeadLosses(HEADS, rows, label_smoothing=0.1, class_weights=False, device="cpu")
    shares = logits[:, :2].softmax(1)
    smooth = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.05, 0.95]])
    single = -(smooth * shares.log()).sum(1).mean()
    held = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]]) * 0.9 + 0.05
    odds = logits[:, 2:].sigmoid()
    several = -(held * odds.log() + (1 - held) * (1 - odds).log()).mean()
    assert float(plain(logits, rows)) == pytest.approx(float((single + several) / 2), rel=1e-5)


def test_class_weights_make_rare_labels_weigh_as_much():
    """With equal logits, the gradient of a balanced loss is zero over all rows."""
    rows = texts(*[((0,), (0,))] * 3, ((1,), ()))
    logits = torch.zeros(4, 5, requires_grad=True)
    losses = HeadLosses(HEADS, rows, label_smoothing=0, class_weights=True, device="cpu")
    torch.autograd.backward(losses(logits, rows))
    assert logits.grad is not None
    total = logits.grad.sum(0)
    assert total[0].item() == pytest.approx(0, abs=1e-6)
    assert total[2].item() == pytest.approx(0, abs=1e-6)
    plain = HeadLosses(HEADS, rows, label_smoothing=0, class_weights=False, device="cpu")
    logits.grad = None
    torch.autograd.backward(plain(logits, rows))
    assert abs(logits.grad.sum(0)[0].item()) > 0.1


def test_a_row_of_weight_three_is_three_rows():
    heavy, light = texts(((0,), (0, 2)), ((1,), (1,)))
    logits = torch.tensor([[1.0, -1, 2, 0, 1], [0.5, 0, -1, -1, 3]])
    weighed = [replace(heavy, weight=1.5), replace(light, weight=0.5)]
    copies = [heavy, heavy, heavy, light]

    def loss(rows, at):
        losses = HeadLosses(HEADS, rows, label_smoothing=0.1, class_weights=False, device="cpu")
        return losses(logits[at], rows).item()

    assert loss(weighed, [0, 1]) == pytest.approx(loss(copies, [0, 0, 0, 1]), rel=1e-5)
    # batches of one row each are worth as much in sum as the two together
    halves = [loss(weighed[:1], [0]), loss(weighed[1:], [1])]
    assert sum(halves) / 2 == pytest.approx(loss(weighed, [0, 1]), rel=1e-5)


def test_class_weights_count_rows_by_their_weights():
    pair = texts(((0,), ()), ((1,), ()))
    rows = [replace(row, weight=w) for row, w in zip(pair, (1.5, 0.5), strict=True)]
    logits = torch.zeros(2, 5, requires_grad=True)
    losses = HeadLosses(HEADS, rows, label_smoothing=0, class_weights=True, device="cpu")
    torch.autograd.backward(losses(logits, rows))
    assert logits.grad is not None
    assert logits.grad.sum(0)[0].item() == pytest.approx(0, abs=1e-6)


def test_scores_by_hand():
    rows = texts(((0,), (0, 2)), ((1,), ()), ((1,), (1,)))
    logits = torch.tensor([[9.0, 0, 9, -9, 9], [0, 9, -9, -9, -9], [9, 0, -9, -9, 9]])
    scores = score_heads(HEADS, rows, logits, 0.25)
    # accuracy 2/3; F1 of p 1, of q 0, of r 2/3
    assert scores.metric == pytest.approx((2 / 3 + (1 + 0 + 2 / 3) / 3) / 2)
    assert scores.exact == pytest.approx(2 / 3)
    assert scores.loss == 0.25


def test_macro_f1_at_its_ends():
    assert macro_f1([()], [()]) == 1
    assert macro_f1([(0,)], [(1,)]) == 0
    assert macro_f1([(0, 1)], [(0, 1)]) == 1


def test_rows_that_cannot_be_learned_from_are_named(tmp_path):
    tokenizer = load_tokenizer(write_tiny_bert(tmp_path))
    heads = (HeadSpec("", ("refund", "total")),)
    with pytest.raises(DataError, match=r"row long: 7 tokens, over the 6 of encoder.max_tokens"):
        encode_texts([Row("long", "all " * 5, "refund")], heads, tokenizer, max_tokens=6)
    for answer in ("other", ["refund"], None, {"": "refund"}):
        with pytest.raises(DataError, match=r"row odd: .* is no answer for the task"):
            encode_texts([Row("odd", "all", answer)], heads, tokenizer, max_tokens=6)
    for answer in ({"a": "x"}, {"a": ["x"], "b": []}, {"a": "x", "b": ["z"]}, "x"):
        with pytest.raises(DataError, match=r"row odd: .* is no answer for head '[ab]'"):
            encode_texts([Row("odd", "all", answer)], HEADS, tokenizer, max_tokens=6)
