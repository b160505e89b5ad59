"""A pulled model in another quantization, made once and kept."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock

from edgeslm.errors import EngineError
from edgeslm.transfer import file_sha256, publish

#: llama.cpp's numbers for the kinds of files used here (enum llama_ftype)
FILE_TYPES = {"Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}


def requantized(source: Path, kind: str, folder: Path) -> Path:
    """The model of ``source`` as ``kind``, one of FILE_TYPES; made in ``folder`` unless there.

    The weights go through their present quantization, so quality is a little below
    what the float weights would give.

    Raises:
        EngineError: llama.cpp cannot quantize this file.
    """
    target = folder / f"{file_sha256(source)}-{kind}.gguf"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            aside = target.with_suffix(".part")
            _quantize(source, aside, FILE_TYPES[kind])
            publish(aside, target)
    return target


def _quantize(source: Path, target: Path, file_type: int) -> None:
    from edgeslm.engines.llama_library import llama_cpp, log

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type
    parameters.allow_requantize = True
    parameters.nthread = os.cpu_count() or 1
    log.errors = []
    code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), parameters)
    if code != 0:
        raise EngineError(f"{source}: llama.cpp cannot quantize this file: {log.reason()}")
