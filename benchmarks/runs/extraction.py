"""Receipts and an invoice through the extractor: form, truth, time, and time beside the peer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jsonschema_rs
from pydantic import BaseModel

from benchmarks.data.receipts import Labelled, score
from benchmarks.data.schemas import Invoice, Receipt
from benchmarks.peers.llama import Answer, Llama
from benchmarks.report.results.extraction import (
    INVOICE,
    OWN,
    RECEIPT,
    Comparison,
    PeerResult,
    Receipts,
)
from converters.gates import receipt_rules as rules
from edgeslm import Extraction, Extractor
from edgeslm.decoding.prompt import compile_prompt
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError, EngineError
from edgeslm.evaluation.intervals import median_of, percentile
from edgeslm.models.gguf import GgufModel
from edgeslm.tasks.extraction.prompt import default_prompt

RECEIPT_TOKENS = 256
INVOICE_TOKENS = 768
#: put before each timed call, so that all hold the fixed prompt and no more
OTHER_TEXT = "Corner Kiosk, 3 May 2024, one newspaper, total 2.40"

Tick = Callable[[], None]


class Task:
    """One schema on one loaded model: edgeslm's extractor, and its prompt as tokens for peers."""

    def __init__(self, engine: LlamaEngine, schema: type[BaseModel], max_tokens: int) -> None:
        self.extractor: Extractor[Any] = GgufModel(engine).extractor(schema)
        self.schema = self.extractor.schema.source
        self.max_tokens = max_tokens
        self._engine = engine
        self._prompt = compile_prompt(default_prompt(self.schema), engine)
        self._validator = jsonschema_rs.validator_for(self.schema, validate_formats=True)

    def extract(self, text: str) -> Extraction[Any]:
        return self.extractor(text, max_tokens=self.max_tokens)

    def tokens(self, text: str) -> list[int]:
        """The whole prompt, token for token what the extractor evaluates."""
        return [*self._prompt.prefix, *self._engine.tokenize(text), *self._prompt.suffix]

    def valid(self, answer: str) -> bool:
        """Whether an answer is JSON that keeps the schema, by a validator edgeslm does not use."""
        try:
            return self._validator.is_valid(json.loads(answer))
        except ValueError:
            return False


# --- all receipts: form, truth, time -------------------------------------------


def read_all(engine: LlamaEngine, receipts: Sequence[Labelled], tick: Tick) -> Receipts:
    """Every receipt through the extractor, and through the regular expressions."""
    task = Task(engine, Receipt, RECEIPT_TOKENS)
    task.extract(OTHER_TEXT)  # the fixed prompt is evaluated once for a process, not per receipt
    results: list[Extraction[Receipt] | None] = []
    errors: Counter[str] = Counter()
    tracebacks = 0
    for receipt in receipts:
        try:
            results.append(task.extract(receipt.text))
        except Exception as error:  # noqa: BLE001  any that escapes is what is counted here
            results.append(None)
            errors[type(error).__name__] += 1
            tracebacks += not isinstance(error, EdgeslmError)
        tick()
    done = [result for result in results if result is not None]
    if not done:
        raise EngineError(f"no receipt of {len(receipts)} was answered: {dict(errors)}")
    timings = [result.timing for result in done]
    truth = [receipt.truth for receipt in receipts]
    return Receipts(
        n=len(receipts),
        valid=sum(task.valid(result.json) for result in done),
        complete=sum(result.complete for result in done),
        errors=dict(errors),
        tracebacks=tracebacks,
        ms_median=median(t.total_ms for t in timings),
        ms_p95=percentile([t.total_ms for t in timings], 95),
        prefill_share=sum(t.prefill_ms for t in timings) / sum(t.total_ms for t in timings),
        prompt_tokens=median(t.prompt_tokens for t in timings),
        cached_tokens=median(t.cached_tokens for t in timings),
        output_tokens=median(t.output_tokens for t in timings),
        decodes=median(t.decodes for t in timings),
        model=score([r.value.model_dump() if r else None for r in results], truth),
        rules=score([rules.extract(receipt.text) for receipt in receipts], truth),
    )


# --- beside the peer ------------------------------------------------------------


def compare_receipts(
    engine: LlamaEngine, peers: Sequence[Llama], texts: Sequence[str], inputs: str, tick: Tick
) -> Comparison:
    """Receipts through edgeslm and the peers; ``inputs`` says in words which they are."""
    task = Task(engine, Receipt, RECEIPT_TOKENS)
    return _compare(RECEIPT, task, peers, texts, tick, inputs=inputs)


def compare_invoice(
    engine: LlamaEngine, peers: Sequence[Llama], invoice: Path, rounds: int, tick: Tick
) -> Comparison:
    """One invoice with six line items, several times."""
    task = Task(engine, Invoice, INVOICE_TOKENS)
    texts = [invoice.read_text(encoding="utf-8")] * rounds
    inputs = f"examples/{invoice.name}, {rounds} times"
    return _compare(INVOICE, task, peers, texts, tick, inputs=inputs)


def _compare(
    task_name: str,
    task: Task,
    peers: Sequence[Llama],
    texts: Sequence[str],
    tick: Tick,
    *,
    inputs: str,
) -> Comparison:
    answers = _take_turns(task, peers, texts, tick)
    own = answers[OWN]
    results = [
        PeerResult(
            name=name,
            ms=median(a.ms for a in given),
            output_tokens=median(a.output_tokens for a in given),
            decodes=median(a.decodes for a in given),
            ms_per_token=median(a.ms / a.output_tokens for a in given),
            valid=sum(task.valid(a.text) for a in given),
            same=sum(map(_same, given, own)),
        )
        for name, given in answers.items()
    ]
    return Comparison(
        task=task_name,
        inputs=inputs,
        n=len(texts),
        max_tokens=task.max_tokens,
        peers=results,
        ratios={
            peer.name: median_of(
                [theirs.ms / ours.ms for theirs, ours in zip(answers[peer.name], own, strict=True)]
            )
            for peer in peers
        },
    )


def _same(answer: Answer, other: Answer) -> bool:
    """Whether two answers hold the same JSON value; one that is cut off equals only its like."""
    try:
        return bool(json.loads(answer.text) == json.loads(other.text))
    except ValueError:
        return answer.text == other.text


def _take_turns(
    task: Task, peers: Sequence[Llama], texts: Sequence[str], tick: Tick
) -> dict[str, list[Answer]]:
    """The answers of edgeslm and each peer; the order turns around from one text to the next."""
    answerers = {OWN: _edgeslm(task)}
    answerers |= {peer.name: _peer(task, peer) for peer in peers}
    answers: dict[str, list[Answer]] = {name: [] for name in answerers}
    for i, text in enumerate(texts):
        for name in list(answerers)[:: 1 if i % 2 == 0 else -1]:
            answers[name].append(answerers[name](text))
            tick()
    return answers


def _edgeslm(task: Task) -> Callable[[str], Answer]:
    def answer(text: str) -> Answer:
        task.extractor(OTHER_TEXT, max_tokens=1)
        result = task.extract(text)
        timing = result.timing
        if timing.prompt_tokens != len(task.tokens(text)):
            raise EngineError("the peer's prompt must be edgeslm's, or the comparison is unfair")
        return Answer(result.json, timing.total_ms, timing.output_tokens, timing.decodes)

    return answer


def _peer(task: Task, peer: Llama) -> Callable[[str], Answer]:
    grammar = peer.grammar(task.schema)

    def answer(text: str) -> Answer:
        peer.answer(task.tokens(OTHER_TEXT), grammar, max_tokens=1)
        return peer.answer(task.tokens(text), grammar, task.max_tokens)

    return answer
