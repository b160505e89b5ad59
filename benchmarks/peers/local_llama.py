"""outlines and guidance on llama-cpp-python, as their own documentation uses them."""

from __future__ import annotations

import json
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any

from benchmarks.peers.counting import Decodes


class Outlines:
    """outlines on llama-cpp-python's ``Llama``; ``kind`` is the backend that makes the masks."""

    def __init__(self, model: str, kind: str, threads: int, context: int) -> None:
        self._outlines: Any = import_module("outlines")
        self._kind = kind
        self._decodes = Decodes()
        llama = import_module("llama_cpp").Llama(
            model,
            n_ctx=context,
            n_threads=threads,
            n_threads_batch=threads,
            flash_attn=True,
            verbose=False,
        )
        # chat mode would put the prompt, which is rendered already, into the template again
        self._model = self._outlines.from_llamacpp(llama, chat_mode=False)
        self._generator: Any = None
        self.about = f"outlines {version('outlines')}, {kind} {_version(kind)}"

    def prepare(self, schema: dict[str, Any], grammar: str) -> None:
        """Compile the schema; the backend of llguidance knows no setting for spaces."""
        types = import_module("outlines.types.dsl")
        spaces = {"whitespace_pattern": ""} if self._kind == "outlines_core" else {}
        wanted = types.JsonSchema(json.dumps(schema), **spaces)
        self._generator = self._outlines.Generator(self._model, wanted, backend=self._kind)

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

    def __init__(self, model: str, kind: str, threads: int, context: int) -> None:
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
        self._schema: dict[str, Any] = {}
        self.about = f"guidance {version('guidance')}, llguidance {_version('llguidance')}"

    def prepare(self, schema: dict[str, Any], grammar: str) -> None:
        self._schema = schema

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        self._decodes.begin()
        start = time.perf_counter()
        rule = self._guidance.json(
            "answer",
            schema=self._schema,
            temperature=0.0,
            max_tokens=max_tokens,
            separators=(",", ":"),
        )
        answer = (self._model + text + rule)["answer"]
        return {
            "text": answer,
            "ms": (time.perf_counter() - start) * 1000,
            "decodes": self._decodes.behind(len(tokens)),
            "same_prompt": self._decodes.saw(tokens),
        }


def _version(package: str) -> str:
    return version(package.replace("_", "-"))
