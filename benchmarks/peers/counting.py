"""Counts a peer's calls of llama_decode, and keeps what tokens it had llama.cpp evaluate."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Decodes:
    """Stands in for llama-cpp-python's ``llama_decode`` in this process from now on."""

    def __init__(self) -> None:
        modules = [import_module(name) for name in ("llama_cpp", "llama_cpp.llama_cpp")]
        self._decode: Any = modules[0].llama_decode
        self._first: list[int] = []
        self._cells: dict[int, int] = {}
        for module in modules:  # callers look it up in either
            module.llama_decode = self._counted  # type: ignore[attr-defined]  # of a module

    def begin(self) -> None:
        """Count from zero for the next answer."""
        self._first.clear()

    def behind(self, prompt_tokens: int) -> int:
        """Calls since ``begin`` that evaluated nothing of the prompt."""
        return sum(first >= prompt_tokens for first in self._first)

    def saw(self, prompt: list[int]) -> bool:
        """Whether the model was given these very tokens from position 0 on."""
        return [self._cells.get(i) for i in range(len(prompt))] == prompt

    def _counted(self, context: Any, batch: Any) -> Any:
        n = batch.n_tokens
        positions = batch.pos[:n]
        self._first.append(positions[0])
        self._cells.update(zip(positions, batch.token[:n], strict=True))
        return self._decode(context, batch)
