"""Session: many threads, one engine; prefixes cached and dropped; deadlines, cancel, close."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import edgeslm
from edgeslm.decoding.grammar import Grammar, GrammarTokenizer
from edgeslm.decoding.prompt import Prompt
from edgeslm.decoding.session import PREFIX_SLOTS, WORK, Session
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import CancelledError, DeadlineError, EngineError
from edgeslm.formats.card import Style
from edgeslm.models.model import Model
from edgeslm.schema.schema import compile_schema
from edgeslm.testing import ScriptedEngine
from tests.helpers.engines import prefill, same, tokens_of
from tests.helpers.tiny_gguf import write_tiny_gguf

SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "integer"}, "paid": {"type": "boolean"}},
    "required": ["total", "paid"],
    "additionalProperties": False,
}


@pytest.fixture
def session(engine: LlamaEngine) -> Session:
    return Session(engine)


@pytest.fixture
def slow(slow_model: Path) -> Iterator[Model]:
    with edgeslm.load(slow_model, threads=1) as model:
        yield model


def prompt(number: int, length: int = 20) -> Prompt:
    """Fixed prompts that differ from the first token on."""
    return Prompt((3 + number, *tokens_of(length - 1)), (7,))


def alone(engine: LlamaEngine, tokens: list[int]) -> Logits:
    engine.truncate(WORK, 0)
    return engine.evaluate(Batch.run(tokens, 0, WORK))[-1].copy()


# --- prefixes -------------------------------------------------------------------------------


def test_a_cached_prefix_gives_the_same_logits(session: Session, engine: LlamaEngine) -> None:
    text = tokens_of(30, 5)
    expected = alone(engine, [*prompt(1).prefix, *text, 7])
    with session.request(None):
        first = prefill(session, prompt(1), text, 10)
        assert (first.cached, first.length) == (0, 51)
        assert same(first.row, expected)
        again = prefill(session, prompt(1), text, 10)
    assert (again.cached, again.length) == (20, 51)
    assert same(again.row, expected)


def test_more_prefixes_than_slots_take_turns(session: Session, engine: LlamaEngine) -> None:
    numbers = [*range(PREFIX_SLOTS + 3), 0, PREFIX_SLOTS + 2]
    with session.request(None):
        cached = []
        for number in numbers:
            filled = prefill(session, prompt(number), [9], 1)
            cached.append(filled.cached)
            row = filled.row.copy()
            assert same(row, alone(engine, [*prompt(number).prefix, 9, 7]))
    assert cached == [0] * (PREFIX_SLOTS + 4) + [20]


def test_the_context_grows_and_then_prefixes_make_room(
    tiny_model: Path, engine: LlamaEngine
) -> None:
    reference = engine
    engine = LlamaEngine(tiny_model, context_size=256, max_context=512, threads=1)
    session = Session(engine)
    try:
        with session.request(None):
            prefill(session, prompt(1, 100), tokens_of(50), 10)
            assert engine.context_size == 256
            prefill(session, prompt(2, 100), tokens_of(50), 10)
            assert engine.context_size == 512
            for number in (3, 4, 5, 6):
                filled = prefill(session, prompt(number, 100), tokens_of(150), 50)
                expected = [*prompt(number, 100).prefix, *tokens_of(150), 7]
                assert same(filled.row, alone(reference, expected))
            full = prefill(session, prompt(6, 100), tokens_of(400), 11)
            assert (full.cached, full.length) == (100, 501)
    finally:
        session.close()


def test_sessions_of_one_engine_keep_each_others_prefixes() -> None:
    """Unaware of each other they would use the same sequences, and answer other prompts."""
    engine = ScriptedEngine()
    prompts = [Prompt(tuple(engine.tokenize(f"{n} is asked ")), ()) for n in "AB"]
    text = engine.tokenize("this")
    wanted = [alone(engine, [*p.prefix, *text]) for p in prompts]
    sessions = [Session(engine) for _ in prompts]
    cached = []
    for n in (0, 1, 0, 1):
        with sessions[n].request(None):
            filled = prefill(sessions[n], prompts[n], text, 1)
            assert same(filled.row, wanted[n])
            cached.append(filled.cached)
    lengths = [len(p.prefix) for p in prompts]
    assert cached == [0, 0, *lengths]


def test_what_a_session_left_in_an_engine_takes_no_room_from_the_next(tiny_model: Path) -> None:
    engine = LlamaEngine(tiny_model, context_size=256, max_context=256, threads=1)
    session = Session(engine)
    for number in range(PREFIX_SLOTS):
        with session.request(None):
            prefill(session, prompt(number), tokens_of(3), 1)
    del session
    last = Session(engine)
    with last.request(None):
        prefill(last, prompt(0), tokens_of(200), 10)
    last.close()


def test_closing_one_session_closes_all_of_the_engine() -> None:
    engine = ScriptedEngine()
    first, second = Session(engine), Session(engine)
    first.close()
    with pytest.raises(EngineError, match="closed"), second.request(None):
        pass


def test_a_prompt_of_nothing_but_its_prefix_is_read(session: Session, engine: LlamaEngine) -> None:
    bare = Prompt(tuple(tokens_of(12)), ())
    expected = alone(engine, tokens_of(12))
    with session.request(None):
        for _ in range(2):
            assert same(prefill(session, bare, [], 1).row, expected)


def test_a_prompt_of_nothing_is_refused(session: Session) -> None:
    with pytest.raises(EngineError, match="no tokens"), session.request(None):
        prefill(session, Prompt((), ()), [], 1)


# --- threads --------------------------------------------------------------------------------


def test_eight_threads_get_what_each_gets_alone(tiny_model: Path) -> None:
    texts = [
        f"Invoice {number}: total {number * 7} paid äöü 😀 {'x' * number}" for number in range(20)
    ]
    with edgeslm.load(tiny_model, threads=1) as model:
        extract = model.extractor(SCHEMA)
        classify = model.classifier(["refund", "billing", "shipping date"])

        def ask(text: str) -> tuple[str, str, list[float]]:
            read, chosen = extract(text, max_tokens=24), classify(text)
            confidences = [field.confidence for field in read.fields.values()]
            shares = [*confidences, *chosen.probabilities.values()]
            return read.json, chosen.label, shares

        expected = [ask(text) for text in texts]
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(lambda: [ask(text) for text in texts]) for _ in range(8)]
    for call in calls:
        for answer, alone_answer in zip(call.result(), expected, strict=True):
            assert answer[:2] == alone_answer[:2]
            # drafts change the batches, and these the last digits
            assert answer[2] == pytest.approx(alone_answer[2], abs=1e-3)


# --- deadlines and cancel -------------------------------------------------------------------


@pytest.mark.parametrize("deadline_ms", [0, 0.001])
def test_a_deadline_that_has_passed_is_told(tiny_model: Path, deadline_ms: float) -> None:
    with edgeslm.load(tiny_model, threads=1) as model:
        classify = model.classifier(["refund", "billing"])
        with pytest.raises(DeadlineError):
            classify("hello " * 200, deadline_ms=deadline_ms)
        extract = model.extractor(SCHEMA)
        closed = extract("hello " * 200, deadline_ms=deadline_ms)
        assert not closed.complete
        assert {field.confidence for field in closed.fields.values()} == {0}
        assert classify("hello").label in {"refund", "billing"}


def test_a_deadline_without_end_is_none(tiny_model: Path) -> None:
    with edgeslm.load(tiny_model, threads=1) as model:
        for deadline_ms in (1e300, float("inf")):
            assert model.classifier(["refund", "billing"])("hello", deadline_ms=deadline_ms)


def test_a_deadline_counts_the_queue() -> None:
    session = Session(ScriptedEngine())  # type: ignore[arg-type]
    held = threading.Event()
    release = threading.Event()

    def hold() -> None:
        with session.request(None):
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        with pytest.raises(DeadlineError, match="other requests"), session.request(30):
            pytest.fail("the engine was held by another request")
    finally:
        release.set()
        thread.join()
    with session.request(30):
        pass


def test_cancel_stops_the_call_that_runs_and_no_other(slow: Model) -> None:
    classify = slow.classifier(["refund", "billing"])
    expected = classify("hello").probabilities
    timer = threading.Timer(0.3, slow.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        classify("hello " * 1500)
    timer.join()
    assert classify("hello").probabilities == pytest.approx(expected, abs=1e-3)
    slow.cancel()  # nothing runs: nothing happens
    assert classify("hello").probabilities == pytest.approx(expected, abs=1e-3)


# --- closing --------------------------------------------------------------------------------


def test_close_stops_what_runs_and_refuses_what_waits(slow_model: Path) -> None:
    model = edgeslm.load(slow_model, threads=1)
    classify = model.classifier(["refund", "billing"])
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(classify, "hello " * 1500) for _ in range(4)]
        time.sleep(0.3)
        start = time.monotonic()
        model.close()
        errors = [call.exception() for call in calls]
    assert time.monotonic() - start < 5  # the calls take longer
    assert sorted(type(error).__name__ for error in errors) == [
        "CancelledError",
        *["EngineError"] * 3,
    ]


def test_a_closed_model_refuses_every_call(tiny_model: Path) -> None:
    model = edgeslm.load(tiny_model, threads=1)
    extract, classify = model.extractor(SCHEMA), model.classifier(["refund", "billing"])
    model.close()
    model.close()
    model.cancel()
    for call in (
        lambda: extract("hello"),
        lambda: classify("hello"),
        lambda: model.extractor(SCHEMA),
        lambda: model.classifier(["refund", "billing"]),
    ):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_a_grammar_outlives_the_engine(tiny_model: Path) -> None:
    engine = LlamaEngine(tiny_model, threads=1)
    tokenizer = GrammarTokenizer(engine)
    vocab = engine.vocab
    engine.close()
    matcher = Grammar(compile_schema(SCHEMA), tokenizer, Style()).matcher()
    text = b""
    for _ in range(40):
        if matcher.is_stopped or matcher.is_accepting:
            break
        tokens = matcher.forced() or [int(np.flatnonzero(matcher.mask())[0])]
        matcher.consume(tokens)
        text += b"".join(vocab.pieces[token] for token in tokens)
    assert text.startswith(b'{"total":')


def test_a_model_of_another_shape_is_loaded_beside(tiny_model: Path, tmp_path: Path) -> None:
    other_path = write_tiny_gguf(tmp_path / "other.gguf", seed=1, vocab="spm")
    with edgeslm.load(tiny_model, threads=1) as one, edgeslm.load(other_path, threads=1) as two:
        classifiers = [model.classifier(["refund", "billing"]) for model in (one, two)]
        expected = [classify("hello").probabilities for classify in classifiers]
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(classifiers[n % 2], "hello") for n in range(40)]
        assert [call.result().probabilities for call in calls] == expected * 20
