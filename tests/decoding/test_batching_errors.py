"""Batches in which something goes wrong: bad texts, cancel, deadlines, closing midway."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from edgeslm.engines.engine import Batch, Logits
from edgeslm.errors import (
    CancelledError,
    EdgeslmError,
    EngineError,
    InputError,
    InputTooLongError,
    OutputTruncatedError,
)
from edgeslm.results import Extraction
from edgeslm.testing import ScriptedEngine
from tests.helpers.batches import LABELS, SCHEMA, assert_free, model_of


def test_a_bad_text_has_its_error_in_its_place():
    extract = model_of(context_size=256)[0].extractor(SCHEMA)
    texts: list[Any] = ["the a", "", "the b", 7, "x" * 9000, "the c"]
    answers = list(extract.map(texts, max_tokens=100))
    kinds = [type(answer) for answer in answers]
    assert kinds == [Extraction, InputError, Extraction, InputError, InputTooLongError, Extraction]
    names = [answer.value["name"] for answer in answers if isinstance(answer, Extraction)]
    assert names == ["the a", "the b", "the c"]


def test_an_input_that_fails_ends_it_and_frees_all():
    model, _ = model_of()

    def texts() -> Iterator[str]:
        yield from ["the a", "the b"]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        list(model.extractor(SCHEMA).map(texts()))
    assert_free(model)


def test_a_call_frees_the_labels_it_compared():
    model, _ = model_of()
    model.classifier(LABELS)("the total")
    assert_free(model)


def test_closing_midway_frees_all():
    model, engine = model_of()
    extract = model.extractor(SCHEMA)
    answers = extract.map(f"the {i}" for i in range(100))
    next(answers)
    answers.close()
    done = len(engine.evaluated)
    assert_free(model)
    assert len(engine.evaluated) == done
    assert extract("the a").value["name"] == "the a"


def test_an_iterator_that_is_dropped_may_be_collected_while_the_engine_is_held():
    model, _ = model_of()
    answers = model.extractor(SCHEMA).map(f"the {i}" for i in range(100))
    next(answers)
    with model._session.request(None):
        del answers  # would wait for itself if it took the engine
    assert_free(model)


def failing(engine: ScriptedEngine, at: int, error: EdgeslmError | None) -> None:
    """The evaluation of this number fails, or is where another thread cancels."""
    evaluate = engine.evaluate

    def evaluate_or_fail(batch: Batch) -> Logits:
        if len(engine.evaluated) == at:
            engine.evaluate = evaluate
            if error is not None:
                raise error
            engine.cancel()
        return evaluate(batch)

    engine.evaluate = evaluate_or_fail


def test_cancel_ends_those_in_progress_and_no_other():
    model, engine = model_of()
    failing(engine, 30, None)
    answers = list(model.extractor(SCHEMA).map([f"the {i}" for i in range(20)], width=4))
    cancelled = [i for i, answer in enumerate(answers) if isinstance(answer, CancelledError)]
    assert 1 <= len(cancelled) <= 4
    for i in set(range(20)) - set(cancelled):
        assert answers[i].value["name"] == f"the {i}"


def test_an_evaluation_that_fails_costs_only_those_in_it():
    model, engine = model_of()
    failing(engine, 25, EngineError("it broke"))
    answers = list(model.extractor(SCHEMA).map([f"the {i}" for i in range(20)], width=4))
    failed = [answer for answer in answers if isinstance(answer, EdgeslmError)]
    assert 1 <= len(failed) <= 4
    assert {str(error) for error in failed} == {"it broke"}
    assert_free(model)


def test_a_closed_model_ends_it():
    model, _ = model_of()
    answers = model.extractor(SCHEMA).map(f"the {i}" for i in itertools.count())
    next(answers)
    model.close()
    with pytest.raises(EngineError, match="closed"):
        list(answers)


def test_a_deadline_is_each_text_s_own(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("edgeslm.decoding.batching.time.monotonic", lambda: now)
    model, engine = model_of()
    evaluate = engine.evaluate

    def slow(batch: Batch) -> Logits:
        nonlocal now
        now += 0.01
        return evaluate(batch)

    engine.evaluate = slow
    extract = model.extractor(SCHEMA)
    texts = ["the a", "x9 q,w.e? x9 q,w.e? x9!", "the b"]
    budget = 0.0
    for text in (texts[0], texts[2]):
        begun = now
        extract(text, drafts=False)
        budget = max(budget, (now - begun) * 1000 + 5)
    answers = []
    for answer in extract.map(texts, width=1, deadline_ms=budget, drafts=False, evidence=False):
        answers.append(answer)
        now += 100  # the taker's own time does not count
    assert [answer.complete for answer in answers] == [True, False, True]
    late = list(extract.map(texts, width=1, deadline_ms=budget, drafts=False, on_budget="raise"))
    assert [type(answer) for answer in late] == [Extraction, OutputTruncatedError, Extraction]
