"""The peer: llama-cpp-python's high-level Llama with LlamaGrammar, on the same file and tokens."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.results.extraction import DEFAULTS, TUNED
from edgeslm.engines.device import machine

# Importing it sets OpenMP and the log up as edgeslm needs them, before the library loads.
from edgeslm.engines.llama.library import llama_cpp
from edgeslm.errors import EngineError

#: the peer's default of 512 holds no prompt of these benchmarks
CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call gave and cost. ``output_tokens`` leaves out the end token."""

    text: str
    ms: float
    output_tokens: int
    decodes: int


class Llama:
    """One loaded Llama.

    Args:
        tuned: with edgeslm's thread count, flash attention, and JSON without spaces, so that
            both write the same form; else with the peer's own defaults for all three.
    """

    def __init__(self, model: Path, *, tuned: bool) -> None:
        self.name = TUNED if tuned else DEFAULTS
        self._tuned = tuned
        threads = machine.default_threads()
        settings: dict[str, Any] = (
            {"flash_attn": True, "n_threads": threads, "n_threads_batch": threads} if tuned else {}
        )
        self._llama: Any = llama_cpp.Llama(str(model), n_ctx=CONTEXT, verbose=False, **settings)

    def grammar(self, schema: dict[str, Any]) -> Any:
        """The schema as the peer's own converter understands it."""
        from llama_cpp.llama_grammar import LlamaGrammar, json_schema_to_gbnf

        text = json.dumps(schema)
        if not self._tuned:
            return LlamaGrammar.from_json_schema(text, verbose=False)
        return compiled(without_spaces(json_schema_to_gbnf(text)))

    def answer(self, prompt: list[int], grammar: Any, max_tokens: int) -> Answer:
        """Complete a prompt greedily under the grammar."""
        start = time.perf_counter()
        done = self._llama.create_completion(
            prompt, max_tokens=max_tokens, temperature=0.0, grammar=grammar
        )
        ms = (time.perf_counter() - start) * 1000
        tokens = done["usage"]["completion_tokens"]
        return Answer(done["choices"][0]["text"], ms, tokens, decodes=tokens)

    def close(self) -> None:
        self._llama.close()


def compiled(grammar: str) -> Any:
    """GBNF as the peer takes it."""
    from llama_cpp.llama_grammar import LlamaGrammar

    return LlamaGrammar.from_string(grammar, verbose=False)


def without_spaces(grammar: str) -> str:
    """A grammar of the peer's converter with nothing where it allows a space."""
    fixed, rules = re.subn(r"^space ::= .*$", 'space ::= ""', grammar, flags=re.MULTILINE)
    if rules != 1:
        raise EngineError("this llama-cpp-python writes its grammar without one rule for spaces")
    return fixed


def describe_defaults() -> str:
    """The settings of the peer's defaults on this machine, in words."""
    threads = max((os.cpu_count() or 1) // 2, 1)
    return (
        f"{threads} thread(s) for decoding, {os.cpu_count()} for prefill, no flash attention, "
        "spaces where the model wants them"
    )
