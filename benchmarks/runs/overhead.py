"""What a request spends above llama_decode: Python, masks, tokenizing, evidence; target 3 %"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data.receipts import ROOT
from benchmarks.data.schemas import Invoice, Receipt
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.models.gguf import GgufModel
from edgeslm.store.store import Store
from edgeslm.tasks.extraction.extractor import Extractor

#: put before the requests, so that the fixed prompt is evaluated
_OTHER_TEXT = "Corner Kiosk, 3 May 2024, one newspaper, total 2.40"
_TOKENS = 256
#: lines of the profile that are shown
_LINES = 14


@dataclass(slots=True)
class Spent:
    """Seconds of some requests, in the engine's evaluations and in all.

    The processor's time of this thread and wall-clock time; a busy machine lengthens the second
    alone. llama.cpp works in other threads, too, so the thread's share is an upper bound.
    """

    engine_cpu: float = 0.0
    total_cpu: float = 0.0
    engine_wall: float = 0.0
    total_wall: float = 0.0
    batches: int = 0

    @property
    def above(self) -> float:
        """The share of the thread's time that is spent above the engine, 0 to 1."""
        return 1 - self.engine_cpu / self.total_cpu


def measure(engine: LlamaEngine, run: Callable[[], object]) -> Spent:
    """Time what ``run`` evaluates, and all of it."""
    spent = Spent()
    evaluate = engine.evaluate

    def timed(batch: Batch) -> Logits:
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            return evaluate(batch)
        finally:
            spent.engine_cpu += time.thread_time() - cpu
            spent.engine_wall += time.perf_counter() - wall
            spent.batches += 1

    cpu, wall = time.thread_time(), time.perf_counter()
    engine.evaluate = timed  # type: ignore[method-assign]  # seen by every caller of the engine
    try:
        run()
    finally:
        engine.evaluate = evaluate  # type: ignore[method-assign]  # as it was
    spent.total_cpu = time.thread_time() - cpu
    spent.total_wall = time.perf_counter() - wall
    return spent


def answer_all(extractor: Extractor[Any], texts: Sequence[str]) -> None:
    """One request for each text."""
    for text in texts:
        extractor(text, max_tokens=_TOKENS)


def main(name: str = "smollm2-135m") -> None:
    """Print the shares for the receipts and the invoice of the demo, then the profile."""
    engine = LlamaEngine(Path(Store().resolve(name)), threads=1)
    model = GgufModel(engine)
    texts = {
        kind: [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(f"examples/{kind}*"))]
        for kind in ("receipt-", "invoice.txt")
    }
    try:
        for schema, kind in ((Receipt, "receipt-"), (Invoice, "invoice.txt")):
            extractor = model.extractor(schema)
            extractor(_OTHER_TEXT, max_tokens=1)
            spent = measure(engine, lambda e=extractor, k=kind: answer_all(e, texts[k]))  # type: ignore[misc]
            print(
                f"{schema.__name__}: {len(texts[kind])} requests, {spent.batches} batches, "
                f"{spent.total_cpu:.2f} s on one thread ({spent.total_wall:.2f} s by the clock); "
                f"above the engine {spent.above:.2%} "
                f"({(spent.total_cpu - spent.engine_cpu) * 1000:.0f} ms)"
            )
        profile = cProfile.Profile(time.thread_time)
        profile.runcall(answer_all, model.extractor(Receipt), texts["receipt-"])
        pstats.Stats(profile).sort_stats("tottime").print_stats(_LINES)
    finally:
        model.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
