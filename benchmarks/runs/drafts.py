"""Copy drafts against decoding one by one: the same answers, and what they cost or save."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from pydantic import BaseModel

from benchmarks.data.receipts import FIELDS, Labelled, score
from benchmarks.peers.questions import SchemaQuestion, Task, receipt_question
from benchmarks.report.results.decode import Drafts, Overhead
from edgeslm import Extraction
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.evaluation.intervals import median_of, share

Tick = Callable[[], None]
Pair = tuple[Extraction[Any], Extraction[Any]]


def drafts(
    engine: LlamaEngine, kind: str, receipts: Sequence[Labelled], inputs: str, tick: Tick
) -> Drafts:
    """Each receipt with drafts and with ``drafts=False``, in turns. ``inputs`` in words."""
    question = receipt_question(engine)
    pairs = _both(question, [receipt.text for receipt in receipts], tick)
    truth = [receipt.truth for receipt in receipts]
    known = any(truth) and set(FIELDS) <= set(question.schema["properties"])
    return Drafts(
        kind=kind,
        steady=engine.steady,
        inputs=inputs,
        identical=share(sum(with_.json == exact.json for with_, exact in pairs), len(pairs)),
        ratio=median_of([exact.timing.total_ms / with_.timing.total_ms for with_, exact in pairs]),
        decodes=median(with_.timing.decodes for with_, _ in pairs),
        decodes_exact=median(exact.timing.decodes for _, exact in pairs),
        scores=score([_values(with_) for with_, _ in pairs], truth) if known else None,
        scores_exact=score([_values(exact) for _, exact in pairs], truth) if known else None,
    )


def overhead(task: Task, tick: Tick) -> Overhead:
    """What drafts cost, or save, at a task."""
    pairs = [pair for question, texts in _texts(task) for pair in _both(question, texts, tick)]
    return Overhead(
        task=task.name,
        n=len(pairs),
        ratio=median_of([with_.timing.total_ms / exact.timing.total_ms for with_, exact in pairs]),
        output_tokens=median(with_.timing.output_tokens for with_, _ in pairs),
        decodes=median(with_.timing.decodes for with_, _ in pairs),
        decodes_exact=median(exact.timing.decodes for _, exact in pairs),
    )


def _texts(task: Task) -> list[tuple[SchemaQuestion, list[str]]]:
    """The task's texts by question, in their order."""
    grouped = itertools.groupby(task.pairs, key=lambda pair: pair[0])
    return [(question, [text for _, text in pairs]) for question, pairs in grouped]


def _both(question: SchemaQuestion, texts: Sequence[str], tick: Tick) -> list[Pair]:
    """Answers with drafts and without; which comes first turns around from text to text."""
    question.extractor(texts[0], max_tokens=1)  # evaluates the fixed prompt, in no answer's time
    pairs = []
    for i, text in enumerate(texts):
        if i % 2 == 0:
            with_ = question.extract(text)
            exact = question.extract(text, exact=True)
        else:
            exact = question.extract(text, exact=True)
            with_ = question.extract(text)
        pairs.append((with_, exact))
        tick()
    return pairs


def _values(answer: Extraction[Any]) -> Mapping[str, Any]:
    value = answer.value
    return value.model_dump() if isinstance(value, BaseModel) else dict(value)
