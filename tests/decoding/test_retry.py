"""Rules that no grammar holds: the answer is taken back in part, boundedly, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from edgeslm import errors
from edgeslm.decoding.decoder import Decoder
from edgeslm.engines.engine import Batch, drive
from edgeslm.tasks.extraction.language import MAX_RETRIES
from edgeslm.testing import ScriptedEngine
from tests.helpers.scripted import extractor_for, matcher_for, prefilled

UNIQUE = {
    "type": "array",
    "items": {"enum": ["the", "ab", "c"]},
    "uniqueItems": True,
    "minItems": 2,
    "maxItems": 2,
}


class Sum(BaseModel):
    a: int = Field(ge=1, le=2)
    b: int = Field(ge=1, le=2)
    total: int = Field(ge=2, le=4)

    @model_validator(mode="after")
    def _adds_up(self):
        if self.a + self.b != self.total:
            raise ValueError("the sum is wrong")
        return self


@pytest.mark.parametrize("seed", range(5))
def test_a_doubled_item_is_taken_back(seed):
    read, engine = extractor_for('["ab","ab"]', UNIQUE, seed=seed, sharpness=6.0)
    with pytest.raises(errors.OutputInvalidError):
        read("x", on_invalid="raise")
    result = read("x")
    assert len(set(result.value)) == 2
    assert result.complete
    assert len(engine.evaluated) > 2


@pytest.mark.parametrize("seed", range(5))
def test_a_validator_of_the_class_is_kept(seed):
    read, _ = extractor_for('{"a":1,"b":2,"total":4}', Sum, seed=seed, sharpness=4.0)
    value = read("x").value
    assert value.a + value.b == value.total


def test_giving_up_is_an_error_after_bounded_work():
    class Never(BaseModel):
        a: int = Field(ge=0, le=999)

        @model_validator(mode="after")
        def _never(self):
            raise ValueError("nothing is good enough")

    read, engine = extractor_for('{"a":123}', Never)
    with pytest.raises(errors.OutputInvalidError, match="nothing is good enough"):
        read("x")
    assert len(engine.evaluated) < 10 * MAX_RETRIES


def test_a_budget_ends_the_retries_too():
    read, _ = extractor_for('["ab","ab"]', UNIQUE)
    ticks = iter([0] * 3)
    engine = read._session.engine
    evaluate = engine.evaluate

    def until_late(batch):
        if next(ticks, None) is None:
            raise errors.DeadlineError("late")
        return evaluate(batch)

    engine.evaluate = until_late
    with pytest.raises((errors.OutputInvalidError, errors.DeadlineError)):
        read("x", deadline_ms=60_000)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), which=st.integers(0, 3))
def test_what_follows_a_retry_is_what_the_model_says_there(seed, which):
    schema = {"type": "string", "pattern": "^[a-d]{4}$"}
    engine = ScriptedEngine(seed=seed)
    row, position = prefilled(engine)
    decoder = Decoder(
        engine, matcher_for(engine, schema), sequence=0, position=position, max_tokens=9
    )
    decoder.run(row)
    first = list(decoder.out.tokens)
    choice = decoder.open_choices()[which]
    decoder.run(drive(engine, decoder.back_off(choice)))
    second = decoder.out.tokens
    assert second[: choice.index] == first[: choice.index]
    assert second[choice.index] != first[choice.index]

    # the definition: the same prefix and the best token that was not refused, in a new sequence
    fresh = ScriptedEngine(seed=seed)
    row, position = prefilled(fresh)
    matcher = matcher_for(fresh, schema)
    tokens: list[int] = []
    while not matcher.is_stopped:
        allowed = matcher.mask().nonzero()[0]
        if len(tokens) == choice.index:
            allowed = allowed[allowed != first[choice.index]]
        forced = matcher.forced()
        token = forced[0] if forced else int(allowed[row[allowed].argmax()])
        if len(tokens) < choice.index:
            token = first[len(tokens)]
        matcher.consume([token])
        tokens.append(token)
        row = fresh.evaluate(Batch.run([token], position, 0))[-1]
        position += 1
    assert second == tokens
