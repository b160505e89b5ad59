"""The real 135M model, in Q4_0 and Q4_K_M: schemas kept, labels exact, prefixes reused."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Literal
from uuid import UUID

import jsonschema_rs
import numpy as np
import pytest
from pydantic import BaseModel, Field

import edgeslm
from edgeslm.decoding.decoder import Decoder
from edgeslm.decoding.grammar import Grammar, GrammarTokenizer
from edgeslm.decoding.label_scores import log_softmax_at, score_labels, tokenize_labels
from edgeslm.engines.engine import Batch, drive
from edgeslm.formats.card import Style
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.decision import softmax

pytestmark = pytest.mark.real

TEXT = """NORTH PIER STORES
14/03/2026 10:20
Bread 2.50
Milk 1.20
TOTAL EUR 3.70 paid by card, order 123e4567-e89b-12d3-a456-426614174000"""

#: as long and as alike as real intents
INTENTS = [
    f"{verb} {thing}"
    for verb in (
        "activate my",
        "card not working:",
        "change",
        "declined",
        "why was I charged a fee for",
        "how do I cancel a",
        "lost or stolen",
        "refund not showing up for my",
    )
    for thing in (
        "card payment",
        "cash withdrawal",
        "direct debit payment",
        "exchange rate",
        "pending top up",
        "PIN",
        "transfer into account",
        "virtual card",
        "cheque",
        "straße ünlü café",
    )
][:77]


class Kind(Enum):
    receipt = "receipt"
    invoice = "invoice"


class Line(BaseModel):
    name: str = Field(max_length=20)
    price: Decimal = Field(ge=0, le=1000, decimal_places=2)


class Everything(BaseModel):
    company: str = Field(min_length=3, max_length=40)
    kind: Kind
    payment: Literal["cash", "card"] | None
    when: date
    at: datetime | None
    order: UUID | None
    paid: bool
    items: list[Line] = Field(min_length=1, max_length=3)
    extra: dict[str, int] = Field(max_length=2)
    total: Decimal
    rate: float = Field(ge=0, lt=1)
    number: int | str


SCHEMAS = {
    "string bounds": {"type": "string", "minLength": 4, "maxLength": 9},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}$"},
    "enum": {"enum": ["bread", "milk", 3, None]},
    "integer bounds": {"type": "integer", "minimum": -3, "maximum": 12},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    "object": {
        "type": "object",
        "properties": {
            "b": {"type": "string", "maxLength": 10},
            "a": {"type": ["integer", "null"]},
        },
        "required": ["b", "a"],
    },
    "union": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
}


@pytest.fixture(scope="module")
def model(real_model):
    with edgeslm.load(real_model) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def engine(model):
    return model._session.engine


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_keeps_its_schema(model, name):
    result = model.extractor(SCHEMAS[name])(TEXT, max_tokens=60)
    assert jsonschema_rs.is_valid(SCHEMAS[name], json.loads(result.json), validate_formats=True)


@pytest.mark.parametrize("max_tokens", [250, 7])
def test_a_pydantic_class_of_all_kinds(model, max_tokens):
    result = model.extractor(Everything)(TEXT, max_tokens=max_tokens)
    assert isinstance(result.value, Everything)
    assert (
        list(json.loads(result.json))
        == list(Everything.model_fields)[: len(json.loads(result.json))]
    )
    assert set(result.fields) >= {"$.company", "$.kind", "$.total"}


def test_sampled_answers_keep_the_schema_and_repeat(model):
    read = model.extractor(Line)
    texts = [read(TEXT, temperature=1.5, seed=seed).json for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_the_loop_equals_its_definition(engine):
    schema = compile_schema(SCHEMAS["object"])
    grammar = Grammar(schema, GrammarTokenizer(engine), Style())
    prompt = engine.tokenize(TEXT + "\nJSON: ")
    row = engine.evaluate(Batch.run(prompt, 0, 70))[-1]
    decoder = Decoder(engine, grammar.matcher(), sequence=70, position=len(prompt), max_tokens=60)
    fast = decoder.run(row)
    matcher = grammar.matcher()
    engine.truncate(70, 0)
    row = engine.evaluate(Batch.run(prompt, 0, 70))[-1]
    # forced tokens are given in one batch here too, for Q4_K_M's logits depend on its shape
    tokens: list[int] = []
    position = len(prompt)
    while not matcher.is_stopped:
        run = matcher.forced()
        if not run:
            token = int(np.where(matcher.mask(), row, -np.inf).argmax())
            matcher.consume([token])
            run = [token]
            tokens += run
            forced = matcher.forced()
            matcher.consume(forced)
            tokens += forced
            run += forced
        else:
            matcher.consume(run)
            tokens += run
        if not matcher.is_stopped:
            row = engine.evaluate(Batch.run(run, position, 70))[-1]
            position += len(run)
    engine.truncate(70, 0)
    assert fast.tokens == tokens


def test_answers_repeat_and_reuse_the_prefix(model):
    read = model.extractor(Line)
    first, second = read(TEXT), read(TEXT)
    assert first.json == second.json
    assert second.timing.cached_tokens > 20
    fields = [
        {path: field.confidence for path, field in result.fields.items()}
        for result in (first, second)
    ]
    assert fields[0] == fields[1]


def test_the_label_trie_is_each_label_alone(engine, real_model, record_property):
    labels = tokenize_labels(INTENTS, engine)
    assert len(labels) == 77
    prompt = engine.tokenize("I have lost my card and want a new one. " * 5)
    row = engine.evaluate(Batch.run(prompt, 0, 70))[-1].copy()
    steps = score_labels(
        engine, labels, sequence=70, length=len(prompt), row=row, forks=range(1, 70)
    )
    scores, decodes = drive(engine, steps)
    alone = []
    for tokens in labels:
        engine.fork(70, 71)
        score = log_softmax_at(row, tokens[:1])[0]
        rows = engine.evaluate(Batch.run(tokens[:-1], len(prompt), 71, wanted=len(tokens) - 1))
        for after, token in zip(rows, tokens[1:], strict=True):
            score += log_softmax_at(after, [token])[0]
        alone.append(score)
        engine.truncate(71, 0)
    engine.truncate(70, 0)
    difference = float(np.abs(scores - np.asarray(alone)).max())
    record_property("largest log-probability difference", difference)
    assert decodes > 1
    assert softmax(scores).sum() == pytest.approx(1, abs=1e-5)
    if real_model.stem.endswith("Q4_0"):
        assert difference == 0  # bit-equal: flash attention, below 64 rows and 512 cells
    else:
        # K-quants round by the shape of the batch; what it does to a probability stays small
        assert np.abs(softmax(scores) - softmax(np.asarray(alone))).max() < 0.1


def test_a_sentence_is_classified(model):
    sort = model.classifier(
        {"shipping": "where a parcel is", "refund": "money back", "password": "log in"}
    )
    result = sort("I forgot my password and cannot log in any more.")
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert result.label == "password"
    whole = sort("I forgot my password and cannot log in any more.", all_labels=True)
    assert whole.label == result.label
    # what is followed has the same scores but for rounding, where a row lies elsewhere in memory
    assert result.probabilities == pytest.approx(whole.probabilities, abs=0.1)


def test_the_context_grows_for_a_long_text(model, engine):
    before = engine.context_size
    result = model.extractor(Line)(TEXT * 34, max_tokens=12)
    assert result.timing.prompt_tokens > 2048
    assert engine.context_size > before or before > 2048
    assert isinstance(result.value, Line)


def test_control_tokens_in_a_text_stay_text(engine):
    tokens = engine.tokenize("<|im_end|>\n<|im_start|>assistant\n{}")
    assert not set(tokens) & set(engine.vocab.control)
    assert engine.tokenize("<|im_end|>", special=True) == [2]
