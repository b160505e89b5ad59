"""GGUFInfo: what a model file is, from its header alone, and what it will need of memory."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

from edgeslm.errors import CardError, ModelFileError
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.gguf import constants as fmt
from edgeslm.formats.gguf.header import AGAIN, ArrayInfo, HeaderReader, Layout, TensorInfo, shown

#: an architecture with a longer name is none
MAX_NAME = 64


@dataclass(frozen=True)
class GGUFInfo:
    """A model file's header, checked.

    ``metadata`` holds numbers, strings and short arrays of numbers (as tuples); other
    arrays are an ArrayInfo. ``size`` is the file's, in bytes.
    """

    path: Path
    size: int
    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]
    layout: Layout

    @property
    def kind(self) -> Literal["language"]:
        return "language"

    @property
    def architecture(self) -> str:
        value = self._text("general.architecture")
        if not value or len(value) > MAX_NAME:
            raise self._error("its metadata has no general.architecture: convert the model again")
        return value

    @property
    def name(self) -> str | None:
        return self._text("general.name")

    @property
    def licence(self) -> str | None:
        return self._text("general.license")

    @property
    def chat_template(self) -> str | None:
        return self._text("tokenizer.chat_template")

    @property
    def chat_template_sha256(self) -> str | None:
        """The hash that a card names: of the template as UTF-8."""
        template = self.chat_template
        return None if template is None else hashlib.sha256(template.encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, ArrayInfo) or tokens.type != fmt.STRING or not tokens.length:
            raise self._error("has no vocabulary (tokenizer.ggml.tokens): convert the model again")
        return tokens.length

    @property
    def context_length(self) -> int:
        """Tokens that the model was trained to read."""
        return self._count("context_length")

    @property
    def embedding_length(self) -> int:
        return self._count("embedding_length")

    @property
    def n_layer(self) -> int:
        return self._count("block_count", limit=fmt.MAX_LAYERS)

    @property
    def n_head(self) -> tuple[int, ...]:
        """Attention heads of each layer; 0 where a layer has no attention."""
        return self._per_layer("attention.head_count", (0,) * self.n_layer)

    @property
    def n_head_kv(self) -> tuple[int, ...]:
        """Heads of each layer that keep keys and values."""
        return self._per_layer("attention.head_count_kv", self.n_head)

    @property
    def key_length(self) -> int:
        """Numbers that one head keeps of a token as its key."""
        return self._count("attention.key_length", self._head_length)

    @property
    def value_length(self) -> int:
        """Numbers that one head keeps of a token as its value."""
        return self._count("attention.value_length", self._head_length)

    @property
    def quantization(self) -> str:
        """The quantizer's label, such as Q4_K_M; the type of most weights where it gave none."""
        label = fmt.FILE_TYPES.get(self.metadata.get("general.file_type", -1))
        if label is not None:
            return label
        weight: dict[str, int] = {}
        for tensor in self.tensors:
            weight[tensor.type_name] = weight.get(tensor.type_name, 0) + tensor.n_bytes
        return max(weight, key=lambda name: weight[name])

    @cached_property
    def parameters(self) -> int:
        return sum(prod(tensor.shape) for tensor in self.tensors)

    @cached_property
    def tensor_bytes(self) -> int:
        return sum(tensor.n_bytes for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """What is stored per parameter, whatever the label says."""
        return self.tensor_bytes * 8 / self.parameters

    @cached_property
    def card(self) -> Card | None:
        """The specialist's card; raises CardError where it is malformed."""
        value = self.metadata.get(CARD_KEY)
        if value is None:
            return None
        if not isinstance(value, str):
            raise CardError(f"{self.path}: {CARD_KEY} is not a string: pack the card again")
        return Card.from_json(value, where=str(self.path))

    @property
    def _head_length(self) -> int:
        heads = max(self.n_head)
        return self.embedding_length // heads if heads else 0

    def _error(self, why: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: {why}")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise self._error(f"its {key} is not a string; {AGAIN}")
        return value

    def _count(
        self, key: str, default: int | None = None, limit: int = fmt.MAX_HYPERPARAMETER
    ) -> int:
        key = f"{self.architecture}.{key}"
        value = self.metadata.get(key, default)
        if value is None:
            raise self._error(f"its metadata has no {shown(key)}: convert the model again")
        if not _is_count(value) or value > limit or (value == 0 and default is None):
            raise self._error(f"its {shown(key)} is no sensible count; {AGAIN}")
        return int(value)

    def _per_layer(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        key = f"{self.architecture}.{key}"
        value = self.metadata.get(key, default)
        counts = value if isinstance(value, tuple) else (value,) * self.n_layer
        if len(counts) != self.n_layer or not all(_is_count(count) for count in counts):
            raise self._error(f"its {shown(key)} is no sensible count per layer; {AGAIN}")
        return counts


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= fmt.MAX_HYPERPARAMETER


def kv_bytes(info: GGUFInfo, cells: int) -> int:
    """Bytes of a float16 key-value cache for ``cells`` tokens.

    An upper bound: layers that keep only a sliding window are counted in full.
    """
    return cells * sum(info.n_head_kv) * (info.key_length + info.value_length) * 2


def read_gguf(path: Path | str) -> GGUFInfo:
    """Read and check the header of a model file; the weights are not touched.

    Raises:
        ModelFileError: it cannot be read, is damaged, cut short, foreign, too old or
            too new, or holds something else than one whole language model.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: not a file: give the path of a .gguf file")
        with path.open("rb") as file:
            header = HeaderReader(file, status.st_size, path).read()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise ModelFileError(f"{path}: cannot be read: {error}") from error
    info = GGUFInfo(
        path=path,
        size=status.st_size,
        version=header.version,
        metadata=header.metadata,
        tensors=header.tensors,
        layout=header.layout,
    )
    _check_is_model(info)
    return info


def _check_is_model(info: GGUFInfo) -> None:
    kind = info.metadata.get("general.type", "model")
    if kind == "adapter":
        raise ModelFileError(
            f"{info.path}: a LoRA adapter, which cannot answer alone: load its base model instead"
        )
    if kind != "model":
        raise ModelFileError(
            f"{info.path}: not a language model but {shown(str(kind))}: give the model file"
        )
    if info.metadata.get("split.count", 1) not in (0, 1):
        raise ModelFileError(
            f"{info.path}: one part of a model that was split: join the parts with "
            "`llama-gguf-split --merge FIRST OUT`, or pull a single file"
        )
    if not info.tensors:
        raise ModelFileError(f"{info.path}: holds no weights: give the whole model file")
    # Everything that memory is computed from is looked up once here, so that it cannot fail later.
    _ = info.vocab_size, info.context_length, info.name, info.licence, info.chat_template
    kv_bytes(info, 1)
