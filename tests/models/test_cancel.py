"""cancel: a call by its token, a model's calls that run or wait, and never the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import edgeslm
from edgeslm.engines.engine import Batch, Logits
from edgeslm.errors import ArgumentError, CancelledError, DeadlineError, EngineError
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_onnx import HEADS, card, write_tiny_onnx

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


class Gate(ScriptedEngine):
    """An engine that evaluates nothing while its gate is shut, until it is cancelled."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.open = threading.Event()
        self.open.set()
        self.waits = threading.Event()

    def evaluate(self, batch: Batch) -> Logits:
        self.waits.set()
        while not self.open.wait(0.005):
            if self._cancelled:
                break
        return super().evaluate(batch)


@pytest.fixture
def gate() -> Gate:
    return Gate("a", adapters={"x.gguf": "b"})


@pytest.fixture
def model(gate: Gate) -> Iterator[GgufModel]:
    with GgufModel(gate) as opened:
        yield opened


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def queued(model: GgufModel, count: int) -> None:
    """Wait until so many requests run or wait."""
    turns = model._session._shared.turns
    while len(turns._open) < count:
        time.sleep(0.001)


def test_a_token_cancels_the_call_that_has_it_and_no_other(
    model: GgufModel, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    classify = model.classifier(["a", "b"])
    tokens = [edgeslm.CancelToken() for _ in range(3)]
    gate.open.clear()
    gate.waits.clear()
    calls: list[Future[Any]] = []
    for number, token in enumerate(tokens, start=1):
        calls.append(pool.submit(classify, "text", cancel=token))
        queued(model, number)
    assert gate.waits.wait(10)
    tokens[1].cancel()  # it waits
    with pytest.raises(CancelledError):
        calls[1].result(10)
    assert not calls[0].done()
    tokens[0].cancel()  # it runs
    with pytest.raises(CancelledError):
        calls[0].result(10)
    gate.open.set()
    assert calls[2].result(10).label == "a"


def test_a_late_cancel_does_not_hit_the_next_call(model: GgufModel) -> None:
    classify, token = model.classifier(["a", "b"]), edgeslm.CancelToken()
    assert classify("text", cancel=token).label == "a"
    token.cancel()
    assert classify("text").label == "a"
    assert token.cancelled
    with pytest.raises(CancelledError):
        classify("text", cancel=token)
    with pytest.raises(CancelledError):
        list(classify.map(["text"], cancel=token))


def test_cancel_of_a_model_stops_all_that_run_or_wait_and_none_that_come(
    model: GgufModel, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    classify, extract = model.classifier(["a", "b"]), model.extractor(SCHEMA)
    gate.open.clear()
    calls = [pool.submit(tool, "text") for tool in (classify, extract, classify)]
    queued(model, 3)
    model.cancel()
    for call in calls:
        with pytest.raises(CancelledError):
            call.result(10)
    gate.open.set()
    assert classify("text").label == "a"
    model.cancel()  # nothing runs
    assert classify("text").label == "a"


def test_cancel_of_a_model_leaves_the_calls_of_its_base_alone(
    model: GgufModel, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    other = model.without_prefix_cache()
    base, own = model.classifier(["a", "b"]), other.classifier(["a", "b"])
    gate.open.clear()
    calls = [pool.submit(base, "text"), pool.submit(own, "text")]
    queued(model, 2)
    other.cancel()
    with pytest.raises(CancelledError):
        calls[1].result(10)
    gate.open.set()
    assert calls[0].result(10).label == "a"


def test_a_deadline_passes_in_the_queue_without_a_turn(
    model: GgufModel, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    classify = model.classifier(["a", "b"])
    gate.open.clear()
    first = pool.submit(classify, "text")
    queued(model, 1)
    with pytest.raises(DeadlineError):
        classify("text", deadline_ms=20)
    gate.open.set()
    assert first.result(10).label == "a"


def test_closing_stops_what_runs_and_refuses_what_waits(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    model = GgufModel(gate)
    classify = model.classifier(["a", "b"])
    gate.open.clear()
    calls = [pool.submit(classify, "text")]
    queued(model, 1)
    assert gate.waits.wait(10)
    calls.append(pool.submit(classify, "text"))
    queued(model, 2)
    model.close()
    for call, kind in zip(calls, (CancelledError, EngineError), strict=True):
        with pytest.raises(kind):
            call.result(10)
    model.close()


def test_a_token_ends_map_after_what_is_in_progress(model: GgufModel) -> None:
    token = edgeslm.CancelToken()

    def texts() -> Iterator[str]:
        for number in range(1000):
            if number == 5:
                token.cancel()
            yield "text"

    answers = model.classifier(["a", "b"]).map(texts(), width=2, cancel=token)
    answered = []
    with pytest.raises(CancelledError):
        for answer in answers:
            answered.append(answer)  # noqa: PERF402  what came before the error counts
    assert 1 <= len(answered) <= 5


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_a_token_cancels_calls_and_map_of_an_encoder(tmp_path: Path, task: str) -> None:
    promise = card(task=HEADS) if task == "tag" else card()
    with edgeslm.load(write_tiny_onnx(tmp_path / "tiny.onnx", promise), threads=1) as model:
        call: Any = model.tagger() if task == "tag" else model.classifier()
        token = edgeslm.CancelToken()
        assert call("refund", cancel=token)
        token.cancel()
        with pytest.raises(CancelledError):
            call("refund", cancel=token)
        assert call("refund")
        with pytest.raises(CancelledError):
            list(call.map(["refund"] * 9, cancel=token))
        fresh = edgeslm.CancelToken()

        def texts() -> Iterator[str]:
            for number in range(1000):
                if number == 9:
                    fresh.cancel()
                yield "refund"

        answered = []
        with pytest.raises(CancelledError):
            for answer in call.map(texts(), width=2, cancel=fresh):
                answered.append(answer)  # noqa: PERF402
        assert len(answered) <= 10
        with pytest.raises(ArgumentError, match="cancel must be"):
            call("refund", cancel=threading.Event())


def test_a_cancel_while_an_encoder_reads_the_text_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with edgeslm.load(write_tiny_onnx(tmp_path / "tiny.onnx"), threads=1) as model:
        classify = model.classifier()
        for stop in (edgeslm.CancelToken(), None):
            read = classify._read

            def slow(text: str, truncate: Any, stop: Any = stop, read: Any = read) -> Any:
                (stop or model).cancel()
                return read(text, truncate)

            monkeypatch.setattr(classify, "_read", slow)
            with pytest.raises(CancelledError):
                classify("refund", cancel=stop)
            monkeypatch.undo()
        assert classify("refund").label == "refund"


def test_one_token_stops_calls_of_several_models(
    model: GgufModel, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    token, other = edgeslm.CancelToken(), Gate("a")
    with GgufModel(other) as second:
        tools = [model.classifier(["a", "b"]), second.classifier(["a", "b"])]
        gate.open.clear()
        other.open.clear()
        calls = [pool.submit(tool, "text", cancel=token) for tool in tools]
        queued(model, 1)
        queued(second, 1)
        token.cancel()
        for call in calls:
            with pytest.raises(CancelledError):
                call.result(10)


def test_a_token_stops_a_cascade_between_its_members_and_in_them(
    model: GgufModel, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    token, asked = edgeslm.CancelToken(), []

    def unsure(text: str) -> Any:
        asked.append(text)
        token.cancel()
        return edgeslm.Classification("a", 0.1, {"a": 0.1, "b": 0.9}, None)  # type: ignore[arg-type]

    def never(_text: str) -> str:
        raise AssertionError("nobody else is asked")

    cascade = edgeslm.Cascade([unsure, never], fallback=never)
    with pytest.raises(CancelledError):
        cascade("text", cancel=token)
    with pytest.raises(CancelledError):
        list(cascade.map(["text"], cancel=token))
    assert asked == ["text"]
    fresh = edgeslm.CancelToken()
    gate.open.clear()
    call = pool.submit(edgeslm.Cascade([model.classifier(["a", "b"])]), "text", cancel=fresh)
    queued(model, 1)
    fresh.cancel()
    with pytest.raises(CancelledError):
        call.result(10)
    with pytest.raises(ArgumentError, match="cancel must be"):
        cascade("text", cancel=True)  # type: ignore[arg-type]
