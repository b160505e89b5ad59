"""Copy drafts change the number of decodes, never the answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import PIECES, matcher_for
from test_decode import SCHEMAS

from edgeslm.decode import Decoded, Decoder, seeded_sampler
from edgeslm.draft import MAX_DRAFT, BatchCost, CopyDrafter, DraftLength
from edgeslm.engine import Batch
from edgeslm.testing import ScriptedEngine

STRINGS = {
    "type": "object",
    "properties": {
        name: {"type": ["string", "null"], "maxLength": 60} for name in ("the", "total", "c")
    },
    "required": ["the", "total", "c"],
}


def closers(engine: ScriptedEngine) -> list[int]:
    pieces = enumerate(engine.vocab.pieces)
    return sorted(
        (t for t, p in pieces if p[:1] == b'"'), key=lambda t: -len(engine.vocab.pieces[t])
    )


def answer(engine: ScriptedEngine, schema: dict, text: str, drafts: bool, **options) -> Decoded:
    prompt = engine.tokenize(f"{text}<|im_start|>assistant\n", special=True)
    row = engine.evaluate(Batch.run(prompt, 0, 0))[-1]
    drafter = CopyDrafter(prompt, closers(engine)) if drafts else None
    decoder = Decoder(
        engine,
        matcher_for(engine, schema),
        sequence=0,
        position=len(prompt),
        max_tokens=options.pop("max_tokens", 150),
        drafter=drafter,
        **options,
    )
    return decoder.run(row)


@settings(max_examples=120, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["the", "total", "ab", "12", "é", "x\n", " ", "-"]), max_size=30
    ),
    cut=st.integers(0, 40),
    seed=st.integers(0, 99),
    sharpness=st.sampled_from([0.0, 3.0, 20.0]),
    budget=st.integers(1, 150),
    sampled=st.booleans(),
    measure=st.booleans(),
)
def test_the_answer_is_that_without_drafts(words, cut, seed, sharpness, budget, sampled, measure):
    text = "".join(words) or "x"
    wish = json.dumps(
        {"the": text[: cut // 2], "total": None, "c": text[cut:]}, separators=(",", ":")
    )
    schema = STRINGS if seed % 3 else SCHEMAS[seed % len(SCHEMAS)]
    made = []
    for drafts in (False, True):
        engine = ScriptedEngine(wish, pieces=PIECES, seed=seed, sharpness=sharpness)
        sampler = seeded_sampler(1.0, seed) if sampled else None
        options = {"sampler": sampler, "measure": measure, "max_tokens": budget}
        made.append(answer(engine, schema, text, drafts, **options))
    plain, drafted = made
    assert drafted.tokens == plain.tokens
    assert drafted.choices == plain.choices
    assert drafted.stopped == plain.stopped
    assert drafted.decodes <= plain.decodes


def test_copied_text_needs_few_decodes():
    text = "NORTH PIER STORES\n14 Harbour Lane, Whitby\nTotal 12"
    wish = '{"the":"NORTH PIER STORES","total":"14 Harbour Lane, Whitby","c":null}'
    plain = answer(ScriptedEngine(wish), STRINGS, text, drafts=False)
    drafted = answer(ScriptedEngine(wish), STRINGS, text, drafts=True)
    assert ScriptedEngine().detokenize(drafted.tokens).decode() == wish
    assert drafted.decodes * 2 < plain.decodes


def test_the_sequence_holds_what_was_accepted_and_no_more():
    text = "ab ab ac ab ad"
    engine = ScriptedEngine('{"the":"ab ae","total":"ac ab","c":"b"}')
    decoded = answer(engine, STRINGS, text, drafts=True)
    prompt = engine.tokenize(f"{text}<|im_start|>assistant\n", special=True)
    held = list(memoryview(engine.save(0)).cast("i"))
    whole = [*prompt, *decoded.tokens]
    assert held == whole[: len(held)]
    assert len(whole) - len(held) <= len('"}') + 1  # the end is known without evaluating it


def test_a_draft_is_trimmed_by_the_grammar_and_closed():
    engine = ScriptedEngine()
    matcher = matcher_for(
        engine,
        {"properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["a", "b"]},
    )
    prompt = engine.tokenize("CAFE LUNA\nnext line")
    drafter = CopyDrafter(prompt, closers(engine))
    output = list(b'{"a":"CA')
    matcher.consume(output)
    draft = drafter.propose(output, matcher, MAX_DRAFT)
    assert engine.detokenize(draft).decode() == 'FE LUNA","b":null}'[: len(draft)]
    assert len(draft) > len("FE LUNA")
    assert matcher.valid_prefix(draft) == len(draft), "the matcher is left where it was"


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_a_draft_keeps_its_limit(limit):
    engine = ScriptedEngine()
    matcher = matcher_for(engine, {"type": "string"})
    drafter = CopyDrafter(engine.tokenize("abcdefghij"), closers(engine))
    matcher.consume(list(b'"ab'))
    assert len(drafter.propose(list(b'"ab'), matcher, limit)) == limit


def test_nothing_is_drafted_without_a_match():
    engine = ScriptedEngine()
    matcher = matcher_for(engine, {"type": "string"})
    matcher.consume(list(b'"zz'))
    drafter = CopyDrafter(engine.tokenize("abc abc"), closers(engine))
    assert drafter.propose(list(b'"zz'), matcher, 8) == []


def test_the_draft_length_follows_cost_and_acceptance():
    cost = BatchCost(measured=True)
    for rows, ms in zip((1, *range(4, 29, 4)), range(10, 18), strict=True):
        cost.record(rows, ms)  # rows are nearly free
    length = DraftLength(cost)
    for _ in range(30):
        length.judge(8, 8)
    assert length.best(1) > 12
    for _ in range(30):
        length.judge(8, 0)
    assert length.best(1) <= 1
    dear = BatchCost(measured=True)
    for rows, ms in ((1, 10.0), (4, 40.0), (8, 80.0)):
        dear.record(rows, ms)  # a row costs a batch
    assert DraftLength(dear).best(1) == 0


def test_costs_come_by_fours_and_the_clock_counts_only_where_it_may():
    usual = BatchCost(measured=False)
    usual.record(1, 5.0)
    usual.record(8, 500.0)
    assert usual.of(1) == 1.0
    assert usual.of(5) == usual.of(8) < usual.of(9)
    measured = BatchCost(measured=True)
    measured.record(1, 5.0)
    measured.record(8, 500.0)
    assert measured.of(7) == 100.0
    for _ in range(200):
        measured.record(8, 20.0)
    assert measured.of(8) == 4.0
