"""The process of benchmarks.runs.contention that times edgeslm, or a peer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data.schemas import Receipt

#: tokens in front of a timed decode
CELLS = 300
MAX_TOKENS = 256
#: evaluated before each timed request, so that all hold the fixed prompt and no more
OTHER_TEXT = "Corner Kiosk, 3 May 2024, one newspaper, total 2.40"

_request: Callable[[str, int], None]
_decode: Callable[[], None]


def open_edgeslm(model: Path, threads: int | None) -> None:
    """Become edgeslm with its defaults, but for ``threads`` where given."""
    global _request, _decode  # a worker process is edgeslm or one peer
    from edgeslm.engines.engine import Batch
    from edgeslm.engines.llama.engine import LlamaEngine
    from edgeslm.models.gguf import GgufModel

    engine = LlamaEngine(model, threads=threads)
    extractor = GgufModel(engine).extractor(Receipt)
    extractor(OTHER_TEXT, max_tokens=1)
    tokens = _prompt(engine.tokenize)
    sequence = engine.max_sequences - 1  # requests leave it alone
    engine.evaluate(Batch.run(tokens, 0, sequence))

    def request(text: str, max_tokens: int) -> None:
        extractor(text, max_tokens=max_tokens)

    def decode() -> None:
        engine.truncate(sequence, CELLS)
        engine.evaluate(Batch.run(tokens[:1], CELLS, sequence))

    _request, _decode = request, decode


def open_llama(model: Path) -> None:
    """Become llama-cpp-python's ``Llama`` with its own defaults, also of its OpenMP library."""
    global _request, _decode  # a worker process is edgeslm or one peer
    os.environ.pop("GOMP_SPINCOUNT", None)  # edgeslm's setting, if the parent had loaded it
    import llama_cpp

    # The library has read its environment now; from here on edgeslm's may be set.
    from benchmarks.peers.llama import CONTEXT, Llama
    from edgeslm.decoding.prompt import compile_prompt
    from edgeslm.engines.llama.engine import LlamaEngine
    from edgeslm.schema.schema import compile_schema
    from edgeslm.tasks.extraction.prompt import default_prompt

    schema = compile_schema(Receipt).source
    tokenizer = LlamaEngine(model, context_size=1, threads=1)
    prompt = compile_prompt(default_prompt(schema), tokenizer)
    peer = Llama(model, tuned=False)
    grammar = peer.grammar(schema)
    llama: Any = llama_cpp.Llama(str(model), n_ctx=CONTEXT, verbose=False)
    tokens = _prompt(tokenizer.tokenize)
    llama.eval(tokens)

    def request(text: str, max_tokens: int) -> None:
        prompt_tokens = [*prompt.prefix, *tokenizer.tokenize(text), *prompt.suffix]
        peer.answer(prompt_tokens, grammar, max_tokens)

    def decode() -> None:
        llama.n_tokens = CELLS
        llama.eval(tokens[:1])

    _request, _decode = request, decode


def _prompt(tokenize: Callable[[str], list[int]]) -> list[int]:
    return tokenize(OTHER_TEXT * CELLS)[:CELLS]


def time_request(text: str) -> float:
    """Milliseconds of one extraction; the fixed prompt is evaluated, the text is not."""
    _request(OTHER_TEXT, 1)
    return _ms(lambda: _request(text, MAX_TOKENS))


def time_decodes(count: int) -> list[float]:
    """Milliseconds of decodes of one token behind CELLS others."""
    return [_ms(_decode) for _ in range(count)]


def _ms(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000
