"""Export: a Hugging Face folder becomes a float GGUF, in which nothing of the tokenizer is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from converters.causal.hf_folder import HFFolder, check_folder
from converters.errors import BaseModelError, require
from edgeslm.engines.llama.tokenizer import LlamaTokenizer
from edgeslm.errors import EdgeslmError, ModelFileError
from edgeslm.formats.files import Progress, publish, require_room, silent

FloatType = Literal["F32", "F16", "BF16"]
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
#: how often the growth of the file is looked at
_POLL_S = 0.2
#: what the tail of a failed child's messages is cut to
_SHOWN = 500
#: differences that an error lists; the rest is counted
_LISTED = 5


def export_gguf(
    hf_folder: Path,
    target: Path,
    *,
    dtype: FloatType = "F16",
    name: str | None = None,
    pre: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Convert a folder of safetensors and its tokenizer; ``target`` appears whole or not at all.

    ``name`` becomes general.name, by default the folder's name: llama.cpp treats the control
    tokens of a model otherwise whose name has "phi-3" or "phi3" in it. ``pre`` is llama.cpp's
    name of the pre-tokenizer, for a tokenizer that the converter does not recognise.
    ``progress`` counts bytes.

    Returns:
        ``target``.

    Raises:
        BaseModelError: the folder cannot be converted, or a special token or the chat template
            would be lost.
        MissingExtraError: auto-round or sentencepiece is not installed.
        PullError: not enough room on the disk.
    """
    require("auto_round", "sentencepiece", "torch", "transformers")
    source = check_folder(hf_folder)
    total = source.parameters * _BYTES[dtype]
    aside = target.with_name(f".{target.name}.{os.getpid()}.part.gguf")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_room(target.parent, total)
        options = {"--name": name, "--pre": pre}
        _convert(_command(source, aside, dtype, options), source, aside, total, progress)
        _require_carried(hf_folder, aside)
        publish(aside, target)
    except OSError as error:
        raise EdgeslmError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was changed. Make "
            "room, or write elsewhere"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    return target


# --- the child process ----------------------------------------------------------


def _command(
    folder: HFFolder, aside: Path, dtype: FloatType, options: dict[str, str | None]
) -> list[str]:
    script = Path(__file__).with_name("hf_to_gguf.py")
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    return [sys.executable, "-P", str(script), str(folder.path), str(aside), dtype, *given]


def _convert(
    command: list[str], folder: HFFolder, aside: Path, total: int, progress: Progress
) -> None:
    """Run the converter in a process of its own: it logs, and changes what it imports."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_offline(),
    )
    try:
        while True:
            try:
                output, errors = child.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                progress("exporting", aside.stat().st_size if aside.exists() else 0, total)
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode != 0 or not aside.exists():
        raise BaseModelError(_explain_failure(folder, child.returncode, output, errors))
    progress("exporting", total, total)


def _offline() -> dict[str, str]:
    """The child's environment: it finds our packages, and no hub and no other converter."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_LOCAL_GGUF": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _explain_failure(folder: HFFolder, status: int, output: bytes, errors: bytes) -> str:
    try:
        reason = json.loads(output.splitlines()[-1])["message"]
    except (IndexError, KeyError, TypeError, ValueError):
        reason = f"status {status}: {errors.decode('utf-8', 'replace').strip()[-_SHOWN:]}"
    if "pre-tokenizer was not recognized" in reason:
        return (
            f"{folder.path}/tokenizer.json: llama.cpp's converter does not know this "
            "pre-tokenizer, so llama.cpp could split text otherwise than training did. Use the "
            "tokenizer of the original base unchanged; or, if you know llama.cpp's name for it, "
            "pass pre=NAME and check the result with token_parity"
        )
    return (
        f"{folder.path}: the converter failed: {reason[:_SHOWN]}. Check that the folder is the "
        f"whole model ({folder.architecture}), as it was published or saved"
    )


# --- what must not be lost ------------------------------------------------------


def _require_carried(hf_folder: Path, gguf: Path) -> None:
    try:
        lost = check_carried(hf_folder, gguf)
    except ModelFileError as error:
        raise BaseModelError(f"{hf_folder}: the converted file is not a model: {error}") from error
    if lost:
        raise BaseModelError(_explain_lost(hf_folder, lost))


def check_carried(hf_folder: Path, gguf: Path) -> list[str]:
    """What of the folder's tokenizer the GGUF has otherwise, in words; empty if nothing.

    Compared are the chat template, BOS and whether it is put first, EOS, and every token's
    text and whether it is a control token.

    Raises:
        BaseModelError: transformers cannot load the folder's tokenizer.
        ModelFileError: the GGUF cannot be read.
    """
    hf = load_hf_tokenizer(hf_folder)
    tokenizer = LlamaTokenizer(gguf)
    try:
        return [*_template(hf, tokenizer), *_ends(hf, tokenizer), *_tokens(hf, tokenizer)]
    finally:
        tokenizer.close()


def load_hf_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, from its own files and without code of its own.

    Raises:
        BaseModelError: transformers cannot load it.
    """
    require("transformers")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_fast=True
        )
    except Exception as error:  # tokenizers raises plain Exception for a damaged tokenizer.json
        raise BaseModelError(
            f"{folder}: transformers cannot load this tokenizer: {error}; fetch the model again"
        ) from error


def _template(hf: Any, tokenizer: LlamaTokenizer) -> Iterator[str]:
    if hf.chat_template is not None and hf.chat_template != tokenizer.chat_template:
        carried = "none" if tokenizer.chat_template is None else "another"
        yield f"the chat template: the GGUF has {carried}"


def _ends(hf: Any, tokenizer: LlamaTokenizer) -> Iterator[str]:
    metadata = tokenizer.info.metadata
    for name, expected in (("bos", hf.bos_token_id), ("eos", hf.eos_token_id)):
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if expected is not None and expected != token:
            yield f"{name.upper()}: {expected} in the folder, {token} in the GGUF"
    first = hf("a")["input_ids"][0] == hf.bos_token_id is not None
    if first != (tokenizer.vocab.bos is not None):
        yield f"BOS before a text: {first} in the folder, {not first} in the GGUF"


def _tokens(hf: Any, tokenizer: LlamaTokenizer) -> Iterator[str]:
    vocab = tokenizer.vocab
    for token, added in sorted(hf.added_tokens_decoder.items()):
        if token >= vocab.size:
            yield f"token {token} {added.content!r}: the GGUF has {vocab.size} tokens"
        elif added.special and vocab.control.get(token) != added.content:
            content = vocab.control.get(token, vocab.pieces[token].decode("utf-8", "replace"))
            yield f"token {token}: the control token {added.content!r} is {content!r} in the GGUF"


def _explain_lost(folder: Path, lost: list[str]) -> str:
    more = f" (and {len(lost) - _LISTED} more)" if len(lost) > _LISTED else ""
    return (
        f"{folder}: the GGUF would differ from its tokenizer in {'; '.join(lost[:_LISTED])}{more}. "
        "Nothing was written; correct the folder's tokenizer files, or take those of the base"
    )
