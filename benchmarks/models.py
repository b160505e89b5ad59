"""A pulled model in another quantization, made once and kept."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from edgeslm.errors import EngineError
from edgeslm.transfer import file_sha256, publish

#: llama.cpp's numbers for the kinds of files used here (enum llama_ftype)
FILE_TYPES = {"Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}


def requantized(source: Path, kind: str, folder: Path) -> Path:
    """The model of ``source`` as ``kind``, one of FILE_TYPES; made in ``folder`` if it is not there.

    The weights go through their present quantization, so quality is a little below
    what the float weights would give.

    Raises:
        EngineError: llama.cpp cannot quantize this file.
    """
    target = folder / f"{file_sha256(source)[:16]}-{kind}.gguf"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(f".{os.getpid()}.part")
    try:
        _quantize(source, aside, FILE_TYPES[kind])
        publish(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    return target


def _quantize(source: Path, target: Path, file_type: int) -> None:
    from edgeslm.engines.llama_library import llama_cpp, log

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type
    parameters.allow_requantize = True
    code = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    if code != 0:
        raise EngineError(f"{source}: llama.cpp cannot quantize this file: {log.last_error()}")
