"""A peft folder becomes an adapter: llama.cpp's names, its order of rows, one scale"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import BaseModelError, require
from edgeslm.formats.gguf.adapter import Adapter, Factors, Floats
from edgeslm.formats.gguf.info import GGUFInfo

#: architecture of the GGUF -> whether its query and key rows are in another order than
#: transformers': rope turns neighbours there, halves here
_PERMUTED = {
    "llama": True,
    "smollm3": True,
    "qwen2": False,
    "qwen3": False,
    "gemma3": False,
    "phi3": False,
}
#: what adds something else than factors of linear weights, and what leaves it out
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "bias": ("none", None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None, []),
    "use_qalora": (False, None),
    "use_bdlora": (False, None),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
    # the others change the base's weights, so that the factors do not fit the base any more
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}
_MAX_CONFIG_BYTES = 1024 * 1024
_FACTOR = re.compile(r"^base_model\.model\.(.+)\.lora_([AB])\.weight$")


def read_peft(
    folder: Path, base: GGUFInfo, *, imatrix: Mapping[str, Floats] | None = None
) -> Adapter:
    """The adapter that peft saved in ``folder``, for this base in GGUF.

    Raises:
        BaseModelError: unreadable, of a kind that no adapter file holds (DoRA, modules_to_save,
            trainable tokens and others, by name), or not for this base.
        MissingExtraError: torch or safetensors is not installed.
    """
    config = _config(folder / "adapter_config.json")
    alpha = _alpha(config, folder)
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    name_of = tensor_names(base.architecture, base.n_layer)
    halves = _halves(folder / "adapter_model.safetensors")
    factors: dict[str, Factors] = {}
    for module in sorted({module for module, _ in halves}):
        name = name_of(module)
        a, b = halves.get((module, "A")), halves.get((module, "B"))
        if a is None or b is None or shapes.get(name) != (a.shape[1], b.shape[0]):
            raise BaseModelError(
                f"{folder}: {module} does not fit {name} of {base.path}; use the base that it was "
                "trained on"
            )
        factors[name] = Factors(a, _permuted(b, name, base))
    return Adapter(base.architecture, alpha, factors, imatrix or {})


def tensor_names(architecture: str, n_layer: int) -> Callable[[str], str]:
    """A function from a transformers module, such as ``model.layers.0.mlp.up_proj``, to the
    GGUF's name of its weight.

    Raises:
        BaseModelError: an unknown architecture; the function, an unknown module.
    """
    import gguf

    if architecture not in _PERMUTED:
        raise BaseModelError(
            f"{architecture}: no adapters for this architecture; there are {', '.join(_PERMUTED)}"
        )
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, n_layer)

    def name_of(module: str) -> str:
        name = names.get_name(module)
        if name is None:
            raise BaseModelError(f"{module}: a GGUF of {architecture} has no weight for it")
        return f"{name}.weight"

    return name_of


def _config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseModelError(f"{path}: cannot be read: {error}; train again") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise BaseModelError(f"{path}: not a LoRA adapter of peft")
    for name, allowed in _REFUSED.items():
        value = config.get(name, allowed[0])
        if value not in allowed:
            raise BaseModelError(
                f"{path}: {name} = {json.dumps(value)} cannot go into an adapter file; train "
                "without it, or merge with converters.merge and pack the whole model"
            )
    return config


def _alpha(config: Mapping[str, Any], folder: Path) -> float:
    """The alpha that divided by the rank, as llama.cpp does, gives peft's scale."""
    try:
        alpha, rank = float(config["lora_alpha"]), int(config["r"])
    except (KeyError, TypeError, ValueError) as error:
        raise BaseModelError(f"{folder}: adapter_config.json lacks r or lora_alpha") from error
    # peft: alpha / sqrt(rank) with rsLoRA, alpha / rank without
    return alpha * rank**0.5 if config.get("use_rslora") else alpha


def _halves(path: Path) -> dict[tuple[str, str], Floats]:
    """(module, "A" or "B") -> numbers in float32; all tensors of the file, or none."""
    require("torch", "safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)  # numpy's reader knows no bfloat16
    except (OSError, SafetensorError) as error:
        raise BaseModelError(f"{path}: cannot be read: {error}; train again") from error
    halves: dict[tuple[str, str], Floats] = {}
    for name, tensor in tensors.items():
        factor = _FACTOR.match(name)
        values: Floats = tensor.float().numpy()
        if factor is None or values.ndim != 2:
            raise BaseModelError(f"{path}: {name} is not a factor of a linear weight")
        if not np.isfinite(values).all():
            raise BaseModelError(f"{path}: {name} holds values that are not numbers; train again")
        halves[factor[1], factor[2]] = values
    if not halves:
        raise BaseModelError(f"{path}: holds no factors")
    return halves


def _permuted(b: Floats, name: str, base: GGUFInfo) -> Floats:
    """Rows of a query's or key's factor in the order of the GGUF's weight."""
    kind, layer = name.split(".")[2], int(name.split(".")[1])
    heads = {"attn_q": base.n_head, "attn_k": base.n_head_kv}.get(kind)
    if heads is None or not _PERMUTED[base.architecture]:
        return b
    return b.reshape(heads[layer], 2, -1, b.shape[1]).swapaxes(1, 2).reshape(b.shape)
