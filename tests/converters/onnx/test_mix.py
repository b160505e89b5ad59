"""An encoder and a linear model together: scales that rows decide, one file that adds them up"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime

from converters.data.rows import Row
from converters.encoder import tables
from converters.encoder.heads import HeadSpec
from converters.encoder.model import EncoderModel, load_backbone, load_tokenizer
from converters.onnx.export import export_onnx
from converters.onnx.logits import FileLogits
from converters.onnx.mix import adjust_logits, fit_scales, mix_in_linear
from converters.onnx.parity import torch_logits
from converters.onnx.quantize import SCHEMES, quantize_onnx
from converters.recipe.recipe import Encoder, Recipe
from edgeslm.formats.card import Card, ClassifyTask
from edgeslm.formats.onnx.info import read_onnx
from tests.helpers.recipes import classify
from tests.helpers.tiny_bert import WORDS, write_tiny_bert

LABELS = ("refund", "address", "total")
FEATURES = 30


def recipe() -> Recipe:
    beside = Encoder(linear_features=FEATURES)
    return classify("x.jsonl", labels=[*LABELS]).model_copy(update={"encoder": beside})


def rows(start: int) -> list[Row]:
    others = [word for word in WORDS if word not in LABELS]
    return [
        Row(f"{start}.{i}", f"{others[i % 3]} {label} {others[(i // 3 + start) % 3]}", label)
        for i in range(12)
        for label in LABELS
    ]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    return write_tiny_bert(folder)


def encoder(base: Path) -> EncoderModel:
    torch.manual_seed(3)
    return EncoderModel(load_backbone(base), (HeadSpec("", LABELS),)).eval()


def test_a_model_that_knows_counts_and_one_that_guesses_does_not():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, 2000)
    knows = (2 * np.eye(3)[truth] + draw.normal(0, 1, (2000, 3))).astype(np.float32)
    guesses = draw.normal(0, 3, (2000, 3)).astype(np.float32)
    first, second = fit_scales(knows, guesses, truth)
    assert first == pytest.approx(2, rel=0.2)  # of two normal clouds so far apart
    assert second < 0.1
    assert fit_scales(guesses, knows, truth) == pytest.approx((second, first), abs=1e-3)


def test_no_other_scales_are_likelier():
    draw = np.random.default_rng(1)
    truth = draw.integers(0, 4, 300)
    both = [(np.eye(4)[truth] + draw.normal(0, 1, (300, 4))).astype(np.float32) for _ in range(2)]

    def loss(scales):
        total = scales[0] * both[0] + scales[1] * both[1]
        return float(np.mean(np.log(np.exp(total).sum(1)) - total[np.arange(300), truth]))

    scales = np.array(fit_scales(both[0], both[1], truth))
    assert np.abs(approx_fprime(scales, loss, 1e-6)).max() < 1e-3
    assert loss(scales) < min(
        loss(scales + step) for step in ([0.1, 0], [-0.1, 0], [0, 0.1], [0, -0.1])
    )


@pytest.mark.parametrize("bits", [4, 8])
def test_one_file_adds_both_up(base, tmp_path, monkeypatch, bits):
    monkeypatch.setattr(tables, "LARGE_TABLE", 60)
    model, tokenizer = encoder(base), load_tokenizer(base)
    texts = [row.input for row in rows(2)]
    alone = torch_logits(model, tokenizer, texts)
    said: list[str] = []
    linear = mix_in_linear(recipe(), model, tokenizer, rows(0), rows(1), report=said.append)
    assert linear.spec.size == FEATURES
    assert said[-1].startswith("the encoder's logits count ")
    scaled = torch_logits(model, tokenizer, texts)
    assert not np.allclose(scaled, alone)
    whole = export_onnx(
        model,
        tokenizer,
        tmp_path / "whole.onnx",
        card=Card(name="tiny", licence="MIT", task=recipe().task),
        max_tokens=16,
        linear=linear,
    )
    info = read_onnx(whole)
    assert (info.kind, info.reads_with) == ("encoder", "tokenizer and feature list")
    wanted = scaled + linear.logits(texts)
    with FileLogits(whole) as opened:
        np.testing.assert_allclose(opened(texts), wanted, atol=1e-5)
    assert [LABELS[i] for i in wanted.argmax(1)] == [row.answer for row in rows(2)]
    for scheme in SCHEMES:
        small = quantize_onnx(whole, tmp_path / "small.onnx", scheme, embedding_bits=bits)
        with FileLogits(small) as opened:
            assert np.abs(opened(texts) - wanted).mean() < 0.1 * np.abs(wanted).mean()


def test_rare_labels_are_favoured_by_their_share_of_inputs(base):
    """A text counts once, however many rows it stands for, with its commonest label."""
    model, task = encoder(base), ClassifyTask(labels=LABELS)
    before = model.head.bias.detach().numpy().copy()
    texts = [("a", "refund", 9), ("b", "refund", 1), ("C", "address", 5), ("c", "total", 1)]
    adjust_logits(model, task, [Row(t, t, label, count=n) for t, label, n in texts], 0.5)
    favour = model.head.bias.detach().numpy() - before
    np.testing.assert_allclose(favour, -0.5 * np.log(np.array([3, 2, 1]) / 6), atol=1e-6)
