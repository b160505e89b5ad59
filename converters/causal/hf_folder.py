"""A Hugging Face folder: what it must hold to be trained and exported, checked before any use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from converters.errors import BaseModelError, require
from edgeslm.formats.files import read_small

#: architectures whose training and export are tested
ARCHITECTURES = (
    "LlamaForCausalLM",
    "SmolLM3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Gemma3ForCausalLM",
    "Phi3ForCausalLM",
)
#: what a folder's tokenizer is made of
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
#: a file beside the weights that is larger is refused before it is parsed
MAX_TEXT_BYTES = 128 * 1024 * 1024
_MAX_CONFIG_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HFFolder:
    """A folder that passed: its architecture and how many parameters its files hold."""

    path: Path
    architecture: str
    parameters: int


def check_folder(path: Path) -> HFFolder:
    """Check a folder before any library parses it.

    Raises:
        BaseModelError: no config, an architecture that is not supported, weights that are not
            safetensors or damaged, no tokenizer, or a file of unreasonable size.
    """
    require("safetensors")
    if not path.is_dir():
        raise BaseModelError(f"{path}: no such folder; give a Hugging Face folder")
    config = _json(path / "config.json")
    architectures = config.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else None
    if architecture not in ARCHITECTURES:
        raise BaseModelError(
            f"{path}/config.json: the architecture {str(architecture)[:64]!r} is not supported; "
            f"use one of {', '.join(ARCHITECTURES)}"
        )
    if "quantization_config" in config:
        raise BaseModelError(f"{path}/config.json: quantized; use the float model it was made from")
    _check_tokenizer(path)
    return HFFolder(path, str(architecture), _count_parameters(path))


def _check_tokenizer(path: Path) -> None:
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BaseModelError(
            f"{path}: has neither tokenizer.json nor tokenizer.model; copy them from its base"
        )
    for file in path.iterdir():
        if file.suffix != ".safetensors" and file.stat().st_size > MAX_TEXT_BYTES:
            raise BaseModelError(
                f"{file}: larger than the {MAX_TEXT_BYTES} bytes allowed beside the weights; "
                "remove it"
            )
    if (path / "tokenizer_config.json").is_file():
        tokenizer = _json(path / "tokenizer_config.json", MAX_TEXT_BYTES)
        # the converter would run the code that comes with this class
        if "auto_map" in tokenizer or tokenizer.get("tokenizer_class") == "HybridDNATokenizer":
            raise BaseModelError(
                f"{path}/tokenizer_config.json: asks for code of its own, which is never run; "
                "use a model whose tokenizer needs none"
            )


def _json(path: Path, limit: int = _MAX_CONFIG_BYTES) -> dict[str, Any]:
    try:
        value = json.loads(read_small(path, limit))
    except OSError as error:
        raise BaseModelError(
            f"{path}: cannot be read ({error.strerror or error}); give the folder of a whole model"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BaseModelError(f"{path}: not JSON: {error}; fetch the model again") from error
    if not isinstance(value, dict):
        raise BaseModelError(f"{path}: not an object; fetch the model again")
    return value


def _count_parameters(path: Path) -> int:
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("model*.safetensors"))
    if not files:
        raise BaseModelError(
            f"{path}: holds no model*.safetensors; pickled weights (.bin, .pt) are never loaded: "
            "save the model again with safe_serialization"
        )
    total = 0
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                total += sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise BaseModelError(f"{file}: damaged: {error}; fetch the model again") from error
    return total
