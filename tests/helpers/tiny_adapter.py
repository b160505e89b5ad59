"""Writes LoRA adapters of random factors for the tiny models, whole and hostile ones"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from edgeslm.formats.gguf.info import read_gguf

MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write_tiny_adapter(
    path: Path,
    base: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    alpha: Any = 8.0,
    size: float = 0.5,
    kind: str = "F16",
    shapes: dict[str, tuple[tuple[int, int], tuple[int, int]]] | None = None,
    **overrides: Any,
) -> Path:
    """An adapter of all matrices of the layers of ``base``; ``path``, for chaining.

    Args:
        size: how much the factors change an output, roughly, where activations are near 1.
        kind: the type of the factors, one that `gguf` can encode.
        shapes: more pairs of factors by the name of the tensor, each [rows, columns].
        overrides: metadata to set last, ``**{"adapter.type": "x"}``; None leaves a key out.
    """
    rng = np.random.default_rng(seed)
    info = read_gguf(base)
    pairs = {
        tensor.name: ((rank, tensor.shape[0]), (tensor.shape[1], rank))
        for tensor in info.tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    }
    metadata = {
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha,
        **overrides,
    }
    writer = gguf.GGUFWriter(path, info.architecture)
    for key, value in metadata.items():
        if value is not None:
            writer.add_key_value(key, value, _value_type(value))
    raw_type = gguf.GGMLQuantizationType[kind]
    for name, factors in {**pairs, **(shapes or {})}.items():
        for half, shape in zip("ab", factors, strict=True):
            values = rng.standard_normal(shape, dtype=np.float32) * np.float32(
                (size / shape[1]) ** 0.5
            )
            tensor = gguf.quants.quantize(values, raw_type)
            writer.add_tensor(f"{name}.lora_{half}", tensor, raw_dtype=raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _value_type(value: Any) -> gguf.GGUFValueType:
    if isinstance(value, np.float64):
        return gguf.GGUFValueType.FLOAT64
    return gguf.GGUFValueType.get_type(value)
