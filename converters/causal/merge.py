"""Merges a peft adapter into its transformers model with torch"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from converters.errors import BaseModelError, require
from edgeslm.formats.gguf.adapter import as_stored

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def merge_hf(
    model: PreTrainedModel,
    folder: Path,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    as_shipped: bool = False,
) -> PreTrainedModel:
    """The model with the adapter of ``folder`` merged into its weights, which it takes over.

    peft itself scales (rsLoRA) and normalises (DoRA). Tied embeddings stay tied. With
    ``as_shipped`` the factors are what an adapter file keeps of them in 16 bits.

    Raises:
        BaseModelError: the model is quantized, the folder is no adapter for it, or a merged
            weight is no number.
    """
    require("torch", "transformers", "peft")
    import torch
    from peft import PeftModel

    if getattr(model, "is_quantized", False):
        raise BaseModelError(
            "the base is quantized; load its float weights: merging into a quantized one rounds "
            "the adapter away"
        )
    model = model.to(getattr(torch, dtype))
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
        if as_shipped:
            _round_factors(adapted)
        return cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseModelError(f"{folder}: cannot be merged: {error}") from error


def _round_factors(adapted: PeftModel) -> None:
    import torch

    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(as_stored(parameter.float().numpy(force=True))))
