"""LlamaEngine on a tiny random model: tokens, sequences, states, stopping, limits, memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.engine import BATCH_SIZE, MAX_OUTPUTS, LlamaEngine
from edgeslm.errors import EngineError
from tests.helpers.engines import feed, same, tokens_of
from tests.helpers.tiny_gguf import write_tiny_gguf

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text("ab \n\t\0é中€😀<|>_▁", max_size=40),
    st.lists(st.sampled_from(["<|im_end|>", "<s>", "<0x0A>", "\n", "  ", "👩‍👩‍👧", "\0", "x"])).map(
        "".join
    ),
)


@pytest.fixture(scope="module", params=["bytes", "spm"])
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaEngine]:
    path = tmp_path_factory.mktemp("vocab") / "model.gguf"
    opened = LlamaEngine(write_tiny_gguf(path, vocab=request.param), threads=1)
    yield opened
    opened.close()


# --- tokens ---------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_text_comes_back_as_it_went_in(tokenizer: LlamaEngine, text: str) -> None:
    tokens = tokenizer.tokenize(text)
    if tokenizer.vocab.bos is not None:  # SentencePiece spells a space with this character
        text = text.replace("▁", " ")
    assert tokenizer.detokenize(tokens) == text.encode()
    assert not set(tokens) & set(tokenizer.vocab.control)


def test_control_text_is_a_token_only_where_it_is_asked_for(tokenizer: LlamaEngine) -> None:
    [end] = tokenizer.tokenize("<|im_end|>", special=True)
    assert tokenizer.vocab.control[end] == "<|im_end|>"
    assert tokenizer.vocab.end[0] == end
    assert tokenizer.detokenize([end]) == b""
    assert end not in tokenizer.tokenize("<|im_end|>")


def test_bos_is_named_only_where_the_vocabulary_adds_it(tokenizer: LlamaEngine) -> None:
    assert (tokenizer.vocab.bos == 1) == (tokenizer.vocab.control[1] == "<s>")
    assert tokenizer.tokenize("") == []


def test_a_word_gets_no_space_in_front(tokenizer: LlamaEngine) -> None:
    pieces = [tokenizer.vocab.pieces[token] for token in tokenizer.tokenize("total total")]
    assert b"".join(pieces) == b"total total"
    assert pieces[0] == b"total"


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("{{ messages[0].content }}<|im_end|>", "<|im_end|>"),
        ("{{ messages[0].content }}<|endoftext|>", "<|endoftext|>"),
        (None, "<|im_end|>"),  # the file's end-of-sequence token
    ],
)
def test_the_first_end_token_is_that_of_the_template(
    tmp_path: Path, template: str | None, end: str
) -> None:
    engine = LlamaEngine(write_tiny_gguf(tmp_path / "m.gguf", chat_template=template), threads=1)
    try:
        assert [engine.vocab.control[token] for token in engine.vocab.end[:1]] == [end]
        assert len(engine.vocab.end) == 2
    finally:
        engine.close()


# --- evaluation -----------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 199), max_size=6, unique=True))
def test_logits_do_not_depend_on_the_batches(tiny_model: Path, cuts: list[int]) -> None:
    tokens = tokens_of(200)
    edges = [0, *sorted(cuts), 200]
    engine = LlamaEngine(tiny_model, threads=1)
    try:
        whole = feed(engine, tokens)
        for start, end in pairwise(edges):
            cut = feed(engine, tokens[start:end], start, sequence=1)
    finally:
        engine.close()
    assert same(whole, cut)


def test_the_wanted_rows_come_in_order_and_differ(engine: LlamaEngine) -> None:
    tokens = tokens_of(20)
    rows = engine.evaluate(Batch.run(tokens, 0, 0, wanted=20)).copy()
    assert rows.shape == (20, engine.vocab.size)
    assert np.isfinite(rows).all()
    for length in (1, 7, 20):
        assert same(rows[length - 1], feed(engine, tokens[:length], sequence=length))
    assert not same(rows[3], rows[4])


def test_no_row_wanted_gives_no_row(engine: LlamaEngine) -> None:
    rows = engine.evaluate(Batch.run(tokens_of(5), 0, 0, wanted=0))
    assert rows.shape == (0, engine.vocab.size)


@pytest.mark.parametrize(
    "batch",
    [
        Batch.run([5] * (BATCH_SIZE + 1), 0, 0),
        Batch.run([5] * (MAX_OUTPUTS + 1), 0, 0, wanted=MAX_OUTPUTS + 1),
        Batch.run([100_000], 0, 0),
        Batch.run([-1], 0, 0),
        Batch.run([5], 17, 0),
        Batch.run([5], 3, 0),
    ],
    ids=["rows", "outputs", "token", "negative token", "gap", "overlap"],
)
def test_an_impossible_batch_changes_nothing(engine: LlamaEngine, batch: Batch) -> None:
    tokens = tokens_of(10)
    feed(engine, tokens)
    with pytest.raises(EngineError):
        engine.evaluate(batch)
    assert same(feed(engine, [7], 10), feed(engine, [*tokens, 7], sequence=1))


def test_a_full_context_leaves_the_sequence_as_it_was(tiny_model: Path) -> None:
    engine = LlamaEngine(tiny_model, context_size=256, threads=1)
    try:
        feed(engine, tokens_of(200))
        with pytest.raises(EngineError, match="100 more tokens in a context of 256"):
            feed(engine, tokens_of(100), start=200)
        after = feed(engine, tokens_of(10), start=200)
        engine.truncate(0, 0)
        assert same(after, feed(engine, tokens_of(200) + tokens_of(10)))
    finally:
        engine.close()


# --- sequences ------------------------------------------------------------------------------


def test_a_fork_lives_on_without_its_source(engine: LlamaEngine) -> None:
    prefix, left, right = tokens_of(50), tokens_of(8, 1), tokens_of(8, 2)
    feed(engine, prefix)
    feed(engine, tokens_of(30, 9), sequence=1)  # the fork takes the place of this
    engine.fork(0, 1)
    feed(engine, left, 50)
    engine.truncate(0, 0)
    forked = feed(engine, right, 50, sequence=1)
    assert same(forked, feed(engine, prefix + right, sequence=2))
    assert same(feed(engine, left, 58, sequence=1), feed(engine, prefix + right + left, sequence=0))


def test_a_truncated_sequence_goes_on_from_there(engine: LlamaEngine) -> None:
    feed(engine, tokens_of(60))
    engine.truncate(0, 40)
    engine.truncate(0, 500)  # beyond the end: nothing to drop
    assert same(feed(engine, [9, 8], 40), feed(engine, [*tokens_of(40), 9, 8], sequence=1))


def test_forks_take_no_room(engine: LlamaEngine) -> None:
    feed(engine, tokens_of(1900))
    for target in range(1, engine.max_sequences):
        engine.fork(0, target)
    assert np.isfinite(feed(engine, [5], 1900, sequence=79)).all()


def test_resize_makes_room_and_drops_sequences(tiny_model: Path) -> None:
    engine = LlamaEngine(tiny_model, context_size=256, max_context=1000, threads=1)
    try:
        assert engine.context_size == 256
        expected = feed(engine, tokens_of(100))
        engine.resize(100)
        assert engine.context_size == 256
        engine.resize(700)
        assert 700 <= engine.context_size <= 1024
        assert same(expected, feed(engine, tokens_of(100)))
        feed(engine, tokens_of(500), 100)
        engine.resize(5000)
        assert engine.context_size == 1024
        assert engine.max_context == 1000
    finally:
        engine.close()


# --- saved states ---------------------------------------------------------------------------


def test_a_saved_sequence_goes_on_elsewhere(tiny_model: Path, engine: LlamaEngine) -> None:
    feed(engine, tokens_of(120))
    state = engine.save(0)
    expected = feed(engine, [7], 120)
    other = LlamaEngine(tiny_model, threads=1)
    try:
        feed(other, tokens_of(30, 5), sequence=4)
        other.restore(4, state)
        assert same(expected, feed(other, [7], 120, sequence=4))
    finally:
        other.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_state_is_refused(tokenizer: LlamaEngine, data: st.DataObject) -> None:
    tokenizer.truncate(0, 0)
    feed(tokenizer, tokens_of(20))
    state = bytearray(tokenizer.save(0))
    at = data.draw(st.integers(0, len(state) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "longer", "insert"])):
        case "flip":
            state[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del state[at:]
        case "longer":
            state += bytes(at + 1)
        case _:
            state.insert(at, state[at] ^ 1)
    with pytest.raises(EngineError, match="damaged"):
        tokenizer.restore(1, bytes(state))


def test_a_state_that_does_not_fit_is_refused(
    tiny_model: Path, slow_model: Path, engine: LlamaEngine
) -> None:
    feed(engine, tokens_of(600))
    state = engine.save(0)
    for path, cells in ((slow_model, 2048), (tiny_model, 256)):
        other = LlamaEngine(path, context_size=cells, threads=1)
        try:
            feed(other, tokens_of(10), sequence=1)
            with pytest.raises(EngineError, match="does not fit"):
                other.restore(1, state)
            assert np.isfinite(feed(other, tokens_of(10), sequence=1)).all()
        finally:
            other.close()
