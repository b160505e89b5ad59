"""Batches on the real model: the bits of single calls until cells are reused, then near them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data.models import requantized
from edgeslm.decoding.session import FIRST_FREE
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.models.gguf import GgufModel
from edgeslm.store.store import Store
from tests.conftest import CACHE, REAL_NAME

pytestmark = pytest.mark.real

RECEIPT = {
    "type": "object",
    "properties": {
        "shop": {"type": "string", "maxLength": 30},
        "number": {"type": "integer", "minimum": 0, "maximum": 9999},
    },
    "required": ["shop", "number"],
}
#: a row's logits that lead by more are the best ones wherever its cells lie; measured: 0.15
CLEAR = 1.0
#: of a row against the same row alone; measured: 0.027. A row of another text has more than 1
DIVERGENCE = 0.1


@dataclass(slots=True)
class Row:
    """Logits after a run of tokens; ``is_reused`` where cells had been freed before it."""

    logits: Logits
    is_reused: bool


class Recorder:
    """The engine, keeping the logits of each row by all tokens up to it."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self._tokens: dict[int, list[int]] = {}
        self.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def start(self) -> None:
        self.rows: dict[tuple[int, ...], Row] = {}
        self.widest = 0
        self._is_reused = False

    def evaluate(self, batch: Batch) -> Logits:
        logits = self._engine.evaluate(batch)
        rows = iter(logits)
        self.widest = max(self.widest, len({s for row in batch.sequences for s in row}))
        for token, sequences, wanted in zip(
            batch.tokens, batch.sequences, batch.wanted, strict=True
        ):
            for sequence in sequences:
                self._tokens.setdefault(sequence, []).append(token)
            if wanted:
                row = Row(next(rows).copy(), self._is_reused)
                self.rows[tuple(self._tokens[sequences[0]])] = row
        return logits

    def fork(self, source: int, target: int) -> None:
        self._tokens[target] = list(self._tokens.get(source, []))
        self._engine.fork(source, target)

    def truncate(self, sequence: int, length: int) -> None:
        tokens = self._tokens.get(sequence, [])
        self._is_reused |= sequence >= FIRST_FREE and len(tokens) > length
        del tokens[length:]
        self._engine.truncate(sequence, length)

    def resize(self, context_size: int) -> None:
        if context_size > self._engine.context_size:
            self._tokens.clear()
        self._engine.resize(context_size)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    try:
        source = Store().resolve(REAL_NAME)
    except EdgeslmError as error:
        pytest.skip(f"needs the real model: {error}")
    engine = LlamaEngine(requantized(source, "Q4_0", CACHE), gpu_layers=0)
    yield Recorder(engine)
    engine.close()


def receipts(length: int) -> list[str]:
    examples = Path(__file__).parents[2] / "examples"
    whole = [(examples / f"receipt-{i}.txt").read_text(encoding="utf-8") for i in (1, 2)]
    return [text[start : start + length] for text in whole for start in (0, 100)]


def divergence(reference: Logits, logits: Logits) -> float:
    """KL divergence in nats."""
    p, q = (row - row.max() - np.log(np.exp(row - row.max()).sum()) for row in (reference, logits))
    return float((np.exp(p) * (p - q)).sum(dtype=np.float64))


@pytest.mark.parametrize(("length", "budget"), [(30, 24), (200, 12)])
def test_logits_are_those_of_single_calls(recorder, length, budget):
    """Short prompts and their answers to the last bit, until the first answer ends."""
    texts = receipts(length)
    extract = GgufModel(recorder).extractor(RECEIPT)
    recorder.start()
    for text in texts:
        extract(text, max_tokens=budget, drafts=False, evidence=False)
    alone = recorder.rows
    recorder.start()
    answers = list(extract.map(texts, width=3, max_tokens=budget, drafts=False, evidence=False))
    assert len(answers) == 4
    assert recorder.widest == 3
    common = [(alone[key], row) for key, row in recorder.rows.items() if key in alone]
    assert len(common) > len(alone) / 2
    for reference, row in common:
        if length == 30 and recorder.steady and not row.is_reused:
            assert np.array_equal(row.logits, reference.logits)
        assert divergence(reference.logits, row.logits) < DIVERGENCE
        second, best = np.sort(reference.logits)[-2:]
        if best - second > CLEAR:
            assert row.logits.argmax() == reference.logits.argmax()
    assert any(row.is_reused for _, row in common)
    assert length > 30 or sum(not row.is_reused for _, row in common) > 8


def test_clear_answers_are_those_of_single_calls(recorder):
    """Where each token had most of the probability, nothing that rounding does changes it."""
    totals = [3, 42, 17, 250, 88, 9]
    texts = [f"Order {i}. The total is {total} euros. Thank you!" for i, total in enumerate(totals)]
    schema = {
        "type": "object",
        "properties": {"total": {"type": "integer", "minimum": 0, "maximum": 999}},
        "required": ["total"],
    }
    extract = GgufModel(recorder).extractor(schema)
    alone = [extract(text) for text in texts]
    together = list(extract.map(texts, width=4))
    clear = [i for i, answer in enumerate(alone) if answer.fields["$.total"].confidence > 0.75]
    assert len(clear) >= 3
    assert [together[i].json for i in clear] == [alone[i].json for i in clear]


def test_probabilities_are_those_of_single_calls(recorder):
    texts = [*receipts(30)[:2], *receipts(200)[:2]]
    classify = GgufModel(recorder).classifier(["receipt", "invoice", "complaint"])
    alone = [classify(text) for text in texts]
    for reference, together in zip(alone, classify.map(texts, width=3), strict=True):
        assert together.probabilities == pytest.approx(reference.probabilities, abs=0.1)
        first, second, _ = sorted(reference.probabilities.values(), reverse=True)
        assert first - second < 0.2 or together.label == reference.label
