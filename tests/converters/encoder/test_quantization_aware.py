"""Encoders trained as they are rounded: onnxruntime's own rounding, gradients as of none"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization.quant_utils import quantize_data

from converters.encoder import tables
from converters.encoder.heads import HeadSpec
from converters.encoder.model import EncoderModel, load_backbone, load_tokenizer
from converters.encoder.quantization_aware import (
    RoundedLinear,
    round_inputs,
    round_layers,
    round_weights,
)
from converters.encoder.tables import Bits
from converters.onnx.export import export_onnx
from converters.onnx.logits import FileLogits
from converters.onnx.parity import torch_logits
from converters.onnx.quantize import quantize_onnx
from edgeslm.formats.card import Card, ClassifyTask
from tests.helpers.tiny_bert import WORDS, write_tiny_bert

LABELS = ("refund", "address", "total")
TEXTS = [" ".join(WORDS[(i * k) % 6] for k in range(1, 2 + i % 9)) for i in range(30)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("base"))


def encoder(base: Path, *, rounded: bool, bits: Bits = 8) -> EncoderModel:
    torch.manual_seed(1)
    backbone = load_backbone(base)
    with torch.no_grad():  # far from random, where layers hardly change what they are given
        for parameter in backbone.encoder.parameters():
            if parameter.ndim == 2:
                parameter.mul_(15)
    model = EncoderModel(backbone, (HeadSpec("", LABELS),)).eval()
    if rounded:
        round_layers(model.backbone, embedding_bits=bits)
    return model


@pytest.mark.parametrize("bits", [8, 4])
def test_the_logits_are_those_of_the_int8_file(base, tmp_path, monkeypatch, bits):
    """Also where its embeddings are a large table."""
    monkeypatch.setattr(tables, "LARGE_TABLE", 100)
    tokenizer = load_tokenizer(base)
    plain = encoder(base, rounded=False)
    card = Card(name="tiny", licence="mit", task=ClassifyTask(labels=LABELS))
    whole = export_onnx(plain, tokenizer, tmp_path / "float.onnx", card=card, max_tokens=16)
    with FileLogits(
        quantize_onnx(whole, tmp_path / "int8.onnx", "int8", embedding_bits=bits)
    ) as opened:
        wanted = opened(TEXTS)
    ours = torch_logits(encoder(base, rounded=True, bits=bits), tokenizer, TEXTS)
    floats = torch_logits(plain, tokenizer, TEXTS)
    off, lost = np.abs(ours - wanted).mean(), np.abs(floats - wanted).mean()
    assert lost > 1e-4
    assert off < lost / 20


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.02, 1.0, 300.0]))
@settings(max_examples=30, deadline=None)
def test_weights_are_rounded_as_onnxruntime_does(seed, size):
    weight = np.random.default_rng(seed).normal(0, size, (5, 48)).astype(np.float32)
    weight[0] = 0
    wanted = []
    for row in weight:
        _, scale, steps = quantize_data(row, onnx.TensorProto.INT8, True, reduce_range=True)
        wanted.append(steps.astype(np.float32) * np.float32(scale))
    rounded = round_weights(torch.from_numpy(weight)).numpy()
    np.testing.assert_allclose(rounded, np.stack(wanted), rtol=1e-6)


@pytest.fixture(scope="module")
def dynamic() -> Any:
    """Inputs as onnxruntime rounds them."""
    real, steps = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    made = onnx.helper.make_graph(
        [
            onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "rounded",
        [onnx.helper.make_tensor_value_info("x", real, [None, None])],
        [onnx.helper.make_tensor_value_info("y", real, [None, None])],
        value_info=[onnx.helper.make_tensor_value_info("q", steps, [None, None])],
    )
    proto = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


@pytest.mark.parametrize("shift", [-9.0, -1.0, 0.0, 1.0, 9.0])
def test_inputs_are_rounded_as_onnxruntime_does_text_by_text(dynamic, shift):
    """Whatever stands in the padding."""
    x = np.random.default_rng(2).normal(shift, 2, (4, 7, 48)).astype(np.float32)
    lengths = (7, 3, 1, 5)
    mask = torch.tensor([[int(at < length) for at in range(7)] for length in lengths])
    x[mask.numpy() == 0] = 1e6
    all_rounded = round_inputs(torch.from_numpy(x), mask).numpy()
    for text, length, rounded in zip(x, lengths, all_rounded, strict=True):
        np.testing.assert_allclose(rounded[:length], dynamic(text[:length]), rtol=1e-5, atol=1e-6)


def test_padding_changes_no_logit(base):
    model = encoder(base, rounded=True)
    ids = torch.tensor([[4, 7, 8, 5, 0, 0, 0]])
    with torch.no_grad():
        alone = model(ids[:, :4], torch.ones(1, 4, dtype=torch.int64))
        padded = model(ids, (torch.arange(7) < 4).long()[None])
    assert torch.allclose(alone, padded, atol=1e-5)


def test_parameters_keep_their_names_and_values(base):
    plain, rounded = encoder(base, rounded=False), encoder(base, rounded=True)
    assert list(plain.state_dict()) == list(rounded.state_dict())
    assert all(
        torch.equal(value, rounded.state_dict()[name]) for name, value in plain.state_dict().items()
    )


def test_gradients_are_those_of_an_unrounded_layer_at_the_rounded_values(base):
    model = encoder(base, rounded=True)
    layer = model.backbone.encoder.layer[0].intermediate.dense
    assert isinstance(layer, RoundedLinear)
    x = torch.randn(1, 4, layer.weight.shape[1], requires_grad=True)
    mask = torch.ones(1, 4)
    layer._lengths.mask = mask
    layer(x).square().sum().backward()
    near = round_inputs(x.detach(), mask).requires_grad_()
    weight = round_weights(layer.weight.detach()).requires_grad_()
    torch.nn.functional.linear(near, weight, layer.bias.detach()).square().sum().backward()
    assert torch.equal(x.grad, near.grad)
    assert torch.equal(layer.weight.grad, weight.grad)
