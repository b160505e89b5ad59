"""Adapter files: LoRA factors, the card, and how base and factors become one proven model"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeslm.errors import CardError, ModelFileError, first_fault
from edgeslm.formats.card import Card, Sha256, ShortText
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.files import publish
from edgeslm.formats.gguf import constants as fmt
from edgeslm.formats.gguf.header import AGAIN, ArrayInfo, Header, HeaderReader, TensorInfo, shown
from edgeslm.formats.gguf.info import MAX_NAME

Floats = NDArray[np.float32]

#: the version of Assembly; a newer one is refused
ASSEMBLY_FORMAT: Final = 1
ASSEMBLY_KEY = "edgeslm.assembly"
IMATRIX_PREFIX = "edgeslm.imatrix."
ALPHA_KEY = "adapter.lora.alpha"
#: an assembly larger than this is refused before it is parsed
MAX_ASSEMBLY_BYTES = 4 * 1024 * 1024
MAX_RANK = 1024
_A, _B = ".lora_a", ".lora_b"
_FACTOR_TYPES = ("F16", "BF16", "F32")
_F32_VALUES = 6  # the metadata type of float32 numbers

#: the quantizations of a whole file that specialists are made in
QuantType = Literal["Q4_0", "Q4_1", "Q4_K_M", "IQ4_NL", "Q5_K_M", "Q8_0"]
#: the types that one tensor can be given by name
TensorType = Literal["Q4_0", "Q4_1", "Q4_K", "IQ4_NL", "Q5_K", "Q6_K", "Q8_0", "F16"]
Pattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*-]{1,63}$")]
TensorName = Annotated[str, Field(min_length=1, max_length=fmt.MAX_TENSOR_NAME_BYTES)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantization(_Closed):
    """How float weights are quantized; ``overrides`` are the types of tensors by name, with
    ``*`` for any characters."""

    file_type: QuantType
    embeddings: Literal["Q8_0", "F16"] | None = None
    overrides: dict[Pattern, TensorType] = Field(default={}, max_length=1000)


class Mark(_Closed):
    """One tensor of the proven file: its bytes' sha256, and its distance from the float weights.

    ``error`` is the root mean square of what quantizing changed.
    """

    sha256: Sha256
    error: float = Field(ge=0, allow_inf_nan=False)


class Assembly(_Closed):
    """What an adapter's base is, how the two become one file, and what that file must be.

    ``build`` is the library that quantized the file that was proven.
    """

    format: Literal[1] = ASSEMBLY_FORMAT
    base_sha256: Sha256
    quantization: Quantization
    tensors: dict[TensorName, Mark] = Field(min_length=1, max_length=fmt.MAX_TENSORS)
    file_sha256: Sha256
    build: ShortText


@dataclass(frozen=True, slots=True)
class Factors:
    """What is added to one weight [out, in]: scale * ``b`` @ ``a``, [out, rank] by [rank, in]."""

    a: Floats
    b: Floats


@dataclass(frozen=True, slots=True)
class Adapter:
    """The numbers of an adapter. A weight's scale is ``alpha`` / rank.

    ``factors`` and ``imatrix`` (float32 [in], mean square input) go by the name of the
    base's tensor, such as ``blk.0.attn_q.weight``.
    """

    architecture: str
    alpha: float
    factors: Mapping[str, Factors]
    imatrix: Mapping[str, Floats]


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter file's header, checked.

    ``targets`` maps the name of each changed tensor of the base to its factors' places.
    """

    path: Path
    size: int
    header: Header
    architecture: str
    alpha: float
    targets: Mapping[str, tuple[TensorInfo, TensorInfo]]
    card: Card | None
    assembly: Assembly | None

    def factors(self, name: str) -> Factors:
        """The factors of one weight, as float32; raises ModelFileError for a damaged file."""
        a, b = (self._tensor(tensor) for tensor in self.targets[name])
        return Factors(a, b)

    def imatrix(self) -> dict[str, Floats]:
        """The importance matrix by tensor; empty where the file has none."""
        return {
            key.removeprefix(IMATRIX_PREFIX): self._importance(key)
            for key in self.header.metadata
            if key.startswith(IMATRIX_PREFIX)
        }

    def load(self) -> Adapter:
        """All numbers of the file."""
        factors = {name: self.factors(name) for name in self.targets}
        return Adapter(self.architecture, self.alpha, factors, self.imatrix())

    def _tensor(self, tensor: TensorInfo) -> Floats:
        import gguf

        raw = self._bytes(self.header.layout.data + tensor.offset, tensor.n_bytes)
        kind = gguf.GGMLQuantizationType[tensor.type_name]
        rows = np.frombuffer(raw, np.uint8).reshape(tensor.shape[1], -1)
        values: Floats = gguf.quants.dequantize(rows, kind)
        if not np.isfinite(values).all():
            raise _damaged(self.path, f"{shown(tensor.name)} holds values that are no numbers")
        return values

    def _importance(self, key: str) -> Floats:
        value = self.header.metadata[key]
        length = len(value) if isinstance(value, tuple) else value.length
        end = self.header.layout.entries[key][1]
        return np.frombuffer(self._bytes(end - 4 * length, 4 * length), "<f4").astype(np.float32)

    def _bytes(self, start: int, count: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                raw = file.read(count)
        except OSError as error:
            raise ModelFileError(f"{self.path}: cannot be read: {error}") from error
        if len(raw) != count:
            raise _damaged(self.path, "it shrank while it was read")
        return raw


# --- reading ------------------------------------------------------------------


def is_adapter(path: Path) -> bool:
    """Whether a .gguf file says that it is a LoRA adapter; raises ModelFileError if it is none."""
    return _says_adapter(_header(path)[0].metadata)


def _says_adapter(metadata: Mapping[str, Any]) -> bool:
    return (metadata.get("general.type"), metadata.get("adapter.type")) == ("adapter", "lora")


def _header(path: Path) -> tuple[Header, int]:
    """The header of a .gguf file, and the file's size in bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: not a file: give the path of an adapter's .gguf file")
        with path.open("rb") as file:
            return HeaderReader(file, status.st_size, path).read(), status.st_size
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise ModelFileError(f"{path}: cannot be read: {error}") from error


def read_adapter(path: Path) -> AdapterInfo:
    """Read and check the header of a LoRA adapter; its numbers are not touched.

    Raises:
        ModelFileError: unreadable, damaged, or no LoRA adapter.
        CardError: its card or its assembly is malformed.
    """
    header, size = _header(path)
    metadata = header.metadata
    if not _says_adapter(metadata):
        raise ModelFileError(f"{path}: not a LoRA adapter; give the file of an adapter")
    return AdapterInfo(
        path=path,
        size=size,
        header=header,
        architecture=_architecture(path, metadata),
        alpha=_alpha(path, metadata),
        targets=_targets(path, header.tensors),
        card=_card(path, metadata),
        assembly=_assembly(path, metadata),
    )


def _architecture(path: Path, metadata: Mapping[str, Any]) -> str:
    value = metadata.get("general.architecture")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise _damaged(path, "it does not say which architecture it is for")
    for key, values in metadata.items():
        if key.startswith(IMATRIX_PREFIX) and not _are_floats(values):
            raise _damaged(path, f"its {shown(key)} is no list of numbers")
    return value


def _are_floats(value: Any) -> bool:
    if isinstance(value, ArrayInfo):
        return value.type == _F32_VALUES
    return isinstance(value, tuple) and all(isinstance(item, float) for item in value)


def _alpha(path: Path, metadata: Mapping[str, Any]) -> float:
    value = metadata.get(ALPHA_KEY)
    if not isinstance(value, float) or not 0 < value < math.inf:
        raise _damaged(path, f"its {ALPHA_KEY} is no number above zero")
    return value


def _targets(
    path: Path, tensors: tuple[TensorInfo, ...]
) -> dict[str, tuple[TensorInfo, TensorInfo]]:
    """Pairs of factors that fit each other, by the name of the tensor they change."""
    halves = {tensor.name: tensor for tensor in tensors}
    names = [name.removesuffix(_A) for name in halves if name.endswith(_A)]
    if not names or len(halves) != 2 * len(names) or any(name + _B not in halves for name in names):
        raise _damaged(path, "its tensors are no pairs of .lora_a and .lora_b")
    targets = {name: (halves[name + _A], halves[name + _B]) for name in names}
    for name, (a, b) in targets.items():
        plain = len(a.shape) == len(b.shape) == 2 and a.shape[1] == b.shape[0] <= MAX_RANK
        if not plain or {a.type_name, b.type_name} - set(_FACTOR_TYPES):
            raise _damaged(path, f"the factors of {shown(name)} do not fit each other")
    return targets


def _card(path: Path, metadata: Mapping[str, Any]) -> Card | None:
    value = metadata.get(CARD_KEY)
    if value is None:
        return None
    if not isinstance(value, str):
        raise CardError(f"{path}: {CARD_KEY} is not a string: pack the adapter again")
    return Card.from_json(value, where=str(path))


def _assembly(path: Path, metadata: Mapping[str, Any]) -> Assembly | None:
    value = metadata.get(ASSEMBLY_KEY)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ASSEMBLY_BYTES:
        raise CardError(f"{path}: {ASSEMBLY_KEY} is no text of sensible length: {AGAIN}")
    try:
        return Assembly.model_validate_json(value)
    except ValidationError as error:
        raise CardError(
            f"{path}: {ASSEMBLY_KEY}, at {first_fault(error, whole='the root')}; update edgeslm, "
            "or pull again"
        ) from error


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{path}: {why}; {AGAIN}")


# --- writing ------------------------------------------------------------------


def write_adapter(
    target: Path, adapter: Adapter, *, card: Card | None = None, assembly: Assembly | None = None
) -> None:
    """Write an adapter file, aside first. Factors become the 16-bit type that loses least.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    import gguf

    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        writer = gguf.GGUFWriter(aside, adapter.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32(ALPHA_KEY, adapter.alpha)
        for key, part in ((CARD_KEY, card), (ASSEMBLY_KEY, assembly)):
            if part is not None:
                writer.add_string(key, part.model_dump_json())
        for name, values in adapter.imatrix.items():
            writer.add_array(IMATRIX_PREFIX + name, values.tolist())
        for name, factors in adapter.factors.items():
            for half, floats in ((_A, factors.a), (_B, factors.b)):
                kind = _smallest_loss(floats)
                writer.add_tensor(name + half, gguf.quants.quantize(floats, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        publish(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def as_stored(values: Floats) -> Floats:
    """What an adapter file keeps of a factor: the same values, each rounded to 16 bits."""
    return _rounded(values, _smallest_loss(values))


def _rounded(values: Floats, kind: Any) -> Floats:
    import gguf

    kept: Floats = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
    return kept


def _smallest_loss(values: Floats) -> Any:
    """F16, or BF16 where F16's range is too small for these values."""
    import gguf

    def loss(kind: Any) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            kept = _rounded(values, kind)
            return float(np.square(kept.astype(np.float64) - values).sum())

    return min((gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16), key=loss)
