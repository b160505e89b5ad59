"""Batches: each text has the answer that it has alone, in order, whatever happens around it."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.decoding.batching import DEFAULT_WIDTH
from edgeslm.errors import (
    ArgumentError,
    EdgeslmError,
    SchemaError,
)
from edgeslm.results import Extraction
from edgeslm.tasks.extraction.language import LanguageExtractor
from tests.helpers.batches import LABELS, SCHEMA, assert_free, model_of, plain


def alone(call: Callable[[str], Any], text: str) -> object:
    try:
        return plain(call(text))
    except EdgeslmError as error:
        return type(error), str(error)


TEXTS = st.lists(
    st.one_of(
        st.text('ab the 12 é,."\\\n', max_size=30), st.sampled_from(["", "\ud800", "x" * 99])
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(
    texts=TEXTS,
    width=st.integers(1, 20),
    seed=st.integers(0, 99),
    sharpness=st.sampled_from([0.0, 3.0, 20.0]),
    grounded=st.sampled_from([False, True, ("name",)]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(1, 40),
            "temperature": st.just(0.7),
            "drafts": st.booleans(),
            "evidence": st.booleans(),
            "on_budget": st.just("raise"),
        },
    ),
)
def test_extractions_are_those_of_single_calls(texts, width, seed, sharpness, grounded, options):
    options = {"max_tokens": 60, **options, "grounded": grounded}
    single = model_of(seed=seed, sharpness=sharpness)[0].extractor(SCHEMA)
    several = model_of(seed=seed, sharpness=sharpness)[0].extractor(SCHEMA)
    expected = [alone(lambda text: single(text, **options), text) for text in texts]
    mapped = list(map(plain, several.map(texts, width=width, **options)))
    assert mapped == expected


@settings(max_examples=10, deadline=None)
@given(texts=TEXTS, width=st.integers(1, 20), seed=st.integers(0, 99), many=st.booleans())
def test_classifications_are_those_of_single_calls(texts, width, seed, many):
    # many are more than there are sequences to compare them in
    labels = [f"{label} {i}" for i in range(4) for label in LABELS] if many else LABELS
    single, several = (
        model_of(seed=seed, max_sequences=24)[0].classifier(labels) for _ in range(2)
    )
    mapped = list(map(plain, several.map(texts, width=width)))
    assert mapped == [alone(single, text) for text in texts]


def test_answers_share_evaluations():
    texts = [f"the text {i}" for i in range(8)]
    counts = []
    for width in (1, 8):
        model, engine = model_of()
        assert len(list(model.extractor(SCHEMA).map(texts, width=width, drafts=False))) == 8
        counts.append(len(engine.evaluated))
    assert counts[1] < counts[0] / 4
    sequences = {s for batch in engine.evaluated for row in batch.sequences for s in row}
    assert len(sequences) >= 8


def test_rows_stay_within_what_keeps_logits_the_same():
    model, engine = model_of(max_outputs=10)
    texts = [f"the text {i} {'ab ' * (i * 3)}" for i in range(12)]
    list(model.extractor(SCHEMA).map(texts))
    shared = [b for b in engine.evaluated if len({s for row in b.sequences for s in row}) > 1]
    assert shared
    assert max(len(batch.tokens) for batch in shared) <= 10


# --- what is taken, and when ------------------------------------------------------------------


def test_an_endless_input_is_taken_as_it_is_needed():
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for taken in itertools.count(1):
            yield f"the {taken}"

    answers = model_of()[0].extractor(SCHEMA).map(endless(), width=4)
    assert taken == 0
    for i, answer in enumerate(itertools.islice(answers, 30), 1):
        assert isinstance(answer, Extraction)
        assert answer.value["name"] == f"the {i}"
        assert taken <= i + 4 * 4
    answers.close()


def test_a_slow_first_text_holds_only_so_many_behind_it():
    taken: list[int] = []
    long = {"type": "string", "maxLength": 800}

    def words(prompt: str) -> str:
        return json.dumps("ab" * 300 if "slow" in prompt else "a")

    def texts() -> Iterator[str]:
        yield "slow"
        for i in itertools.count():
            taken.append(i)
            yield "x"

    model, _ = model_of(script=words)
    extract = model.extractor(long)
    answers = extract.map(texts(), width=3, max_tokens=700, drafts=False, evidence=False)
    first = next(answers)
    assert isinstance(first, Extraction)
    assert len(first.value) == 600
    assert len(taken) < 4 * 3


def test_no_texts_no_answers():
    model, engine = model_of()
    assert list(model.extractor(SCHEMA).map([])) == []
    assert engine.evaluated == []


@pytest.mark.parametrize("texts", ["one text", ""])
def test_a_single_text_is_not_many(texts):
    model, _ = model_of()
    for tool in (model.extractor(SCHEMA), model.classifier(LABELS)):
        with pytest.raises(ArgumentError, match="many texts"):
            tool.map(texts)
        with pytest.raises(ArgumentError, match="width"):
            tool.map(["x"], width=0)
    with pytest.raises(SchemaError, match="no field 'nam'"):
        model.extractor(SCHEMA).map(["x"], grounded=["nam"])


# --- among other calls ------------------------------------------------------------------------


@pytest.mark.parametrize("context_size", [4096, 600])
def test_calls_between_answers_change_nothing(context_size):
    """Where the context is too small for both, those in progress begin again."""
    texts = [f"the {'ab ' * (i % 5)}{i}" for i in range(25)]
    model, engine = model_of(context_size=context_size)
    engine.max_context = context_size
    extract, classify = model.extractor(SCHEMA), model.classifier(LABELS)
    expected = [plain(extract(text, max_tokens=80)) for text in texts]
    mapped = []
    for i, answer in enumerate(extract.map(texts, max_tokens=80)):
        mapped.append(plain(answer))
        if i % 3 == 0:
            assert plain(extract(texts[i], max_tokens=80)) == expected[i]
        if i % 3 == 1:
            classify("the total")
    assert mapped == expected


def test_maps_and_calls_of_many_threads():
    texts = [f"the {i}" for i in range(12)]
    model, engine = model_of(context_size=1500)
    engine.max_context = 1500
    extract, classify = model.extractor(SCHEMA), model.classifier(LABELS)
    expected = [plain(extract(text, max_tokens=60)) for text in texts]
    labels = [plain(classify(text)) for text in texts]
    results: dict[int, list[object]] = {}

    def work(number: int, extract: LanguageExtractor[Any]) -> None:
        if number % 3 == 0:
            results[number] = list(map(plain, extract.map(texts, max_tokens=60)))
        elif number % 3 == 1:
            results[number] = [plain(extract(text, max_tokens=60)) for text in texts]
        else:
            results[number] = list(map(plain, classify.map(texts, width=3)))

    threads = [threading.Thread(target=work, args=(i, extract)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {i: labels if i % 3 == 2 else expected for i in range(6)}
    assert_free(model)


def test_the_texts_may_come_from_the_same_model():
    extract = model_of()[0].extractor(SCHEMA)
    first = extract.map(f"the {i}" for i in range(6))
    second = extract.map(answer.value["name"] + " ab" for answer in first)
    names = [answer.value["name"] for answer in second]
    assert names == [f"the {i} ab" for i in range(6)]


def test_the_context_grows_for_the_width():
    model, engine = model_of(context_size=256)
    list(model.extractor(SCHEMA).map([f"the {i}" for i in range(9)], max_tokens=100))
    assert engine.context_size >= DEFAULT_WIDTH * 100
    most = max(len({s for row in b.sequences for s in row}) for b in engine.evaluated)
    assert most == DEFAULT_WIDTH
