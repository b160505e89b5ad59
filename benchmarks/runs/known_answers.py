"""An engine that evaluates every batch, then forces a known answer.

So what an answer costs can be measured on a task that no small model was trained for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.invoices import make_invoice
from benchmarks.peers.questions import (
    INVOICE_TOKENS,
    INVOICES,
    ITEMS,
    SchemaQuestion,
    Task,
    invoice_schema,
    invoice_sizes,
    invoices_in_words,
)
from edgeslm import Extraction
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EngineError


class KnownAnswerEngine(LlamaEngine):
    """Evaluates every batch, then gives the next token of a known answer the only high logit."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._answer: Sequence[int] = ()
        self._begin: int | None = None
        self._said = np.zeros((self.max_outputs, self.vocab.size), np.float32)
        self._high = np.zeros(self.max_outputs, np.intp)

    def say(self, answer: Sequence[int], begin: int) -> None:
        """Answer so behind a prompt of ``begin`` tokens."""
        self._answer, self._begin = answer, begin

    def evaluate(self, batch: Batch) -> Logits:
        rows = super().evaluate(batch)
        wanted = [p for p, wanted in zip(batch.positions, batch.wanted, strict=True) if wanted]
        if self._begin is None or (wanted and wanted[0] + 1 < self._begin):
            return rows  # the fixed prompt, or another one
        for i, position in enumerate(wanted):
            at = position + 1 - self._begin
            token = self._answer[at] if at < len(self._answer) else self.vocab.end[0]
            self._said[i, self._high[i]] = 0
            self._said[i, token], self._high[i] = 30, token
        return self._said[: len(wanted)]


class KnownAnswerQuestion(SchemaQuestion):
    """One schema on a model that answers right; ``answers`` as JSON by their texts."""

    def __init__(
        self,
        model: KnownAnswerEngine,
        schema: dict[str, Any],
        max_tokens: int,
        answers: Mapping[str, str],
    ) -> None:
        super().__init__(model, schema, max_tokens)
        self._model = model
        self._answers = answers

    def extract(self, text: str, *, exact: bool = False) -> Extraction[Any]:
        """EngineError where the answer is not the one that was put in the model's mouth."""
        answer = self._answers[text]
        self._model.say(self._model.tokenize(answer), len(self.tokens(text)))
        extraction = super().extract(text, exact=exact)
        if extraction.json != answer:
            raise EngineError(f"a right answer came out wrong: {extraction.json}, not {answer}")
        return extraction


def known_invoices(model: KnownAnswerEngine, count: int) -> Task:
    """The made invoices of the comparison, each answered right."""
    made = [(n, make_invoice(i, n)) for i, n in enumerate(invoice_sizes(count))]
    answers = {one.text: one.answer for _, one in made}
    questions = {
        n: KnownAnswerQuestion(model, invoice_schema(n), INVOICE_TOKENS, answers)
        for n in ITEMS[:count]
    }
    return Task(INVOICES, invoices_in_words(count), [(questions[n], one.text) for n, one in made])
