"""The tokenizer of a GGUF alone, as llama.cpp runs it: the weights are not loaded."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeslm.engines.engine import Vocab
from edgeslm.engines.llama.library import llama_cpp, log
from edgeslm.engines.llama.vocab import read_vocab
from edgeslm.errors import EngineError, ModelFileError
from edgeslm.formats.gguf.guard import refuse_fatal
from edgeslm.formats.gguf.info import read_gguf


class LlamaTokenizer:
    """What an Engine does with text, in a tenth of a second and little memory.

    Raises:
        ModelFileError: not a model whose vocabulary llama.cpp can load.
    """

    def __init__(self, path: Path) -> None:
        self.info = read_gguf(path)
        refuse_fatal(self.info)
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        overrides = no_space_prefix()
        parameters.kv_overrides = overrides
        log.errors = []
        self._model: Any = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise ModelFileError(
                f"{path}: llama.cpp cannot load this vocabulary: {log.reason()}. Pull the file "
                "again, or update llama-cpp-python if the model is newer than this build"
            )
        self._pointer = llama_cpp.llama_model_get_vocab(self._model)

    @cached_property
    def vocab(self) -> Vocab:
        return read_vocab(self._open(), self.chat_template)

    @property
    def chat_template(self) -> str | None:
        return self.info.chat_template

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return tokenize(self._open(), text, special=special)

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.vocab.pieces[token] for token in tokens)

    def close(self) -> None:
        """Free the vocabulary; a second call does nothing."""
        if self._model is not None:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _open(self) -> Any:
        if self._model is None:
            raise EngineError("the tokenizer is closed")
        return self._pointer


def tokenize(pointer: Any, text: str, *, special: bool) -> list[int]:
    """Token ids of a text under a ``llama_vocab`` pointer, with no BOS."""
    data = text.encode()
    room = len(data) + 8
    while True:
        buffer = (ctypes.c_int32 * room)()
        n = llama_cpp.llama_tokenize(pointer, data, len(data), buffer, room, False, special)
        if n >= 0:
            return buffer[:n]
        room = -n


def no_space_prefix() -> Any:
    """Overrides of metadata: SentencePiece puts no space before a text or behind control tokens.

    The prompt's parts are tokenized one by one, and an answer does not begin with a space.
    """
    overrides: Any = (llama_cpp.llama_model_kv_override * 2)()  # a key of no characters ends them
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_BOOL
    overrides[0].key = b"tokenizer.ggml.add_space_prefix"
    overrides[0].value.val_bool = False
    return overrides
