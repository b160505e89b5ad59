"""A GGUF's tokenizer as transformers has it: rebuilt, for a folder that can be exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.errors import BaseModelError, require
from edgeslm.formats.gguf.constants import U64
from edgeslm.formats.gguf.header import ArrayInfo
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: GGUF's numbers of the kinds of token
_CONTROL, _USER_DEFINED = 3, 4

# The published regular expressions, which llama.cpp spells by hand for the same names.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
#: pre-tokenizers that are rebuilt here, by llama.cpp's names
PRE_TOKENIZERS = ("gpt-2", "smollm", "llama-bpe", "qwen2")


def rebuild_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The byte-level BPE tokenizer of a GGUF, with its control tokens and chat template.

    transformers' own reader knows no pre-tokenizer but one for each architecture, so that
    its tokens of numbers and white space are not those of llama.cpp.

    Raises:
        ModelFileError: the file cannot be read.
        BaseModelError: its tokenizer is of another kind.
    """
    require("tokenizers", "transformers")
    from transformers import PreTrainedTokenizerFast

    info = read_gguf(path)
    model, pre = (info.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        raise BaseModelError(
            f"{path}: its tokenizer ({str(model)[:32]}, {str(pre)[:32]}) cannot be rebuilt; train "
            "from the Hugging Face folder of this model instead"
        )
    tokens = _strings(info, "tokenizer.ggml.tokens")
    special = {key: info.metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos")}
    made: Any = PreTrainedTokenizerFast  # its constructor has no types
    tokenizer: PreTrainedTokenizerFast = made(
        tokenizer_object=_byte_level_bpe(info, str(pre), tokens),
        chat_template=info.chat_template,
        model_max_length=info.context_length,
        clean_up_tokenization_spaces=False,
        **{
            f"{key}_token": tokens[token]
            for key, token in special.items()
            if token is not None and token < len(tokens)
        },
    )
    return tokenizer


def _byte_level_bpe(info: GGUFInfo, pre: str, tokens: list[str]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    merges = [_pair(merge) for merge in _strings(info, "tokenizer.ggml.merges")]
    vocab = {token: index for index, token in enumerate(tokens)}
    try:
        bpe = Tokenizer(models.BPE(vocab, merges, ignore_merges=pre == "llama-bpe"))
    except Exception as error:  # tokenizers raises nothing more special
        raise BaseModelError(
            f"{info.path}: its vocabulary and merges do not fit together: {error}; pull it again"
        ) from error
    bpe.pre_tokenizer = _pre_tokenizer(pre)
    if pre == "qwen2":
        bpe.normalizer = normalizers.NFC()
    bpe.decoder = decoders.ByteLevel()
    kinds = _token_types(info)
    for kind in (_CONTROL, _USER_DEFINED):
        bpe.add_tokens(
            [
                AddedToken(token, special=kind == _CONTROL, normalized=False)
                for token, its_kind in zip(tokens, kinds, strict=True)
                if its_kind == kind
            ]
        )
    bos = info.metadata.get("tokenizer.ggml.bos_token_id")
    if info.metadata.get("tokenizer.ggml.add_bos_token") and bos is not None:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)]
        )
    return bpe


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _pre_tokenizer(pre: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre == "gpt-2":
        return words
    if pre == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    pattern = Regex(_LLAMA3 if pre == "llama-bpe" else _QWEN2)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _strings(info: GGUFInfo, key: str) -> list[str]:
    """An array of strings; gguf's own reader takes seconds for a vocabulary."""
    data, count = _items(info, key)
    strings, at = [], 0
    for _ in range(count):
        length = U64.unpack_from(data, at)[0]
        at += U64.size + length
        strings.append(data[at - length : at].decode("utf-8", "replace"))
    return strings


def _token_types(info: GGUFInfo) -> list[int]:
    key = "tokenizer.ggml.token_type"
    short = info.metadata.get(key)  # short arrays of numbers come with the header
    if isinstance(short, tuple):
        return list(short)
    return [int(kind) for kind in np.frombuffer(_items(info, key)[0], "<i4")]


def _items(info: GGUFInfo, key: str) -> tuple[bytes, int]:
    """The bytes of an array's items, and how many items there are."""
    array = info.metadata.get(key)
    if not isinstance(array, ArrayInfo):
        raise BaseModelError(f"{info.path}: has no list {key}; convert the model again")
    start, end = info.layout.entries[key]
    with info.path.open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    # the entry: its key, the types of the value and its items, how many, and the items
    return data[U64.size + len(key) + 2 * 4 + U64.size :], array.length
