"""The constrained loop gives the masked argmax at every place, whatever it skips computing."""

from __future__ import annotations

import json

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.decoder import Decoded, Decoder, seeded_sampler
from edgeslm.engines.engine import Batch
from edgeslm.errors import CancelledError
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import PIECES, matcher_for, prefilled

SCHEMAS = [
    {
        "type": "object",
        "properties": {"total": {"type": "integer", "maximum": 9999}},
        "required": ["total"],
    },
    {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"], "maxLength": 8}, "b": {"type": "boolean"}},
        "required": ["a", "b"],
    },
    {"type": "array", "items": {"enum": ["the", "theme", "ab", "é"]}, "maxItems": 3},
    {"type": "string", "pattern": "^[a-c]{1,6}$"},
    {
        "type": "object",
        "properties": {
            "x": {
                "type": "object",
                "properties": {"total": {"type": "null"}},
                "required": ["total"],
            },
            "the": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        },
    },
]


def reference(engine: ScriptedEngine, schema: dict, limit: int) -> list[int]:
    """The definition, without any shortcut: one token at a time, the whole mask at each place."""
    matcher = matcher_for(engine, schema)
    row, position = prefilled(engine)
    tokens: list[int] = []
    while not matcher.is_stopped and len(tokens) < limit:
        forced = matcher.forced()
        if forced:
            token = forced[0]
        else:
            token = int(np.where(matcher.mask(), row, -np.inf).argmax())
            if token in engine.vocab.end:
                break
        matcher.consume([token])
        tokens.append(token)
        row = engine.evaluate(Batch.run([token], position, 0))[-1]
        position += 1
    return tokens


def decode(engine: ScriptedEngine, schema: dict, **options) -> Decoded:
    row, position = prefilled(engine)
    matcher = matcher_for(engine, schema)
    options = {"max_tokens": 200, **options}
    return Decoder(engine, matcher, sequence=0, position=position, **options).run(row)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), which=st.integers(0, len(SCHEMAS) - 1), measure=st.booleans())
def test_the_loop_equals_its_definition(seed, which, measure):
    schema = SCHEMAS[which]
    decoded = decode(ScriptedEngine(seed=seed, pieces=PIECES), schema, measure=measure)
    assert decoded.tokens == reference(ScriptedEngine(seed=seed, pieces=PIECES), schema, 200)
    assert decoded.stopped
    engine = ScriptedEngine(pieces=PIECES)
    value = json.loads(engine.detokenize(decoded.tokens))
    assert jsonschema_rs.is_valid(schema, value)


def test_forced_tokens_need_fewer_decodes_than_tokens():
    schema = {
        "type": "object",
        "properties": {"a_long_name": {"type": "boolean"}},
        "required": ["a_long_name"],
    }
    decoded = decode(ScriptedEngine('{"a_long_name":true}'), schema)
    assert len(decoded.tokens) == len('{"a_long_name":true}')
    assert decoded.decodes == 1  # all names and all but the first letter of `true` are forced


def test_the_grammar_overrules_the_model():
    decoded = decode(ScriptedEngine("I think it is 12."), {"type": "integer"}, max_tokens=6)
    text = ScriptedEngine().detokenize(decoded.tokens).decode()
    assert text.lstrip("-").isdigit()


def test_a_choice_is_measured_over_what_was_allowed():
    engine = ScriptedEngine(seed=3)
    schema = {"enum": ["ax", "bx", "cx"]}
    decoded = decode(engine, schema)
    row, _ = prefilled(ScriptedEngine(seed=3))
    chosen = engine.detokenize(decoded.tokens)[1:2]
    # the opening quote is forced; the logits that count are those after it
    after = ScriptedEngine(seed=3)
    row, position = prefilled(after)
    row = after.evaluate(Batch.run([0x22], position, 0))[-1]
    weights = {byte: float(np.exp(row[byte])) for byte in b"abc"}
    expected = weights[chosen[0]] / sum(weights.values())
    assert len(decoded.choices) == 1
    assert decoded.choices[0].probability == pytest.approx(expected, rel=1e-4)
    assert (decoded.choices[0].start, decoded.choices[0].end) == (1, 2)


def test_the_token_budget_holds_and_is_told():
    decoded = decode(ScriptedEngine('"' + "a" * 50 + '"'), {"type": "string"}, max_tokens=7)
    assert len(decoded.tokens) == 7
    assert not decoded.stopped


@pytest.mark.parametrize("limit", range(1, 24))
def test_a_budget_never_splits_a_forced_run_past_its_end(limit):
    schema = {"type": "object", "properties": {"name": {"type": "boolean"}}, "required": ["name"]}
    decoded = decode(ScriptedEngine('{"name":true}'), schema, max_tokens=limit)
    assert len(decoded.tokens) == min(limit, len('{"name":true}'))
    assert decoded.stopped == (limit >= len('{"name":true}'))


def test_sampling_is_repeatable_and_follows_the_weights():
    row = np.log(np.asarray([0.7, 0.2, 0.1], np.float32))
    first = [seeded_sampler(1.0, 5)(row) for _ in range(3)]
    assert len(set(first)) == 1
    sample = seeded_sampler(1.0, 7)
    counts = np.bincount([sample(row) for _ in range(4000)], minlength=3) / 4000
    assert counts == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
    cold = seeded_sampler(0.01, 7)
    assert {cold(row) for _ in range(50)} == {0}


def test_sampled_answers_keep_to_the_grammar_and_differ_by_seed():
    schema = {"type": "string", "pattern": "^[a-z]{4}$"}
    texts = set()
    for seed in range(8):
        engine = ScriptedEngine()
        decoded = decode(engine, schema, sampler=seeded_sampler(1.0, seed))
        text = json.loads(engine.detokenize(decoded.tokens))
        assert len(text) == 4 and text.islower()
        texts.add(text)
    assert len(texts) > 1


def test_cancel_goes_through():
    engine = ScriptedEngine('"' + "a" * 50 + '"')
    row, position = prefilled(engine)
    matcher = matcher_for(engine, {"type": "string"})
    engine.cancel()
    with pytest.raises(CancelledError):
        Decoder(engine, matcher, sequence=0, position=position, max_tokens=50).run(row)
