"""llama-cpp-python, and outlines and guidance on it, as their own documentation uses them."""

from __future__ import annotations

import json
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any, Literal

from benchmarks.peers.counting import Decodes
from edgeslm.engines.llama.kernels import leave_out_amx


class Llama:
    """``Llama`` with ``LlamaGrammar``."""

    def __init__(self, model: str, threads: int, context: int) -> None:
        self._library = _llama_cpp()
        self._llama = _open_llama(self._library, model, threads, context)
        self._grammar: Any = None
        self.about = f"llama-cpp-python {version('llama-cpp-python')}"

    def prepare(self, wanted: dict[str, Any]) -> None:
        self._grammar = self._library.LlamaGrammar.from_string(wanted["grammar"], verbose=False)

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        start = time.perf_counter()
        done = self._llama.create_completion(
            tokens, max_tokens=max_tokens, temperature=0.0, grammar=self._grammar
        )
        return {
            "text": done["choices"][0]["text"],
            "ms": (time.perf_counter() - start) * 1000,
            "decodes": done["usage"]["completion_tokens"],
            "same_prompt": True,
        }


class Outlines:
    """outlines on llama-cpp-python's ``Llama``; ``kind`` is the backend that makes the masks."""

    def __init__(self, model: str, kind: str, threads: int, context: int) -> None:
        self._outlines: Any = import_module("outlines")
        self._kind = kind
        self._decodes = Decodes()
        llama = _open_llama(_llama_cpp(), model, threads, context)
        # chat mode would put the prompt, which is rendered already, into the template again
        self._model = self._outlines.from_llamacpp(llama, chat_mode=False)
        self._generator: Any = None
        self.about = f"outlines {version('outlines')}, {kind} {_version(kind)}"

    def prepare(self, wanted: dict[str, Any]) -> None:
        kind = output_type(wanted, self._kind)
        self._generator = self._outlines.Generator(self._model, kind, backend=self._kind)

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        self._decodes.begin()
        start = time.perf_counter()
        answer = self._generator(text, max_tokens=max_tokens, temperature=0.0)
        ms = (time.perf_counter() - start) * 1000
        return {
            "text": answer,
            "ms": ms,
            "decodes": self._decodes.behind(len(tokens)),
            "same_prompt": self._decodes.saw(tokens),
        }


class Guidance:
    """guidance's ``LlamaCpp``, which evaluates forced tokens together."""

    def __init__(self, model: str, threads: int, context: int) -> None:
        _llama_cpp()
        self._guidance: Any = import_module("guidance")
        self._decodes = Decodes()
        self._model = self._guidance.models.LlamaCpp(
            model,
            echo=False,
            enable_monitoring=False,
            n_ctx=context,
            n_threads=threads,
            n_threads_batch=threads,
            flash_attn=True,
        )
        self._wanted: dict[str, Any] = {}
        self.about = f"guidance {version('guidance')}, llguidance {_version('llguidance')}"

    def prepare(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        self._decodes.begin()
        start = time.perf_counter()
        answer = (self._model + text + self._rule(max_tokens))["answer"]
        return {
            "text": answer,
            "ms": (time.perf_counter() - start) * 1000,
            "decodes": self._decodes.behind(len(tokens)),
            "same_prompt": self._decodes.saw(tokens),
        }

    def _rule(self, max_tokens: int) -> Any:
        if "labels" in self._wanted:
            chosen = self._guidance.select(self._wanted["labels"], name="answer")
            return self._guidance.with_temperature(chosen, 0.0)
        return self._guidance.json(
            "answer",
            schema=self._wanted["schema"],
            temperature=0.0,
            max_tokens=max_tokens,
            separators=(",", ":"),
        )


def output_type(wanted: dict[str, Any], backend: str) -> Any:
    """outlines' type of the answers; the backend of llguidance knows no setting for spaces."""
    if "labels" in wanted:
        return Literal[tuple(wanted["labels"])]
    types = import_module("outlines.types.dsl")
    spaces = {"whitespace_pattern": ""} if backend == "outlines_core" else {}
    return types.JsonSchema(json.dumps(wanted["schema"]), **spaces)


def _llama_cpp() -> Any:
    """The library, with the kernels that edgeslm lets it use, so that both compute alike."""
    library = import_module("llama_cpp")
    library.llama_backend_init()
    leave_out_amx(import_module("llama_cpp._ggml").libggml)
    return library


def _open_llama(library: Any, model: str, threads: int, context: int) -> Any:
    return library.Llama(
        model,
        n_ctx=context,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=True,
        verbose=False,
    )


def _version(package: str) -> str:
    return version(package.replace("_", "-"))
