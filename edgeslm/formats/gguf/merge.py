"""Base and adapter become float weights: dequantized, the change added, written part by part"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgeslm.errors import EdgeslmError, ModelFileError
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.files import Progress, publish, require_room, silent
from edgeslm.formats.gguf import constants as fmt
from edgeslm.formats.gguf.adapter import AdapterInfo, Floats, read_adapter
from edgeslm.formats.gguf.header import TensorInfo
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf
from edgeslm.formats.gguf.pack import gguf_string, remove_leftovers

#: values of a tensor that are in memory at a time
_CHUNK_VALUES = 4 * 1024 * 1024
_FILE_TYPE_KEY = "general.file_type"
_ALL_F32, _F32, _UINT32 = 0, 0, 4  # numbers of a file type, a tensor type, a metadata type


def merge_float(base: Path, adapter: Path, target: Path, *, progress: Progress = silent) -> None:
    """Write base + adapter with all weights in float32 and all else as in the base, but no card.

    Raises:
        ModelFileError: a file is damaged, or the adapter does not fit the base.
        PullError: not enough disk.
        EdgeslmError: cannot be written.
    """
    remove_leftovers(target)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        write_merged(base, read_adapter(adapter), aside, progress)
        publish(aside, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        aside.unlink(missing_ok=True)


def write_merged(base: Path, adapter: AdapterInfo, target: Path, progress: Progress) -> None:
    """What `merge_float` writes, straight into ``target``.

    Sums are made in float64 and rounded once, so that every processor gets the same bits
    but for ties. Takes memory for a part of one tensor at a time.

    Raises:
        ModelFileError, PullError: as `merge_float`.
        OSError: cannot be written.
    """
    model = read_gguf(base)
    _check_fit(model, adapter)
    require_room(target.parent, 4 * model.parameters)
    with base.open("rb") as reader, target.open("wb") as writer:
        writer.write(_float_header(model, reader.read(model.layout.data)))
        for done, tensor in enumerate(model.tensors):
            progress("merging", done, len(model.tensors))
            for floats in _merged(reader, model, tensor, adapter):
                writer.write(floats.astype("<f4", copy=False).tobytes())
            writer.write(bytes(-writer.tell() % model.layout.alignment))


def unwritable(target: Path, error: OSError) -> EdgeslmError:
    """The error for a file that the system does not let us write."""
    return EdgeslmError(
        f"{target}: cannot be written ({error.strerror or error}); nothing was changed. Make "
        "room, close what uses the file, or write elsewhere"
    )


def _check_fit(base: GGUFInfo, adapter: AdapterInfo) -> None:
    if adapter.architecture != base.architecture:
        raise ModelFileError(
            f"{adapter.path}: an adapter for {adapter.architecture}, {base.path} is "
            f"{base.architecture}; use the base that it was trained on"
        )
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    for name, (a, b) in adapter.targets.items():
        if shapes.get(name) != (a.shape[0], b.shape[1]):
            raise ModelFileError(
                f"{adapter.path}: changes a {name!r} of {a.shape[0]} by {b.shape[1]}, in "
                f"{base.path} it is {shapes.get(name, 'not there')}; use the base that it was "
                "trained on"
            )


def _merged(
    reader: BinaryIO, model: GGUFInfo, tensor: TensorInfo, adapter: AdapterInfo
) -> Iterator[Floats]:
    """Rows of a weight in parts, with the adapter's change added."""
    if tensor.name not in adapter.targets:
        yield from read_rows(reader, model, tensor)
        return
    factors = adapter.factors(tensor.name)
    a, b = factors.a.astype(np.float64), factors.b.astype(np.float64)
    scale, done = adapter.alpha / len(a), 0
    for rows in read_rows(reader, model, tensor):
        change = scale * (b[done : done + len(rows)] @ a)
        done += len(rows)
        yield (rows + change).astype(np.float32)


def read_rows(file: BinaryIO, info: GGUFInfo, tensor: TensorInfo) -> Iterator[Floats]:
    """A tensor dequantized, in parts of whole rows: float32 [some rows, row length]."""
    import gguf

    kind = gguf.GGMLQuantizationType[tensor.type_name]
    row_bytes = _row_bytes(tensor)
    for raw in read_raw(file, info, tensor):
        rows = np.frombuffer(raw, np.uint8).reshape(-1, row_bytes)
        try:
            yield gguf.quants.dequantize(rows, kind)
        except NotImplementedError as error:
            raise ModelFileError(
                f"{info.path}: {tensor.name} is {tensor.type_name}, which cannot be dequantized "
                "here; use a base in F16, Q8_0 or Q4_1"
            ) from error


def read_raw(file: BinaryIO, info: GGUFInfo, tensor: TensorInfo) -> Iterator[bytes]:
    """The bytes of a tensor, in parts of whole rows."""
    row_bytes = _row_bytes(tensor)
    part = max(1, _CHUNK_VALUES // tensor.shape[0]) * row_bytes
    file.seek(info.layout.data + tensor.offset)
    left = tensor.n_bytes
    while left:
        raw = file.read(min(part, left))
        if len(raw) != min(part, left):
            raise ModelFileError(f"{info.path}: it shrank while it was read; copy it again")
        left -= len(raw)
        yield raw


def _row_bytes(tensor: TensorInfo) -> int:
    return tensor.n_bytes // int(np.prod(tensor.shape[1:], dtype=np.int64))


def _float_header(info: GGUFInfo, raw: bytes) -> bytes:
    """Everything before the weights: metadata as bytes, and a table of float32 tensors."""
    entries = {key: raw[start:end] for key, (start, end) in info.layout.entries.items()}
    entries.pop(CARD_KEY, None)
    entries[_FILE_TYPE_KEY] = gguf_string(_FILE_TYPE_KEY) + struct.pack("<II", _UINT32, _ALL_F32)
    header = struct.pack("<4sIQQ", fmt.MAGIC, info.version, len(info.tensors), len(entries))
    table, offset = b"", 0
    for tensor in info.tensors:
        table += gguf_string(tensor.name) + struct.pack("<I", len(tensor.shape))
        table += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, _F32, offset)
        size = 4 * int(np.prod(tensor.shape, dtype=np.int64))
        offset += size + -size % info.layout.alignment
    header += b"".join(entries.values()) + table
    return header + bytes(-len(header) % info.layout.alignment)
