"""Quantization-aware training: rounded as llama.cpp rounds, with an unrounded layer's gradients"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from converters.causal.train.fused_lora import fuse
from converters.causal.train.quantization_aware import RoundedWeights, round_q4_0
from edgeslm.engines.llama.quantize import quantize as quantize_file
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.tiny_hf import write_tiny_hf

Q4_0 = gguf.GGMLQuantizationType.Q4_0
TARGETS = ["q_proj", "down_proj"]
IDS = torch.arange(3, 43).unsqueeze(0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_tiny_hf(tmp_path_factory.mktemp("base"), "llama")


def adapted(base: Any) -> Any:
    torch.manual_seed(2)
    copy = type(base)(base.config)
    copy.load_state_dict(base.state_dict())
    made = get_peft_model(copy, LoraConfig(r=4, lora_alpha=7, target_modules=TARGETS))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return made


def loss(model: Any) -> torch.Tensor:
    states = model.get_base_model()(IDS).logits
    return states.square().mean()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.02, 1.0, 300.0]))
@settings(max_examples=40, deadline=None)
def test_rounding_is_that_of_the_file_format(seed, size):
    weight = np.random.default_rng(seed).normal(0, size, (7, 96)).astype(np.float32)
    weight[0, :32] = 0
    weight[1, :32] = size  # all the same: the first is the scale
    wanted = dequantize(quantize(weight, Q4_0), Q4_0)
    rounded = round_q4_0(torch.from_numpy(weight)).numpy()
    np.testing.assert_array_equal(rounded, wanted)


def test_rounding_is_llama_cpps(tmp_path: Path):
    """Of a whole file, without an importance matrix."""
    weight = np.random.default_rng(1).normal(0, 0.05, (256, 256)).astype(np.float32)
    from tests.helpers.tiny_gguf import write_tiny_gguf

    source = write_tiny_gguf(tmp_path / "f32.gguf")
    quantize_file(source, tmp_path / "q4.gguf", "Q4_0", embeddings="Q8_0")
    before = {t.name: t for t in gguf.GGUFReader(source).tensors}
    compared = 0
    for tensor in gguf.GGUFReader(tmp_path / "q4.gguf").tensors:
        if tensor.tensor_type == Q4_0:
            weight = dequantize(
                before[tensor.name].data, gguf.GGMLQuantizationType(before[tensor.name].tensor_type)
            )
            rounded = round_q4_0(torch.from_numpy(np.array(weight, np.float32))).numpy()
            np.testing.assert_array_equal(rounded, dequantize(tensor.data, Q4_0))
            compared += 1
    matrices = [t for t in read_gguf(source).tensors if t.name.startswith("blk.")]
    assert compared == len([t for t in matrices if len(t.shape) == 2]) > 0


def test_the_model_computes_with_what_it_will_be_quantized_to(base):
    model = adapted(base)
    merged = adapted(base).merge_and_unload()
    for module in merged.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = round_q4_0(module.weight.data)
    rounded = RoundedWeights(model.get_base_model())
    rounded.refresh()
    with torch.no_grad():
        expected = float(merged(IDS).logits.square().mean())
        assert float(loss(model)) == pytest.approx(expected, rel=1e-5)
        assert float(loss(adapted(base))) != pytest.approx(expected, rel=1e-4)
        fuse(model)
        assert float(loss(model)) == pytest.approx(expected, rel=1e-5)


def test_rounding_again_follows_the_adapter_alone(base):
    model = adapted(base)
    rounded = RoundedWeights(model.get_base_model())
    rounded.refresh()
    before = {n: p.clone() for n, p in model.named_parameters() if "base_layer" in n}
    rounded.refresh()
    for name, parameter in model.named_parameters():
        if name in before:
            assert torch.equal(parameter, before[name]), name
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(3)
    rounded.refresh()
    assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)


def test_gradients_pass_the_rounding(base):
    """Those of the factors, at the rounded weights."""
    model = adapted(base)
    RoundedWeights(model.get_base_model()).refresh()
    loss(model).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name
        assert parameter.grad is None or parameter.grad.abs().max() > 0
