"""The base model: found by name, loaded for training as a fresh transformers model, and saved."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.causal.export import export_gguf
from converters.causal.gguf_tokenizer import rebuild_tokenizer
from converters.causal.hf_folder import TOKENIZER_FILES, check_folder
from converters.errors import BaseModelError, require
from edgeslm.errors import EdgeslmError
from edgeslm.formats.files import Progress, megabytes, silent
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.store.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: what is fetched from a hub: never pickled weights, never code
HUB_PATTERNS = ("model*.safetensors*", "config.json", "generation_config.json", *TOKENIZER_FILES)
#: a base of the hub that is larger is refused before it is fetched
MAX_HUB_BYTES = 64 * 1024**3
_HUB_NAME = re.compile(r"^hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?$", re.ASCII)


def resolve_base(base: str) -> Path:
    """The file or folder that a recipe's ``base`` means; one of the hub is fetched.

    Raises:
        BaseModelError: no such file, or a hub's model that cannot be fetched or trained.
        RegistryError: a name that models.toml does not have, or that was not pulled.
    """
    if base.startswith("hf:"):
        return check_folder(_fetched(base)).path
    path = Path(base)
    if path.is_dir():
        return check_folder(path).path
    if path.suffix != ".gguf":
        return Store().resolve(base)
    return read_gguf(path).path


def _fetched(base: str) -> Path:
    """The snapshot of ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION`` in the hub's own cache."""
    match = _HUB_NAME.match(base)
    if match is None:
        raise BaseModelError(f"{base!r}: not of the form hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    repository, revision = match.groups()
    patterns = list(HUB_PATTERNS)
    try:
        files = snapshot_download(
            repository, revision=revision, allow_patterns=patterns, dry_run=True
        )
        size = sum(file.file_size or 0 for file in files)
        if size > MAX_HUB_BYTES:
            raise BaseModelError(
                f"{base}: {megabytes(size)}, over the {megabytes(MAX_HUB_BYTES)} allowed; "
                "choose a smaller base"
            )
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, OSError, ValueError) as error:  # being offline is an OSError
        raise BaseModelError(
            f"{base}: cannot be fetched: {error}. Check the name, the network and HF_TOKEN, "
            "or give a folder that holds the model"
        ) from error


def runtime_gguf(base: Path, work: Path, *, progress: Progress = silent) -> Path:
    """The GGUF whose tokenizer training uses, so that training and inference see the same tokens.

    A GGUF base is that itself; a folder is exported once, to ``base.F16.gguf`` in ``work``.

    Raises:
        BaseModelError: the folder cannot be exported.
    """
    if not base.is_dir():
        return base
    target = work / "base.F16.gguf"
    newest = max(file.stat().st_mtime for file in base.iterdir())
    if target.exists() and target.stat().st_mtime > newest:
        return target
    return export_gguf(base, target, dtype="F16", progress=progress)


def load_base(path: Path) -> PreTrainedModel:
    """The causal language model of a GGUF file (dequantized) or a Hugging Face folder, in float32.

    A model from a GGUF is copied into a fresh one, which can be saved: transformers refuses
    to save one that it loaded from a GGUF.

    Raises:
        BaseModelError: transformers cannot load it.
        ModelFileError: the GGUF is damaged or no model.
    """
    require("torch", "transformers")
    import torch
    from transformers import AutoModelForCausalLM

    if path.is_dir():
        check_folder(path)
    else:
        read_gguf(path)
    try:
        if path.is_dir():
            return _checked(
                AutoModelForCausalLM.from_pretrained(
                    path,
                    dtype=torch.float32,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                ),
                path,
            )
        loaded = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise BaseModelError(
            f"{path}: transformers cannot load this base: {error}. Use a model of a supported "
            "architecture, whole and as it was published"
        ) from error
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    from_config: Any = AutoModelForCausalLM.from_config  # has no types
    fresh: PreTrainedModel = from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.tie_weights()
    return _checked(fresh, path)


def _checked(model: PreTrainedModel, path: Path) -> PreTrainedModel:
    """Every weight is a number: a damaged file shows here, not after hours of training."""
    import torch

    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise BaseModelError(
                f"{path}: its {name} holds values that are not numbers; fetch the base again"
            )
    return model


def save_hf(model: PreTrainedModel, base: Path, folder: Path) -> Path:
    """Save a model with the tokenizer of its base, as a folder that `export_gguf` converts.

    The tokenizer of a GGUF is rebuilt; the files of a folder are copied as they are. ``folder``
    appears whole, in place of one that was there.

    Returns:
        ``folder``.

    Raises:
        BaseModelError: the GGUF's tokenizer cannot be rebuilt.
        EdgeslmError: the disk is full, or the folder cannot be written.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    before = folder.with_name(f".{folder.name}.{os.getpid()}.before")
    try:
        aside.mkdir(parents=True)
        model.save_pretrained(aside)
        _save_tokenizer(base, aside)
        _sync(aside)
        if folder.exists():
            folder.replace(before)
        aside.replace(folder)
    except OSError as error:
        raise EdgeslmError(
            f"{folder}: cannot be written ({error.strerror or error}); make room, or choose "
            "another work folder"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if before.exists() and not folder.exists():
            before.replace(folder)
        shutil.rmtree(before, ignore_errors=True)
    return folder


def _save_tokenizer(base: Path, folder: Path) -> None:
    if not base.is_dir():
        rebuild_tokenizer(base).save_pretrained(folder)
        return
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
