"""llama-server over HTTP on localhost, from the wheel xllamacpp, which has it as a library."""

from __future__ import annotations

import json
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any
from urllib.request import Request, urlopen

_SECONDS = 600


class Server:
    """A server of one slot; ``kind`` is the parameter of /completion that constrains it."""

    def __init__(self, model: str, kind: str, threads: int, context: int) -> None:
        library: Any = import_module("xllamacpp")
        settings = library.CommonParams()
        settings.model.path = model
        settings.n_ctx = context
        settings.n_parallel = 1
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        flash = library.llama_flash_attn_type
        settings.flash_attn_type = flash.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self._server: Any = library.Server(settings)
        self._kind = kind
        self._constraint: Any = None
        self.about = (
            f"xllamacpp {version('xllamacpp')}: {' '.join(library.get_system_info().split())}"
        )

    def prepare(self, wanted: dict[str, Any]) -> None:
        self._constraint = wanted["schema" if self._kind == "json_schema" else "grammar"]

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        body = {
            "prompt": tokens,
            "n_predict": max_tokens,
            "temperature": 0,
            "cache_prompt": True,
            self._kind: self._constraint,
        }
        start = time.perf_counter()
        request = Request(
            f"{self._server.listening_address}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=_SECONDS) as response:
            done = json.load(response)
        return {
            "text": done["content"],
            "ms": (time.perf_counter() - start) * 1000,
            "decodes": done["tokens_predicted"],
            "same_prompt": done["tokens_evaluated"] == len(tokens),
        }
