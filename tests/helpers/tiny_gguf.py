"""Writes tiny random-weight GGUF models that llama.cpp loads, for tests without downloads."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'"
    " + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

#: control tokens; they come first, as in SmolLM2, so that their ids are 0, 1 and 2
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_WORDS = """
th in er an on re he or en at es al it ar st nd is le ou ng ed ro se me ve ic as ti de ri the and
ing ion tion ent for ter her est all ver ate ore int com pro con not are you address company amount
balance total date invoice refund shipping billing items price name quantity number true false null
label value text user assistant system 2024 2025 199
"""

#: pieces that become one token each, in order of merge rank
_PIECES = (
    *_WORDS.split(),
    *(" the", " and", " of", " to", " in", " a", " is", " for", " on", " total", " date", " not"),
    *(f"{number:02}" for number in range(0, 100, 5)),
    *('":', '{"', '",', '"}', '":"', '","', '"]', '["', '":{', "}}", "},", "[{", '":['),
    *("\n\n", "  ", "é", "ü", "ß", "中", "€", "😀"),
)


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    n_layer: int = 2,
    n_embd: int = 64,
    n_head: int = 4,
    n_kv: int = 2,
    n_ff: int = 128,
    n_ctx: int = 2048,
    vocab: str = "bytes",
    pre: str = "gpt-2",
    chat_template: str | None = CHATML,
    quant: str = "F32",
    tied: bool = False,
    card: Card | None = None,
    **overrides: Any,
) -> Path:
    """Write a valid llama-architecture GGUF; the same arguments give the same bytes.

    Args:
        vocab: "bytes" is byte-level BPE, "spm" a SentencePiece vocabulary with byte
            tokens that asks for a space in front of every text, "none" has no tokenizer.
        pre: how the BPE splits text before merging; "smollm" never merges digits.
        quant: the type of the matrices, one that `gguf` can encode: F32, F16, BF16,
            Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0.
        tied: the embeddings are the output weights too.
        overrides: metadata to set last, ``**{"general.name": "x"}``; None leaves a key out.

    Returns:
        ``path``, for chaining.
    """
    size = {"bytes": _bpe_size, "spm": _spm_size, "none": lambda: 300}[vocab]()
    metadata: dict[str, Any] = {
        "general.type": "model",
        "general.name": "Tiny Random",
        "general.license": "apache-2.0",
        "general.file_type": int(gguf.LlamaFileType[_FILE_TYPES.get(quant, f"MOSTLY_{quant}")]),
        "llama.block_count": n_layer,
        "llama.context_length": n_ctx,
        "llama.embedding_length": n_embd,
        "llama.feed_forward_length": n_ff,
        "llama.attention.head_count": n_head,
        "llama.attention.head_count_kv": n_kv,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": n_embd // n_head,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": size,
        **{"bytes": lambda: _bpe(pre), "spm": _spm, "none": dict}[vocab](),
        "tokenizer.chat_template": chat_template,
        CARD_KEY: None if card is None else card.to_json(),
        **overrides,
    }
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if value is not None:
            writer.add_key_value(key, value, _value_type(value))
    weights = _weights(
        np.random.default_rng(seed), size, n_layer, n_embd, n_embd // n_head * n_kv, n_ff
    )
    if tied:
        del weights["output.weight"]
    quant_type = gguf.GGMLQuantizationType[quant]
    for name, tensor in weights.items():
        kind = quant_type if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_FILE_TYPES = {"F32": "ALL_F32"}


def _value_type(value: Any) -> gguf.GGUFValueType:
    unsigned = isinstance(value, int) and not isinstance(value, bool)  # as llama.cpp wants counts
    return gguf.GGUFValueType.UINT32 if unsigned else gguf.GGUFValueType.get_type(value)


def _weights(
    rng: np.random.Generator, n_vocab: int, n_layer: int, n_embd: int, n_embd_kv: int, n_ff: int
) -> dict[str, NDArray[np.float32]]:
    """Matrices [out, in] scaled so that activations stay near 1 and logits spread by about 2."""

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        values = rng.standard_normal((rows, columns), dtype=np.float32)
        return values * np.float32(scale / columns**0.5)

    ones = np.ones(n_embd, dtype=np.float32)
    weights = {"token_embd.weight": matrix(n_vocab, n_embd, n_embd**0.5)}
    for layer in range(n_layer):
        weights |= {
            f"blk.{layer}.attn_norm.weight": ones,
            f"blk.{layer}.attn_q.weight": matrix(n_embd, n_embd),
            f"blk.{layer}.attn_k.weight": matrix(n_embd_kv, n_embd),
            f"blk.{layer}.attn_v.weight": matrix(n_embd_kv, n_embd),
            f"blk.{layer}.attn_output.weight": matrix(n_embd, n_embd),
            f"blk.{layer}.ffn_norm.weight": ones,
            f"blk.{layer}.ffn_gate.weight": matrix(n_ff, n_embd),
            f"blk.{layer}.ffn_up.weight": matrix(n_ff, n_embd),
            f"blk.{layer}.ffn_down.weight": matrix(n_embd, n_ff),
        }
    return weights | {"output_norm.weight": ones, "output.weight": matrix(n_vocab, n_embd, 2.0)}


# --- byte-level BPE -----------------------------------------------------------


def _byte_characters() -> list[str]:
    """GPT-2's printable spelling of each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {byte: chr(byte) for byte in printable}
    spelled |= {byte: chr(256 + rank) for rank, byte in enumerate(others)}
    return [spelled[byte] for byte in range(256)]


def _bpe_pieces() -> tuple[list[str], list[str]]:
    """Tokens and merges: each piece of ``_PIECES`` is joined with the merges there are so far."""
    characters = _byte_characters()
    tokens = list(characters)
    ranks: dict[tuple[str, str], int] = {}
    for piece in _PIECES:
        symbols = [characters[byte] for byte in piece.encode()]
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            pair = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            if pair not in ranks:
                ranks[pair] = len(ranks)
                tokens.append("".join(pair))
            at = pairs.index(pair)
            symbols[at : at + 2] = ["".join(pair)]
    return list(dict.fromkeys(tokens)), [" ".join(pair) for pair in ranks]


def _bpe_size() -> int:
    return len(CONTROL) + len(_bpe_pieces()[0])


def _bpe(pre: str) -> dict[str, Any]:
    tokens, merges = _bpe_pieces()
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*CONTROL, *tokens],
        "tokenizer.ggml.token_type": [control] * len(CONTROL) + [normal] * len(tokens),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }


# --- SentencePiece ------------------------------------------------------------


def _spm_pieces() -> list[str]:
    """Single characters, then pieces with all their beginnings, since SentencePiece joins pairs."""
    characters = [chr(code) for code in range(0x21, 0x7F)]
    words = [piece.replace(" ", "▁") for piece in _PIECES if piece.isascii() and "\n" not in piece]
    starts = [word[:end] for word in words for end in range(2, len(word) + 1)]
    return list(dict.fromkeys([*characters, "▁", "é", "ü", "€", *starts]))


def _spm_size() -> int:
    return 3 + 256 + len(_spm_pieces()) + 2


def _spm() -> dict[str, Any]:
    pieces = _spm_pieces()
    kinds = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256]
    types += [kinds.NORMAL] * len(pieces) + [kinds.CONTROL] * 2
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [*tokens, *CONTROL[1:]],
        "tokenizer.ggml.scores": [float(-rank) for rank in range(len(tokens) + 2)],
        "tokenizer.ggml.token_type": [int(kind) for kind in types],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": len(tokens) + 1,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": True,
    }
