"""Copy drafts change the number of decodes, never the answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.decoder import Decoded, Decoder, seeded_sampler
from edgeslm.decoding.drafts.drafter import CopyDrafter, Marks
from edgeslm.decoding.drafts.length import MAX_DRAFT, BatchCost, DraftLength
from edgeslm.engines.engine import Batch
from edgeslm.testing import ScriptedEngine
from tests.decoding.test_decoder import SCHEMAS
from tests.helpers.scripted import PIECES, matcher_for

STRINGS = {
    "type": "object",
    "properties": {
        name: {"type": ["string", "null"], "maxLength": 60} for name in ("the", "total", "c")
    },
    "required": ["the", "total", "c"],
}


def drafter(engine: ScriptedEngine, text: list[int]) -> CopyDrafter:
    return CopyDrafter(text, Marks(engine.vocab.pieces), engine.tokenize)


def length(room: int = MAX_DRAFT) -> DraftLength:
    """A length to which rows are nearly free: as much is drafted as there is room for."""
    cost = BatchCost(measured=True)
    for rows in (1, *range(4, 40, 4)):
        cost.record(rows, 10 + rows / 100)
    made = DraftLength(cost)
    made.begin(1, room=room)
    return made


def answer(engine: ScriptedEngine, schema: dict, text: str, drafts: bool, **options) -> Decoded:
    prompt = engine.tokenize(f"{text}<|im_start|>assistant\n", special=True)
    row = engine.evaluate(Batch.run(prompt, 0, 0))[-1]
    decoder = Decoder(
        engine,
        matcher_for(engine, schema),
        sequence=0,
        position=len(prompt),
        max_tokens=options.pop("max_tokens", 150),
        drafter=drafter(engine, prompt) if drafts else None,
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
    output = list(b'{"a":"CA')
    matcher.consume(output)
    draft = drafter(engine, prompt).propose(output, matcher, length()).tokens
    assert engine.detokenize(draft).decode() == 'FE LUNA","b":null}'[: len(draft)]
    assert len(draft) > len("FE LUNA")
    assert matcher.valid_prefix(draft) == len(draft), "the matcher is left where it was"


@pytest.mark.parametrize("room", [0, 1, 5])
def test_a_draft_keeps_its_limit(room):
    engine = ScriptedEngine()
    matcher = matcher_for(engine, {"type": "string"})
    matcher.consume(list(b'"ab'))
    made = drafter(engine, engine.tokenize("abcdefghij"))
    assert len(made.propose(list(b'"ab'), matcher, length(room)).tokens) == room


def test_nothing_is_drafted_without_a_match():
    engine = ScriptedEngine()
    matcher = matcher_for(engine, {"type": "string"})
    matcher.consume(list(b'"zz'))
    made = drafter(engine, engine.tokenize("abc abc"))
    assert made.propose(list(b'"zz'), matcher, length()).tokens == []


ROWS = [("Copy paper", 12, "4.50"), ("Hex bolt M8", 3, "0.75"), ("Desk lamp", 26, "31.00")]
TABLE = "Pos  Thing         Qty   Price\n" + "\n".join(
    f"{i}    {thing:<14}{count:>3}  {price:>6}" for i, (thing, count, price) in enumerate(ROWS, 1)
)
ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "unit_price": {"type": "number"},
    },
    "required": ["name", "count", "unit_price"],
    "additionalProperties": False,
}
ITEMS = {"type": "array", "items": ITEM, "minItems": 3, "maxItems": 3}
ANSWER = "[" + ",".join(
    f'{{"name":"{thing}","count":{count},"unit_price":{price}}}' for thing, count, price in ROWS
) + "]"  # fmt: skip


def drafted_behind(output: str, text: str = TABLE, schema: dict = ITEMS) -> str:
    """What is drafted behind an answer, all of it given at once."""
    engine = ScriptedEngine()
    matcher = matcher_for(engine, schema)
    tokens = engine.tokenize(output)
    matcher.consume(tokens)
    draft = drafter(engine, engine.tokenize(text)).propose(tokens, matcher, length())
    assert matcher.valid_prefix(draft.tokens) == len(draft.tokens)
    return engine.detokenize(draft.tokens).decode()


@pytest.mark.parametrize(
    "begun",
    [
        '"name":"Hex bolt M8","count":',
        '"name":"',
        '"name":"Hex ',
        '"name":"Hex bolt M8","count":3,"unit_price',
    ],
)
def test_the_values_of_a_next_row_are_drafted_from_the_next_row(begun):
    done = ANSWER.index('"name":"Hex')
    output = ANSWER[: done + len(begun)]
    draft = drafted_behind(output)
    assert ANSWER[len(output) :].startswith(draft)
    assert len(draft) == MAX_DRAFT


def test_a_value_that_was_answered_otherwise_is_not_taken_from_the_row():
    output = ANSWER[: ANSWER.index("Hex")] + "Bolt"
    assert "Hex" not in drafted_behind(output)


def test_rows_take_few_decodes():
    plain = answer(ScriptedEngine(ANSWER), ITEMS, TABLE, drafts=False, max_tokens=300)
    drafted = answer(ScriptedEngine(ANSWER), ITEMS, TABLE, drafts=True, max_tokens=300)
    assert ScriptedEngine().detokenize(drafted.tokens).decode() == ANSWER
    assert drafted.decodes * 3 < plain.decodes


@pytest.mark.parametrize(
    ("text", "key", "kind", "drafted"),
    [
        ("Lamp 3 pieces\nTotal due:  41.50 EUR", "total", "number", '41.50}'),
        ("Lamp 3 pieces\nTotal due:  41.50 EUR", "grand_total", "number", '41.50}'),
        ("Invoice Number: AB-12\nLamp", "number", "string", 'AB-12"}'),
        ("41.50 in all", "sum", "number", '41.50}'),
        ("Total\n41.50", "total", "string", ""),
        ("nothing to be had", "total", "number", ""),
        ("subtotal 9.00", "total", "string", ""),
        ("", "total", "number", ""),
        ("1.50", "_", "string", ""),
    ],
)  # fmt: skip
def test_a_first_value_is_drafted_from_behind_its_label_or_the_last(text, key, kind, drafted):
    schema = {
        "type": "object",
        "properties": {key: {"type": kind}},
        "required": [key],
        "additionalProperties": False,
    }
    begin = f'{{"{key}":' + ('"' if kind == "string" else "")
    assert drafted_behind(begin, text, schema) == drafted


def test_marks_are_not_drafted_within_the_strings_of_a_list():
    schema = {"type": "array", "items": {"type": "string"}}
    assert drafted_behind('["x","ab', "zz", schema) == ""


def test_rolled_back_answers_are_forgotten():
    engine = ScriptedEngine()
    made = drafter(engine, engine.tokenize(TABLE))
    for end in (ANSWER.index('"name":"Desk'), ANSWER.index('"name":"Hex')):
        matcher = matcher_for(engine, ITEMS)
        output = engine.tokenize(ANSWER[: end + len('"name":"')])
        matcher.consume(output)
        draft = made.propose(output, matcher, length()).tokens
        assert ANSWER[end + len('"name":"') :].startswith(engine.detokenize(draft).decode())


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.text("aé .,3\t", max_size=8), st.integers(0, 999), st.integers(0, 99)),
        min_size=3,
        max_size=3,
    ),
    form=st.sampled_from(["{0} {1} {2}.5", "{2}.5\t{1}\n{0}", "{0}  {1}\n\n{2}.5,", "#{1}:{0}"]),
    seed=st.integers(0, 99),
    sharpness=st.sampled_from([3.0, 20.0]),
)
def test_answers_from_tables_are_those_without_drafts(rows, form, seed, sharpness):
    text = "\n".join(form.format(*row) for row in rows) + "\n"
    wish = json.dumps(
        [{"name": name.strip(), "count": n, "unit_price": price + 0.5} for name, n, price in rows],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    plain, drafted = (
        answer(
            ScriptedEngine(wish, pieces=PIECES, seed=seed, sharpness=sharpness), ITEMS, text, drafts
        )
        for drafts in (False, True)
    )
    assert (drafted.tokens, drafted.choices) == (plain.tokens, plain.choices)
    assert drafted.decodes <= plain.decodes


def test_a_vocabulary_without_letters_or_marks_drafts_copies_alone():
    marks = Marks([b"", b"1", b" ", b"{"])
    assert (marks.closers, marks.letter) == ([], None)
    engine = ScriptedEngine()
    bare = Marks(engine.vocab.pieces)
    bare.closers, bare.letter = [], None
    matcher = matcher_for(engine, ITEMS)
    output = engine.tokenize('[{"name":"Cop')
    matcher.consume(output)
    made = CopyDrafter(engine.tokenize(TABLE), bare, engine.tokenize)
    drafted = engine.detokenize(made.propose(output, matcher, length()).tokens)
    assert drafted.startswith(b"y paper")
    assert b'"' not in drafted


def test_the_draft_length_follows_cost_and_acceptance():
    cost = BatchCost(measured=True)
    for rows, ms in zip((1, *range(4, 29, 4)), range(10, 18), strict=True):
        cost.record(rows, ms)  # rows are nearly free
    made = DraftLength(cost)
    made.begin(1)
    for _ in range(30):
        made.judge("a", 8, 8)
    assert made.best("a") > 12
    for _ in range(30):
        made.judge("b", 8, 0)
    assert made.best("b") <= 1
    assert made.best("a") > 12, "one kind of drafts says nothing of another"
    dear = BatchCost(measured=True)
    for rows, ms in ((1, 10.0), (4, 40.0), (8, 80.0)):
        dear.record(rows, ms)  # a row costs a batch
    assert DraftLength(dear).best("a") == 0


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
