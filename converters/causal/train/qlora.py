"""QLoRA: the frozen base in 4 bits, so that a larger one fits beside its adapter on a CUDA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from converters.errors import BaseModelError, require
from edgeslm.errors import MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_qlora() -> None:
    """Raise unless this machine can train over a 4-bit base.

    Raises:
        BaseModelError: there is no CUDA GPU.
        MissingExtraError: bitsandbytes is not installed.
    """
    require("torch", "transformers", "peft")
    from importlib.util import find_spec

    import torch

    if not torch.cuda.is_available():
        raise BaseModelError(
            "train.qlora needs a CUDA GPU, and torch finds none here; set it to false: the same "
            "adapter is then trained over the float base"
        )
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "bitsandbytes not installed; run: pip install bitsandbytes", extra="train"
        )


def load_4bit(folder: Path) -> PreTrainedModel:
    """The model of a Hugging Face folder with its linear layers in NF4 (Dettmers et al. 2023).

    Embeddings and norms stay in bfloat16. Merging takes the float base, never this one.

    Raises:
        BaseModelError, MissingExtraError: as `check_qlora`, or transformers cannot load it.
    """
    check_qlora()
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    describe: Any = BitsAndBytesConfig  # has no types
    config = describe(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=config,
            dtype=torch.bfloat16,
            device_map={"": 0},
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BaseModelError(f"{folder}: cannot be loaded in 4 bits: {error}") from error
    return cast("PreTrainedModel", model)
