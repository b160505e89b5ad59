"""Saved prefixes in use: the bits of evaluated ones, nothing of a text, in a loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgeslm
from edgeslm.decoding.prompt import Prompt
from edgeslm.decoding.sequences.prefix_files import (
    LIMIT_VARIABLE,
    MIN_TOKENS,
    PrefixCache,
    Weights,
    used_bytes,
)
from edgeslm.decoding.session import WORK, Session
from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError, EngineError
from edgeslm.evaluation.doctor import examine
from edgeslm.testing import ScriptedEngine
from tests.decoding.sequences.test_prefix_files import TOKENS, WEIGHTS, cache_in, put
from tests.helpers.engines import feed, prefill, tokens_of
from tests.helpers.tiny_gguf import write_tiny_gguf

LABELS = {"refund": "the customer wants money back", "billing": "the customer asks for an invoice"}


# --- with an engine -------------------------------------------------------------------------


def engine_cache(engine: LlamaEngine, folder: Path) -> PrefixCache:
    return PrefixCache(folder, 10**9, Weights(Path("m.gguf"), WEIGHTS), engine.identity)


def ask(model: Path, cache: Path, prompt: Prompt, text: list[int]) -> tuple[int, np.ndarray]:
    """Tokens not evaluated, and the logits after a prompt and after ten more single rows."""
    engine = LlamaEngine(model, threads=2)
    try:
        session = Session(engine, engine_cache(engine, cache))
        with session.request(None):
            filled = prefill(session, prompt, text, 20)
            rows = [filled.row.copy()]
            for at in range(10):
                batch = Batch.run([9], filled.length + at, WORK)
                rows.append(engine.evaluate(batch)[0].copy())
        return filled.cached, np.stack(rows)
    finally:
        engine.close()


@pytest.mark.parametrize("length", [MIN_TOKENS, 64, 100, 513, 700])
def test_a_restored_prefix_has_the_bits_of_an_evaluated_one(
    tiny_model: Path, tmp_path: Path, length: int
) -> None:
    prompt = Prompt(tuple(tokens_of(length)), (7, 8))
    cached, evaluated = ask(tiny_model, tmp_path, prompt, tokens_of(30, 5))
    again, restored = ask(tiny_model, tmp_path, prompt, tokens_of(30, 5))
    assert (cached, again) == (0, length)
    assert np.array_equal(evaluated, restored)


@pytest.mark.real
def test_the_real_model_does_so_too(real_model: Path, tmp_path: Path) -> None:
    words = [1000 + 31 * i for i in range(300)]
    prompt = Prompt(tuple(words), (7, 8))
    cached, evaluated = ask(real_model, tmp_path, prompt, tokens_of(30, 5))
    again, restored = ask(real_model, tmp_path, prompt, tokens_of(30, 5))
    assert (cached, again) == (0, 300)
    assert np.array_equal(evaluated, restored)


def test_restored_cells_count_as_used(tiny_model: Path) -> None:
    # Past 256 cells a single row is evaluated in company, or its bits would be others.
    rows = []
    state = b""
    for restored in (False, True):
        engine = LlamaEngine(tiny_model, threads=2)
        if restored:
            engine.restore(1, state)
        else:
            feed(engine, tokens_of(600), sequence=1)
            state = engine.save(1)
        feed(engine, tokens_of(60, 3))
        rows.append(feed(engine, [9], 60))
        engine.close()
    assert np.array_equal(*rows)


def test_a_state_that_the_engine_refuses_is_evaluated_again(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    cache = cache_in(tmp_path)
    put(cache, state=b"odd")  # its restore wants four bytes for each token
    prompt = Prompt(tuple(TOKENS), (7,))
    session = Session(engine, cache)  # type: ignore[arg-type]
    with pytest.raises(EngineError):
        engine.restore(1, b"odd")
    with session.request(None):
        assert prefill(session, prompt, [9], 1).cached == 0
    assert cache.get(TOKENS) == np.asarray(TOKENS, np.int32).tobytes()


def test_a_prompt_that_was_stopped_is_not_kept(tmp_path: Path) -> None:
    session = Session(ScriptedEngine(), cache_in(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(EdgeslmError), session.request(0):
        prefill(session, Prompt(tuple(TOKENS), (7,)), [9], 1)
    assert list(tmp_path.iterdir()) == []


def kept_after(model: Path, folder: Path, text: list[int]) -> dict[str, bytes]:
    """The files of two prompts, the second evaluated after a text was answered."""
    engine = LlamaEngine(model, threads=1)
    try:
        session = Session(engine, engine_cache(engine, folder))
        with session.request(None):
            for prompt in (Prompt(tuple(tokens_of(70)), ()), Prompt(tuple(TOKENS), (7, 8))):
                prefill(session, prompt, text, 10)
        return {path.name: path.read_bytes() for path in folder.iterdir()}
    finally:
        engine.close()


def test_a_text_leaves_no_bit_in_what_is_kept(tiny_model: Path, tmp_path: Path) -> None:
    kept = kept_after(tiny_model, tmp_path / "a", tokens_of(200, 50))
    assert len(kept) == 2
    assert kept_after(tiny_model, tmp_path / "b", tokens_of(200, 80)) == kept


def test_what_is_kept_is_the_prompt_alone(tiny_model: Path, tmp_path: Path) -> None:
    engine = LlamaEngine(tiny_model, threads=1)
    feed(engine, TOKENS, sequence=1)
    expected = engine.save(1)
    engine.close()
    ask(tiny_model, tmp_path, Prompt(tuple(TOKENS), (7, 8)), tokens_of(300, 80))
    engine = LlamaEngine(tiny_model, threads=1)
    assert engine_cache(engine, tmp_path).get(TOKENS) == expected
    engine.close()


# --- a loaded model -------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(LIMIT_VARIABLE)
    return tmp_path / "home" / "prefixes"


def classify_once(path: Path, text: str) -> edgeslm.Classification:
    with edgeslm.load(path, threads=1) as model:
        return model.classifier(LABELS)(text)


def test_a_loaded_model_keeps_its_prompt_and_never_the_text(
    tiny_model: Path, tmp_path: Path, home: Path
) -> None:
    first = classify_once(tiny_model, "the ice is thin")
    kept = {path.name: path.read_bytes() for path in home.iterdir()}
    second = classify_once(tiny_model, "the ice is thin")
    assert first.timing.cached_tokens == 0
    assert second.timing.cached_tokens >= MIN_TOKENS
    assert second.probabilities == first.probabilities
    classify_once(tiny_model, "another text altogether 4711")
    assert {path.name: path.read_bytes() for path in home.iterdir()} == kept
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    assert classify_once(other, "the ice is thin").timing.cached_tokens == 0
    report = examine()
    assert (report.prefix_cache, report.prefix_cache_bytes) == (home, used_bytes(home))
    assert report.prefix_cache_bytes > sum(map(len, kept.values()))


def test_a_limit_of_nothing_keeps_nothing(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    for _ in range(2):
        assert classify_once(tiny_model, "the ice is thin").timing.cached_tokens == 0
    assert not home.exists()


@pytest.mark.parametrize("value", ["lots", "-1", "1.5", "1e3", "١", "9" * 10])
def test_a_limit_that_is_no_number_is_refused(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, value)
    with pytest.raises(EdgeslmError, match="whole number of megabytes"):
        edgeslm.load(tiny_model)
    assert [f.about for f in examine().findings if f.level == "problem"] == ["prefix cache"]
