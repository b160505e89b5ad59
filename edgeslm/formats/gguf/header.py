"""Reads the header of a GGUF file: metadata and tensor table, each length checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from edgeslm.errors import ModelFileError
from edgeslm.formats.gguf import constants as fmt

AGAIN = "the file is damaged: pull or copy it again"


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """An array of the metadata that was skipped: the type of its items, and how many."""

    type: int
    length: int


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. ``shape`` is in GGUF order, row length first; ``offset`` is within the data."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    n_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts lie: half-open byte ranges of the file."""

    entries: Mapping[str, tuple[int, int]]
    tensor_table: tuple[int, int]
    data: int
    alignment: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself.

    ``metadata`` holds numbers, strings and short arrays of numbers (as tuples); other
    arrays are an ArrayInfo.
    """

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]
    layout: Layout


def shown(text: str) -> str:
    """A string of an untrusted file, safe and short enough for a message."""
    return repr(text if len(text) <= 80 else text[:80] + "…")


class HeaderReader:
    """A cursor over the header. It reads the file as needed and never trusts a length."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file = file
        self._size = size
        self._path = path
        self._buffer = bytearray()
        self._at = 0

    def read(self) -> Header:
        """The whole header; raises ModelFileError."""
        self._fill(min(self._size, 1 << 20))
        if not self._buffer.startswith(fmt.MAGIC):
            what = fmt.foreign_format(bytes(self._buffer[:512]))
            raise ModelFileError(
                f"{self._path}: not a GGUF model; it is {what}. If it should be a model, pull or "
                "copy it again"
            )
        self._at = len(fmt.MAGIC)
        version = self._version()
        n_tensors, n_entries = self._u64(), self._u64()
        self._bound("tensors", n_tensors, fmt.MAX_TENSORS)
        self._bound("metadata entries", n_entries, fmt.MAX_ENTRIES)
        metadata, places = self._metadata(n_entries)
        alignment = self._alignment(metadata)
        start = self._at
        table = [self._tensor() for _ in range(n_tensors)]
        layout = Layout(
            entries=MappingProxyType(places),
            tensor_table=(start, self._at),
            data=_padded(self._at, alignment),
            alignment=alignment,
        )
        self._check_offsets(table, layout)
        return Header(
            version=version,
            metadata=MappingProxyType(metadata),
            tensors=tuple(table),
            layout=layout,
        )

    def _version(self) -> int:
        version = self._u32()
        if version in fmt.VERSIONS:
            return version
        if version & 0xFFFF == 0 and version:
            raise ModelFileError(
                f"{self._path}: a big-endian GGUF, for another kind of processor: pull the "
                "little-endian file"
            )
        if version < min(fmt.VERSIONS):
            raise ModelFileError(
                f"{self._path}: GGUF version {version}, which llama.cpp no longer reads: convert "
                "the model again"
            )
        raise ModelFileError(
            f"{self._path}: GGUF version {version}, this edgeslm reads up to {max(fmt.VERSIONS)}: "
            "update edgeslm"
        )

    def _metadata(self, count: int) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
        values: dict[str, Any] = {}
        places: dict[str, tuple[int, int]] = {}
        for _ in range(count):
            start = self._at
            key = self._string("a metadata key", fmt.MAX_KEY_BYTES)
            if key in values:
                raise self._damaged(f"the metadata key {shown(key)} occurs twice")
            values[key] = self._value(self._u32(), key)
            places[key] = (start, self._at)
        return values, places

    def _value(self, kind: int, key: str) -> Any:
        if kind == fmt.STRING:
            return self._string(f"the value of {shown(key)}", fmt.MAX_STRING_BYTES)
        if kind in fmt.NUMBERS:
            return self._numbers(kind, 1)[0]
        if kind != fmt.ARRAY:
            raise self._damaged(f"the metadata key {shown(key)} has a value of unknown type {kind}")
        item, length = self._u32(), self._u64()
        if item == fmt.STRING:
            self._skip_strings(length)
        elif item not in fmt.NUMBERS:
            raise self._damaged(f"the array {shown(key)} has items of unknown type {item}")
        elif length <= fmt.MAX_ARRAY_VALUES:
            return self._numbers(item, length)
        else:
            self._need(fmt.NUMBERS[item].size * length)
            self._at += fmt.NUMBERS[item].size * length
        return ArrayInfo(item, length)

    def _tensor(self) -> TensorInfo:
        name = self._string("a tensor's name", fmt.MAX_TENSOR_NAME_BYTES)
        n_dimensions = self._u32()
        if not 1 <= n_dimensions <= fmt.MAX_DIMENSIONS:
            raise self._damaged(f"tensor {shown(name)} has {n_dimensions} dimensions")
        shape = tuple(self._u64() for _ in range(n_dimensions))
        kind, offset = self._u32(), self._u64()
        if kind not in fmt.TENSOR_TYPES:
            raise ModelFileError(
                f"{self._path}: tensor {shown(name)} has type {kind}, which this edgeslm does not "
                "know: update edgeslm, or quantize the model again"
            )
        type_name, block, block_bytes = fmt.TENSOR_TYPES[kind]
        if not all(shape) or shape[0] % block:
            raise self._damaged(f"tensor {shown(name)} of type {type_name} has the shape {shape}")
        return TensorInfo(name, shape, type_name, prod(shape) // block * block_bytes, offset)

    def _check_offsets(self, tensors: list[TensorInfo], layout: Layout) -> None:
        """Tensors lie one after the other, as llama.cpp demands, and end within the file."""
        names: set[str] = set()
        expected = 0
        for tensor in tensors:
            if tensor.name in names:
                raise self._damaged(f"the tensor {shown(tensor.name)} occurs twice")
            names.add(tensor.name)
            if tensor.offset != expected:
                raise self._damaged(
                    f"tensor {shown(tensor.name)} is at offset {tensor.offset}, expected {expected}"
                )
            end = layout.data + tensor.offset + tensor.n_bytes
            if end > self._size:
                raise self._short(f"tensor {shown(tensor.name)} ends at byte {end}")
            expected = _padded(tensor.offset + tensor.n_bytes, layout.alignment)

    def _alignment(self, metadata: Mapping[str, Any]) -> int:
        value = metadata.get("general.alignment", fmt.DEFAULT_ALIGNMENT)
        if type(value) is not int or not 0 < value <= fmt.MAX_ALIGNMENT or value & (value - 1):
            raise self._damaged("its general.alignment is not a small power of two")
        return value

    # --- bytes ---------------------------------------------------------------

    def _u32(self) -> int:
        return int(self._numbers(4, 1)[0])

    def _u64(self) -> int:
        return int(self._numbers(10, 1)[0])

    def _numbers(self, kind: int, count: int) -> tuple[Any, ...]:
        number = fmt.NUMBERS[kind]
        end = self._at + number.size * count
        self._need(number.size * count)
        items = number.iter_unpack(memoryview(self._buffer)[self._at : end])
        self._at = end
        return tuple(item[0] for item in items)

    def _string(self, what: str, limit: int) -> str:
        length = self._u64()
        if length > limit:
            raise self._damaged(f"{what} has {length} bytes, over the {limit} allowed")
        self._need(length)
        raw = bytes(self._buffer[self._at : self._at + length])
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise self._damaged(f"{what} is not UTF-8") from error
        self._at += length
        return text

    def _skip_strings(self, count: int) -> None:
        # The hot loop: a vocabulary and its merges are up to a million strings.
        self._need(count * fmt.U64.size)
        at, end, length_at = self._at, len(self._buffer), fmt.U64.unpack_from
        for _ in range(count):
            if at + 8 > end:
                self._at = at
                self._need(8)
                end = len(self._buffer)
            at += 8 + length_at(self._buffer, at)[0]
        self._at = at
        self._need(0)

    def _need(self, count: int) -> None:
        """Have ``count`` more bytes from the cursor on in the buffer, or raise."""
        end = self._at + count
        if end <= len(self._buffer):
            return
        if end > self._size:
            raise self._short(f"its header goes on to byte {end}")
        if end > fmt.MAX_HEADER_BYTES:
            raise self._damaged(f"its header is larger than {fmt.MAX_HEADER_BYTES} bytes")
        self._fill(min(max(end, 2 * len(self._buffer)), self._size, fmt.MAX_HEADER_BYTES))
        if end > len(self._buffer):
            raise self._short("it shrank while it was read")

    def _fill(self, length: int) -> None:
        self._buffer += self._file.read(length - len(self._buffer))

    def _bound(self, what: str, count: int, limit: int) -> None:
        if count > limit:
            raise self._damaged(f"it claims {count} {what}, over the {limit} allowed")

    def _damaged(self, why: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {why}; {AGAIN}")

    def _short(self, why: str) -> ModelFileError:
        return ModelFileError(
            f"{self._path}: cut short: {why}, the file has {self._size}; pull or copy it again"
        )


def _padded(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment
