"""Builds GGUF files byte by byte, so that tests can spell what no writer would."""

from __future__ import annotations

import struct
from collections.abc import Sequence

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def text_entry(key: str | bytes, text: str | bytes) -> bytes:
    return entry(key, STRING, string(text))


def u32_entry(key: str, value: int) -> bytes:
    return entry(key, U32, struct.pack("<I", value))


def array_entry(key: str, kind: int, length: int, items: bytes) -> bytes:
    return entry(key, ARRAY, struct.pack("<IQ", kind, length) + items)


def tokens_entry(tokens: Sequence[str | bytes]) -> bytes:
    items = b"".join(string(token) for token in tokens)
    return array_entry("tokenizer.ggml.tokens", STRING, len(tokens), items)


def tensor(name: str | bytes, shape: Sequence[int] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    table = string(name) + struct.pack("<I", len(shape))
    return table + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


#: the least that is a model: one layer, one head, four tokens, no chat template
ENTRIES = (
    text_entry("general.architecture", "llama"),
    u32_entry("llama.block_count", 1),
    u32_entry("llama.context_length", 64),
    u32_entry("llama.embedding_length", 8),
    u32_entry("llama.attention.head_count", 1),
    tokens_entry(["a", "b", "ab", b"\xff"]),
)


def raw_gguf(
    entries: Sequence[bytes] = ENTRIES,
    tensors: Sequence[bytes] = (tensor("token_embd.weight"),),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_entries: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
    data: bytes = bytes(range(32)),
) -> bytes:
    """The bytes of a file; the counts are those of ``entries`` and ``tensors`` unless given."""
    counts = (
        len(tensors) if n_tensors is None else n_tensors,
        len(entries) if n_entries is None else n_entries,
    )
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return header + bytes(-len(header) % alignment) + data
