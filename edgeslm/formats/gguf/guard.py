"""Refuses model files whose header would make llama.cpp end the process instead of failing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NoReturn

from edgeslm.errors import ModelFileError
from edgeslm.formats.gguf.constants import U64
from edgeslm.formats.gguf.header import AGAIN, shown
from edgeslm.formats.gguf.info import GGUFInfo

#: bytes; llama.cpp wants every tensor to begin at a multiple
TENSOR_ALIGNMENT = 32
# llama.cpp's own limits; beyond them an assertion fails there
_MAX_LAYERS = 512
_MAX_EXPERTS = 1024
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
#: SentencePiece and byte-level BPE; others abort, or never return, on some texts
_TOKENIZERS = ("llama", "gpt2", "gemma4")
_TOKENS = "tokenizer.ggml.tokens"


def refuse_fatal(info: GGUFInfo) -> None:
    """Check what llama.cpp asserts of a model file but does not report as an error.

    Reads the vocabulary; the weights are not touched. 49,152 tokens take about 30 ms.

    Raises:
        ModelFileError: this file would end the process.
    """
    if info.layout.alignment % TENSOR_ALIGNMENT:
        _refuse(info, f"its tensors are aligned to {info.layout.alignment} bytes")
    if info.n_layer > _MAX_LAYERS:
        _refuse(info, f"it has {info.n_layer} layers, {_MAX_LAYERS} are allowed")
    if _number(info, "nextn_predict_layers") > info.n_layer:
        _refuse(info, "it has more layers for prediction than layers")
    if not _experts_agree(info):
        _refuse(info, "its counts of experts contradict each other")
    scaling = info.metadata.get(f"{info.architecture}.rope.scaling.type", "linear")
    if scaling not in _ROPE_SCALINGS:
        _refuse(info, f"its rope.scaling.type {shown(str(scaling))} is unknown")
    for key, value in info.metadata.items():
        if key.endswith("epsilon") and isinstance(value, float) and not value >= 0:
            _refuse(info, f"its {shown(key)} is {value}")
    tokenizer = info.metadata.get("tokenizer.ggml.model")
    if tokenizer not in _TOKENIZERS:
        raise ModelFileError(
            f"{info.path}: its tokenizer {shown(str(tokenizer))} is none of "
            f"{', '.join(_TOKENIZERS)}; use a model with one of these"
        )
    _check_vocabulary(info, needs_bytes=tokenizer == "llama")


def _experts_agree(info: GGUFInfo) -> bool:
    count, used = _number(info, "expert_count"), _number(info, "expert_used_count")
    groups = _number(info, "expert_group_count")
    if count == 0:
        return used == 0 and groups == 0
    if count > _MAX_EXPERTS or not 0 < used <= count or groups >= count:
        return False
    return groups < 2 or (
        count % groups == 0 and 0 < _number(info, "expert_group_used_count") < groups
    )


def _number(info: GGUFInfo, key: str) -> int:
    """A count, the largest of a count per layer, or 0 where there is none."""
    value = info.metadata.get(f"{info.architecture}.{key}", 0)
    counts = value if isinstance(value, tuple) else (value,)
    return max((count for count in counts if type(count) is int), default=0)


def _check_vocabulary(info: GGUFInfo, *, needs_bytes: bool) -> None:
    try:
        tokens = {
            token or b"[EMPTY_%d]" % number  # llama.cpp's name for an empty one
            for number, token in enumerate(_tokens(info))
        }
    except (OSError, struct.error) as error:
        raise ModelFileError(f"{info.path}: changed while it was read: {error}") from error
    if len(tokens) < info.vocab_size:
        _refuse(info, "a token of its vocabulary occurs twice")
    if needs_bytes:
        for byte in range(256):
            if b"<0x%02X>" % byte not in tokens and bytes([byte]) not in tokens:
                _refuse(info, f"its vocabulary has no token for the byte 0x{byte:02X}")


def _tokens(info: GGUFInfo) -> Iterator[bytes]:
    start, end = info.layout.entries[_TOKENS]
    with info.path.open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    # the entry: its key, the types of the value and its items, how many, and the items
    at = U64.size + len(_TOKENS) + 2 * 4 + U64.size
    for _ in range(info.vocab_size):
        length = U64.unpack_from(data, at)[0]
        at += U64.size
        yield data[at : at + length]
        at += length


def _refuse(info: GGUFInfo, why: str) -> NoReturn:
    raise ModelFileError(f"{info.path}: {why}, which llama.cpp cannot load; {AGAIN}")
