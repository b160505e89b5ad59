"""Quantizing a GGUF file through llama.cpp, with importance matrix and types by tensor"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.device import machine
from edgeslm.engines.llama.library import llama_cpp, log
from edgeslm.errors import EngineError
from edgeslm.formats.gguf.constants import FILE_TYPES, TENSOR_TYPES
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf

_FILE_NUMBERS = {label: number for number, label in FILE_TYPES.items()}
_TENSOR_NUMBERS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}
_EMBEDDINGS = "token_embd.weight"


def quantize(
    source: Path,
    target: Path,
    file_type: str,
    *,
    imatrix: Mapping[str, NDArray[np.float32]] | None = None,
    embeddings: str | None = None,
    overrides: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> None:
    """Write ``source`` as ``target`` with weights of another type; ``target`` is overwritten.

    Weights that are quantized already are dequantized first. The result is the same bits
    whatever the number of threads.

    Args:
        file_type: such as Q4_0 or Q4_K_M. Rows that a type's blocks do not divide get
            another type, as llama.cpp chooses.
        imatrix: mean square input of each weight's columns, float32 [columns], by tensor.
        embeddings: the type of token_embd.weight; None leaves it to llama.cpp.
        overrides: the type of matrices by name, in which ``*`` stands for any characters;
            of several patterns that fit one the first counts.
        threads: None takes `machine.default_threads`.

    Raises:
        EngineError: llama.cpp cannot quantize this file, an override fits none, or a
            tensor did not get the type that was asked for. ``target`` is gone.
        ModelFileError: ``source`` is no model.
    """
    if file_type not in _FILE_NUMBERS:
        raise EngineError(
            f"{file_type} is no type that llama.cpp quantizes to; use one such as Q4_0"
        )
    info = read_gguf(source)
    wanted = _wanted(info, embeddings, overrides or {})
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = _FILE_NUMBERS[file_type]
    parameters.nthread = threads or machine.default_threads()
    parameters.allow_requantize = True
    if embeddings is not None:
        parameters.token_embedding_type = _number(embeddings)
    # these must live until the call ends: C's pointers hold no reference
    rows = _checked(info, imatrix or {})
    parameters.imatrix = _importance(rows)
    parameters.tt_overrides = _patterns(wanted)
    log.errors = []
    code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), parameters)
    try:
        if code != 0:
            raise EngineError(f"{source}: llama.cpp cannot quantize this file: {log.reason()}")
        _check_types(read_gguf(target), wanted)
    except EngineError:
        target.unlink(missing_ok=True)
        raise


def _wanted(info: GGUFInfo, embeddings: str | None, overrides: Mapping[str, str]) -> dict[str, str]:
    """Tensor -> type, for all tensors whose type was asked for by name."""
    # vectors, such as those of norms, stay float32
    names = [tensor.name for tensor in info.tensors if len(tensor.shape) > 1]
    wanted: dict[str, str] = {}
    for pattern, kind in overrides.items():
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            raise EngineError(
                f"{info.path}: no matrix is called {pattern!r}; there are {names[-1]} and others"
            )
        for name in fitting:
            wanted.setdefault(name, kind)
    if embeddings is not None:
        wanted.setdefault(_EMBEDDINGS, embeddings)
    return wanted


def _number(kind: str) -> int:
    """llama.cpp's number of a tensor type."""
    if kind not in _TENSOR_NUMBERS:
        raise EngineError(f"{kind} is no type of a tensor; use one such as Q8_0")
    return _TENSOR_NUMBERS[kind]


def _patterns(wanted: Mapping[str, str]) -> Any:
    """The overrides as C sees them; an entry without a pattern ends them."""
    array = (llama_cpp.llama_model_tensor_override * (len(wanted) + 1))()
    for entry, (name, kind) in zip(array, wanted.items(), strict=False):
        # llama.cpp searches by regular expression: a whole name, so that only its tensor fits
        entry.pattern = f"^{re.escape(name)}$".encode()
        entry.type = _number(kind)
    return array


def _checked(
    info: GGUFInfo, imatrix: Mapping[str, NDArray[np.float32]]
) -> dict[bytes, NDArray[np.float32]]:
    """The importance matrix in the layout that C reads, each row as long as its tensor's."""
    rows: dict[bytes, NDArray[np.float32]] = {}
    lengths = {tensor.name: tensor.shape[0] for tensor in info.tensors}
    for name, values in imatrix.items():
        if values.shape != (lengths.get(name),):
            raise EngineError(
                f"{info.path}: the importance matrix has {values.size} values for {name!r}, "
                f"whose rows have {lengths.get(name, 'no')}"
            )
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise EngineError(f"{info.path}: the importance of {name!r} holds no sensible numbers")
        rows[name.encode()] = np.ascontiguousarray(values, np.float32)
    return rows


def _importance(rows: Mapping[bytes, NDArray[np.float32]]) -> Any:
    """The importance matrix as C sees it; an entry without a name ends it."""
    array = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))()
    for entry, (name, values) in zip(array, rows.items(), strict=False):
        entry.name = name
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return array


def _check_types(info: GGUFInfo, wanted: Mapping[str, str]) -> None:
    for tensor in info.tensors:
        kind = wanted.get(tensor.name, tensor.type_name)
        if kind != tensor.type_name:
            raise EngineError(
                f"{tensor.name} must be {kind} but became {tensor.type_name}: its rows of "
                f"{tensor.shape[0]} do not divide into blocks of {kind}; choose another type"
            )
