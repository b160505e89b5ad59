"""The vocabulary of a GGUF that llama.cpp has loaded."""

from __future__ import annotations

import ctypes
from typing import Any

from edgeslm.engines.engine import Vocab
from edgeslm.engines.llama.library import llama_cpp


def read_vocab(pointer: Any, chat_template: str | None) -> Vocab:
    """Pieces and special tokens behind a ``llama_vocab`` pointer."""
    size = llama_cpp.llama_vocab_n_tokens(pointer)
    control = {
        t: _piece(pointer, t, special=True).decode("utf-8", "replace")
        for t in range(size)
        if llama_cpp.llama_vocab_is_control(pointer, t)
    }
    bos = llama_cpp.llama_vocab_bos(pointer)
    return Vocab(
        pieces=tuple(b"" if t in control else _piece(pointer, t) for t in range(size)),
        control=control,
        bos=bos if llama_cpp.llama_vocab_get_add_bos(pointer) and bos >= 0 else None,
        end=_end_tokens(pointer, control, chat_template or ""),
    )


def _end_tokens(pointer: Any, control: dict[int, str], template: str) -> tuple[int, ...]:
    """Tokens that end an answer, that of the chat template first.

    Where the file names no end of turn, llama.cpp takes any control token that looks
    like one: of SmolLM2's `<|im_end|>` and `<|endoftext|>` the one that is not used.
    """
    named = [llama_cpp.llama_vocab_eos(pointer), llama_cpp.llama_vocab_eot(pointer)]
    marked = [t for t in sorted(control) if llama_cpp.llama_vocab_is_eog(pointer, t)]
    end = dict.fromkeys(t for t in (*named, *marked) if t >= 0)
    return tuple(sorted(end, key=lambda t: control.get(t, "") not in template))


def _piece(pointer: Any, token: int, special: bool = False) -> bytes:
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        n = llama_cpp.llama_token_to_piece(pointer, token, buffer, size, 0, special)
        if n >= 0:
            return buffer.raw[:n]
        size = -n
