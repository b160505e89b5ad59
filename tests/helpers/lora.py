"""Tiny bases with tied embeddings, random adapters for them, and what llama.cpp makes of both"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgeslm.formats.card import Card
from edgeslm.formats.gguf.adapter import Adapter, Factors
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf
from tests.helpers.tiny_gguf import write_tiny_gguf

TOKENS = [3 + (7 * i) % 400 for i in range(40)]
CARD = Card.from_dict(
    {"name": "tiny", "licence": "mit", "task": {"kind": "classify", "labels": ["a", "b"]}},
    where="a test",
)


def write_base(path: Path, **arguments: Any) -> Path:
    """A Llama with grouped heads, tied embeddings and rows that 4-bit blocks divide."""
    return write_tiny_gguf(path, tied=True, **arguments)


def random_adapter(base: GGUFInfo, *, rank: int = 4, layers: int | None = None) -> Adapter:
    """Factors for all matrices of the top layers, strong enough to change every answer."""
    rng = np.random.default_rng(1)
    first = 0 if layers is None else base.n_layer - layers
    weights = [
        tensor
        for tensor in base.tensors
        if tensor.name.startswith("blk.")
        and len(tensor.shape) == 2
        and int(tensor.name.split(".")[1]) >= first
    ]
    factors = {
        tensor.name: Factors(
            half(rng.standard_normal((rank, tensor.shape[0])) * 0.1),
            half(rng.standard_normal((tensor.shape[1], rank)) * 0.1),
        )
        for tensor in weights
    }
    imatrix = {
        tensor.name: rng.random(tensor.shape[0]).astype(np.float32) ** 8 for tensor in weights
    }
    return Adapter("llama", 8.0, factors, imatrix)


def half(values: np.ndarray) -> np.ndarray:
    """Numbers that a 16-bit file holds exactly."""
    return values.astype(np.float16).astype(np.float32)


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a GGUF in float32, read by the gguf library."""
    import gguf

    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(path).tensors
    }


def logits_of(path: Path, *, adapter: Path | None = None) -> np.ndarray:
    """The last logits behind TOKENS in float32 arithmetic, with the adapter loaded beside."""
    from edgeslm.engines.llama.library import llama_cpp

    model = llama_cpp.llama_model_load_from_file(
        os.fsencode(path), llama_cpp.llama_model_default_params()
    )
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = 64
    parameters.type_k = parameters.type_v = 0  # float32, so that only the weights round
    parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(model, parameters)
    try:
        if adapter is not None:
            lora = llama_cpp.llama_adapter_lora_init(model, os.fsencode(adapter))
            assert lora, f"llama.cpp does not load {adapter}"
            scale = (ctypes.c_float * 1)(1.0)
            loras = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(lora)
            assert llama_cpp.llama_set_adapters_lora(context, loras, 1, scale) == 0
        tokens = (ctypes.c_int32 * len(TOKENS))(*TOKENS)  # the batch only points to them
        batch = llama_cpp.llama_batch_get_one(tokens, len(TOKENS))
        assert llama_cpp.llama_decode(context, batch) == 0
        n_vocab = read_gguf(path).vocab_size
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), shape=(n_vocab,)).copy()
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)
