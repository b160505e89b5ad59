"""peft -> adapter file: merged by torch and merged without it are the same weights"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.lora import half, logits_of, write_base

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("transformers")

import torch

from converters.causal.adapter import read_peft, tensor_names
from converters.causal.base import load_base
from converters.causal.merge import merge_hf
from converters.errors import BaseModelError
from edgeslm.formats.gguf.adapter import write_adapter
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.store.assemble import merge_float

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module", params=["F32", "Q4_1"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf", quant=request.param)


def trained(base: Path, folder: Path, **config: Any) -> Path:
    """What peft saves after training, with random factors that 16 bits hold."""
    import peft

    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": TARGETS,
        "layers_to_transform": [1],
        "task_type": "CAUSAL_LM",
    }
    model = peft.get_peft_model(load_base(base), peft.LoraConfig(**(arguments | config)))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight).mul(0.1).half())
    model.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"layers_to_transform": None}])
def test_both_merges_give_the_same_weights(base: Path, tmp_path: Path, config):
    """transformers reads a GGUF with the inverse of the permutation under test."""
    folder = trained(base, tmp_path / "peft", **config)
    write_adapter(tmp_path / "adapter.gguf", read_peft(folder, read_gguf(base)))
    merge_float(base, tmp_path / "adapter.gguf", tmp_path / "merged.gguf")
    by_numpy = load_base(tmp_path / "merged.gguf").state_dict()
    by_torch = merge_hf(load_base(base), folder).state_dict()
    before = load_base(base).state_dict()
    assert by_numpy.keys() == by_torch.keys()
    for name, weight in by_torch.items():
        torch.testing.assert_close(by_numpy[name], weight, rtol=2e-6, atol=2e-6, msg=name)
    changed = {name for name in before if not torch.equal(before[name], by_torch[name])}
    layers = [1] if config.get("layers_to_transform", [1]) else [0, 1]
    assert changed == {
        f"model.layers.{layer}.{'mlp' if 'gate' in t or 'up' in t or 'down' in t else 'self_attn'}"
        f".{t}.weight"
        for layer in layers
        for t in TARGETS
    }


def test_torch_and_llama_cpp_answer_alike_with_the_adapter(tmp_path: Path):
    from tests.helpers.lora import TOKENS

    base = write_base(tmp_path / "base.gguf")
    folder = trained(base, tmp_path / "peft")
    write_adapter(tmp_path / "adapter.gguf", read_peft(folder, read_gguf(base)))
    model = merge_hf(load_base(base), folder)
    with torch.inference_mode():
        wanted = model(torch.tensor([TOKENS])).logits[0, -1].numpy()
    merge_float(base, tmp_path / "adapter.gguf", tmp_path / "merged.gguf")
    np.testing.assert_allclose(logits_of(tmp_path / "merged.gguf"), wanted, rtol=0, atol=1e-4)
    beside = logits_of(base, adapter=tmp_path / "adapter.gguf")
    # llama.cpp rounds what F16 factors read to 16 bits
    np.testing.assert_allclose(beside, wanted, rtol=0, atol=5e-3)
    assert np.abs(logits_of(base) - wanted).max() > 0.1, "the adapter changes nothing"


def test_dora_is_merged_by_torch_alone(base: Path, tmp_path: Path):
    folder = trained(base, tmp_path / "peft", use_dora=True)
    before = load_base(base).state_dict()
    after = merge_hf(load_base(base), folder).state_dict()
    assert not torch.equal(
        before["model.layers.1.mlp.up_proj.weight"], after["model.layers.1.mlp.up_proj.weight"]
    )
    with pytest.raises(BaseModelError, match="use_dora = true cannot go into an adapter file"):
        read_peft(folder, read_gguf(base))


def test_merging_keeps_embeddings_tied_and_takes_bfloat16(base: Path, tmp_path: Path):
    model = merge_hf(load_base(base), trained(base, tmp_path / "peft"), dtype="bfloat16")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.dtype == torch.bfloat16


def test_a_quantized_base_is_not_merged_into(base: Path, tmp_path: Path):
    model = load_base(base)
    model.is_quantized = True
    with pytest.raises(BaseModelError, match="load its float weights"):
        merge_hf(model, tmp_path)


def test_a_folder_that_is_no_adapter_is_one_error(base: Path, tmp_path: Path):
    with pytest.raises(BaseModelError, match="cannot be merged"):
        merge_hf(load_base(base), tmp_path)
    with pytest.raises(BaseModelError, match=r"adapter_config\.json: cannot be read"):
        read_peft(tmp_path, read_gguf(base))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "not a LoRA adapter"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices"),
        ({"bias": "all"}, "bias"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": None}, "lacks r or lora_alpha"),
    ],
)
def test_what_no_adapter_file_holds_is_refused_by_name(tmp_path: Path, change, message):
    base = write_base(tmp_path / "base.gguf")
    folder = trained(base, tmp_path / "peft")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BaseModelError, match=message):
        read_peft(folder, read_gguf(base))


def saved(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


A, B = (
    "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight",
    ("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"),
)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds no factors"),
        ({"base_model.model.lm_head.weight": torch.zeros(4, 4)}, "lm_head.weight is not a factor"),
        ({A: torch.zeros(2, 64)}, "does not fit"),
        ({A: torch.zeros(2, 63), B: torch.zeros(128, 2)}, "does not fit"),
        ({A.replace("up_proj", "x"): torch.zeros(2, 64)}, "has no weight for it"),
        ({A: torch.full((2, 64), torch.nan), B: torch.zeros(128, 2)}, "not numbers"),
    ],
)
def test_factors_that_do_not_fit_are_named(tmp_path: Path, tensors, message):
    base = write_base(tmp_path / "base.gguf")
    with pytest.raises(BaseModelError, match=message):
        read_peft(saved(tmp_path / "peft", tensors), read_gguf(base))


def test_bfloat16_factors_are_read(tmp_path: Path):
    base = write_base(tmp_path / "base.gguf")
    factor = torch.randn(2, 64).bfloat16()
    folder = saved(tmp_path / "peft", {A: factor, B: torch.ones(128, 2).bfloat16()})
    adapter = read_peft(folder, read_gguf(base))
    np.testing.assert_array_equal(adapter.factors["blk.0.ffn_up.weight"].a, factor.float().numpy())


@pytest.mark.parametrize(
    ("architecture", "module", "name"),
    [
        ("llama", "model.layers.3.self_attn.o_proj", "blk.3.attn_output.weight"),
        ("qwen2", "model.layers.3.mlp.gate_proj", "blk.3.ffn_gate.weight"),
        ("qwen3", "model.layers.3.self_attn.q_proj", "blk.3.attn_q.weight"),
        ("gemma3", "model.layers.3.mlp.down_proj", "blk.3.ffn_down.weight"),
        ("phi3", "model.layers.3.self_attn.qkv_proj", "blk.3.attn_qkv.weight"),
        ("phi3", "model.layers.3.mlp.gate_up_proj", "blk.3.ffn_up.weight"),
    ],
)
def test_modules_have_the_names_of_their_architecture(architecture, module, name):
    assert tensor_names(architecture, 4)(module) == name


def test_an_unknown_architecture_is_refused():
    with pytest.raises(BaseModelError, match="mamba: no adapters"):
        tensor_names("mamba", 4)


def test_only_llama_rows_change_their_order(tmp_path: Path):
    b = half(np.arange(128, dtype=np.float32).reshape(64, 2))
    base = write_base(tmp_path / "base.gguf")
    name = A.replace("mlp.up_proj", "self_attn.q_proj")
    tensors = {name: torch.zeros(2, 64), name.replace("_A", "_B"): torch.from_numpy(b)}
    adapter = read_peft(saved(tmp_path / "peft", tensors), read_gguf(base))
    rows = adapter.factors["blk.0.attn_q.weight"].b[:, 0] / 2
    # 4 heads of 16: row i and row i + 8 of a head become neighbours
    assert rows[:6].tolist() == [0, 8, 1, 9, 2, 10]
    assert rows[16:20].tolist() == [16, 24, 17, 25]
