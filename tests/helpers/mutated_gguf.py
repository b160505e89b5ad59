"""Damaged and hostile GGUF files, made from a tiny model: what a loader must survive."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.tiny_gguf import write_tiny_gguf

#: numbers that hyperparameters must not be taken for granted to lie within
NUMBERS = (0, 1, 2, 3, 5, 7, 63, 64, 65, 127, 255, 511, 513, 1025, 65_537, 2**24, 2**31, 2**32 - 1)
OTHERS: tuple[Any, ...] = (None, -1, 0.0, -1.5, 1e38, "", "x", True, [], [0], [1, 2], [0.5, 0.5])
#: keys of hyperparameters and tokenizer, and some that the tiny model does without
KEYS = (
    *(
        f"llama.{key}"
        for key in (
            "block_count", "context_length", "embedding_length", "feed_forward_length",
            "attention.head_count", "attention.head_count_kv", "attention.key_length",
            "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count",
            "rope.freq_base", "rope.scaling.type", "rope.scaling.factor",
            "rope.scaling.original_context_length", "vocab_size", "expert_count",
            "expert_used_count", "expert_group_count", "attention.sliding_window",
            "leading_dense_block_count", "nextn_predict_layers", "embedding_length_out",
            "attention.causal", "pooling_type", "logit_scale", "tensor_data_layout",
        )
    ),
    *(
        f"tokenizer.{key}"
        for key in (
            "ggml.model", "ggml.pre", "ggml.tokens", "ggml.token_type", "ggml.merges",
            "ggml.scores", "ggml.bos_token_id", "ggml.eos_token_id", "ggml.eot_token_id",
            "ggml.unknown_token_id", "ggml.padding_token_id", "ggml.add_bos_token",
            "ggml.add_space_prefix", "ggml.token_type_count", "ggml.precompiled_charsmap",
            "ggml.suppress_tokens", "ggml.normalizer.lowercase", "chat_template",
        )
    ),
    "general.architecture", "general.type", "general.alignment", "general.file_type", "split.count",
)  # fmt: skip
ARCHITECTURES = (
    "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "falcon", "gpt2", "bert",
    "t5", "mamba", "rwkv6", "clip", "nonsense",
)  # fmt: skip
TOKENIZERS = ("gpt2", "llama", "bert", "t5", "rwkv", "plamo2", "none", "no_vocab", "hybriddna")


def damaged_bytes(base: bytes, header: int, rng: random.Random) -> bytes:
    """One of: bytes flipped in the header, cut short, a run overwritten, bytes put in."""
    data = bytearray(base)
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(header)] = rng.randrange(256)
    elif kind == 1:
        del data[rng.randrange(len(data)) :]
    elif kind == 2:
        at = rng.randrange(header)
        data[at : at + rng.choice((1, 4, 8, 64))] = rng.choice((b"\0", b"\xff")) * 8
    elif kind == 3:
        at = rng.randrange(header)
        data[at:at] = rng.randbytes(rng.choice((1, 8)))
    else:  # the weights: not-a-number and infinity everywhere
        at = rng.randrange(header, len(data))
        data[at:] = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\xff")) * ((len(data) - at) // 4 + 1)
    return bytes(data)


def hostile_metadata(rng: random.Random) -> dict[str, Any]:
    """Arguments of ``write_tiny_gguf`` whose metadata contradicts the weights or itself."""
    changes: dict[str, Any] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        key = rng.choice(KEYS)
        if key == "general.architecture":
            changes[key] = rng.choice(ARCHITECTURES)
        elif key == "tokenizer.ggml.model" and rng.random() < 0.8:
            changes[key] = rng.choice(TOKENIZERS)
        elif key.endswith(".tokens") and rng.random() < 0.8:
            changes[key] = _odd_tokens(rng)
        else:
            changes[key] = rng.choice((*NUMBERS, *OTHERS))
    return {"vocab": rng.choice(("bytes", "bytes", "spm")), **changes}


def _odd_tokens(rng: random.Random) -> list[str]:
    tokens = [f"t{number}" for number in range(rng.choice((1, 256, 456, 500)))]
    for _ in range(rng.choice((0, 1, 4))):
        tokens[rng.randrange(len(tokens))] = rng.choice(("", "t0", "[EMPTY_3]", "<0x0A>", "\n"))
    return tokens


def write_mutants(folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Files that are each wrong in some way, or happen not to be."""
    rng = random.Random(seed)
    bases = [
        write_tiny_gguf(folder / f"base-{vocab}.gguf", vocab=vocab) for vocab in ("bytes", "spm")
    ]
    headers = [read_gguf(base).layout.data for base in bases]
    for number in range(count):
        path = folder / f"{number:05}.gguf"
        if number % 2:
            which = rng.randrange(2)
            path.write_bytes(damaged_bytes(bases[which].read_bytes(), headers[which], rng))
        else:
            arguments = hostile_metadata(rng)
            try:
                write_tiny_gguf(path, **arguments)
            except (
                ValueError,
                TypeError,
                OverflowError,
                struct.error,
            ):  # what the writer cannot spell
                continue
        yield path
