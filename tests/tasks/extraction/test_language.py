"""Extractor: from text to a validated, flagged, timed answer."""

from __future__ import annotations

import json
import threading
import time
from datetime import date
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from edgeslm import errors
from edgeslm.formats.card import Card
from edgeslm.models.gguf import GgufModel
from edgeslm.tasks.extraction.prompt import default_prompt
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import extractor_for


class Line(BaseModel):
    name: str
    price: Decimal = Field(ge=0, max_digits=10, decimal_places=2)


class Currency(Enum):
    EUR = "EUR"
    USD = "USD"


class Invoice(BaseModel):
    company: str
    when: date | None
    currency: Currency
    lines: list[Line]
    total: Decimal


TEXT = "ACME Ltd, 14/03/2026\nbread 2.50\nmilk 1.20\nTotal EUR 3.70"
ANSWER = (
    '{"company":"ACME Ltd","when":"2026-03-14","currency":"EUR",'
    '"lines":[{"name":"bread","price":2.50},{"name":"milk","price":1.20}],"total":3.70}'
)


def test_a_pydantic_class_comes_back_with_evidence():
    read, _ = extractor_for(ANSWER, Invoice)
    result = read(TEXT)
    assert result.value == Invoice(
        company="ACME Ltd",
        when=date(2026, 3, 14),
        currency=Currency.EUR,
        lines=[Line(name="bread", price=Decimal("2.50")), Line(name="milk", price=Decimal("1.20"))],
        total=Decimal("3.70"),
    )
    assert str(result.value.total) == "3.70"
    assert result.json == ANSWER
    assert result.complete
    spans = {path: TEXT[slice(*field.span)] for path, field in result.fields.items() if field.span}
    assert spans == {
        "$.company": "ACME Ltd",
        "$.when": "14/03/2026",
        "$.currency": "EUR",
        "$.lines[0].name": "bread",
        "$.lines[0].price": "2.50",
        "$.lines[1].name": "milk",
        "$.lines[1].price": "1.20",
        "$.total": "3.70",
    }
    assert all(0.99 < field.confidence <= 1 for field in result.fields.values())


def test_the_line_is_what_the_command_line_promises():
    read, _ = extractor_for(
        '{"total":3.70}', {"properties": {"total": {"type": "number"}}, "required": ["total"]}
    )
    line = json.loads(json.dumps(read(TEXT).to_dict()))
    assert line["value"] == {"total": 3.7}
    assert line["complete"] is True
    assert line["fields"]["$.total"]["span"] == [TEXT.index("3.70"), len(TEXT)]
    assert set(line["timing"]) == {
        "prefill_ms",
        "decode_ms",
        "total_ms",
        "prompt_tokens",
        "cached_tokens",
        "output_tokens",
        "decodes",
    }


def test_a_dict_schema_gives_parsed_json():
    read, _ = extractor_for(
        '{"a":[1,2]}',
        {
            "type": "object",
            "properties": {"a": {"type": "array", "items": {"type": "integer"}}},
            "required": ["a"],
        },
    )
    assert read("x").value == {"a": [1, 2]}


def test_the_prefix_is_evaluated_once():
    read, engine = extractor_for(
        '{"a":1}', {"properties": {"a": {"type": "integer"}}, "required": ["a"]}
    )
    first, second = read("one"), read("two")
    assert first.timing.cached_tokens == 0
    assert second.timing.cached_tokens > 0
    assert second.json == first.json
    prompts = [batch for batch in engine.evaluated if batch.positions[0] == 0]
    assert len(prompts) == 1


@settings(max_examples=80, deadline=None)
@given(budget=st.integers(1, len(ANSWER) + 2))
def test_a_budget_closes_validly_and_says_so(budget):
    read, _ = extractor_for(ANSWER, Invoice)
    result = read(TEXT, max_tokens=budget)
    assert isinstance(result.value, Invoice)
    if result.complete:
        assert result.json == ANSWER
    else:
        assert result.timing.output_tokens == budget
        whole = read(TEXT).fields
        kept = {path for path, field in result.fields.items() if field.confidence > 0}
        assert kept < set(whole)
        cut = [path for path in result.fields if path not in kept]
        assert cut, "a cut answer has leaves that were cut or filled"
        assert all(result.fields[path].span is None for path in cut)


def test_a_budget_can_raise_with_the_prefix():
    read, _ = extractor_for(
        '{"a":"long text"}', {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    )
    with pytest.raises(errors.OutputTruncatedError) as caught:
        read("x", max_tokens=6, on_budget="raise")
    assert '{"a":"long text"}'.startswith(caught.value.prefix)
    assert caught.value.prefix


def test_a_deadline_closes_or_raises():
    read, _engine = extractor_for(
        '{"a":"long text"}', {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    )
    result = read("x", deadline_ms=0)
    assert result.complete is False
    assert result.value == {"a": ""}
    assert result.fields["$.a"].confidence == 0
    with pytest.raises(errors.DeadlineError):
        read("x", deadline_ms=0, on_budget="raise")
    assert read("x").complete, "the next call is not affected"


@pytest.mark.parametrize("text", ["", "  \n", "\ud800", b"bytes", None])
def test_inputs_that_are_no_text(text):
    read, _ = extractor_for("{}", {"type": "object"})
    with pytest.raises(errors.InputError):
        read(text)


def test_a_text_that_does_not_fit():
    read, engine = extractor_for(
        '{"a":1}', {"properties": {"a": {"type": "integer"}}, "required": ["a"]}, context_size=256
    )
    with pytest.raises(errors.InputTooLongError) as caught:
        read("y" * 5000)
    assert caught.value.limit == engine.max_context
    assert caught.value.tokens > caught.value.limit
    result = read("y" * 5000, truncate="middle")
    assert result.value == {"a": 1}
    assert result.timing.prompt_tokens <= engine.max_context


def test_validators_of_the_class_have_the_last_word():
    class Sum(BaseModel):
        a: int
        b: int
        total: int

        @model_validator(mode="after")
        def _adds_up(self):
            if self.a + self.b != self.total:
                raise ValueError("the sum is wrong")
            return self

    read, _ = extractor_for('{"a":1,"b":2,"total":4}', Sum)
    with pytest.raises(errors.OutputInvalidError, match="the sum is wrong") as caught:
        read("x", on_invalid="raise")
    assert caught.value.json == '{"a":1,"b":2,"total":4}'


def test_callers_queue_and_a_deadline_counts_the_queue():
    read, engine = extractor_for(
        '{"a":1}', {"properties": {"a": {"type": "integer"}}, "required": ["a"]}
    )
    evaluate = engine.evaluate
    running = threading.Event()

    def slow(batch):
        running.set()
        time.sleep(0.15)
        return evaluate(batch)

    engine.evaluate = slow
    results = []
    threads = [threading.Thread(target=lambda: results.append(read("x").json)) for _ in range(3)]
    for thread in threads:
        thread.start()
    running.wait()
    assert read("x", deadline_ms=50).complete is False
    for thread in threads:
        thread.join()
    assert results == ['{"a":1}'] * 3


def test_cancel_stops_the_running_call_only():
    model = GgufModel(ScriptedEngine('{"a":"' + "b" * 300 + '"}'))
    schema = {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    read = model.extractor(schema)
    engine = model._session.engine
    evaluate = engine.evaluate
    engine.evaluate = lambda batch: (
        model.cancel() if len(engine.evaluated) > 20 else None,
        evaluate(batch),
    )[1]
    with pytest.raises(errors.CancelledError):
        read("x")
    engine.evaluate = evaluate
    assert read("x").complete
    model.close()
    with pytest.raises(errors.EngineError, match="closed"):
        read("x")
    model.close()


def test_cards_name_the_task():
    card = Card.from_dict(
        {
            "name": "t",
            "licence": "MIT",
            "task": {
                "kind": "extract",
                "json_schema": {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                "style": {"item_separator": ", ", "key_separator": ": "},
                "max_tokens": 9,
            },
            "prompt": {"user": "Read {{ text }}!"},
        },
        where="test",
    )
    prompts = []
    with GgufModel(
        ScriptedEngine(lambda prompt: (prompts.append(prompt), '{"a": 1}')[1]), card
    ) as model:
        assert model.card is card
        assert model.extractor()("it").json == '{"a": 1}'
        assert "Read it!" in prompts[-1]
        with pytest.raises(errors.CardError, match="labels"):
            model.classifier()


def test_without_a_card_a_task_must_be_given():
    with GgufModel(ScriptedEngine()) as model:
        assert model.card is None
        with pytest.raises(errors.CardError, match="schema"):
            model.extractor()
        with pytest.raises(errors.SchemaError):
            model.extractor(3)  # type: ignore[call-overload]
        with pytest.raises(errors.SchemaError) as caught:
            model.extractor({"type": "object", "properties": {"a": {"$ref": "https://x/y"}}})
        assert caught.value.path == "/properties/a"


def test_a_schema_cannot_smuggle_template_code_into_the_prompt():
    spec = default_prompt({"properties": {"{{ 1 }}": {"description": "{% raw %} {# x #}"}}})
    assert spec.user.count("{{") == 1
