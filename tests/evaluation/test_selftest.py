"""Self-tests: a model is held to the examples of its card, and what differs is said."""

from __future__ import annotations

import pytest

from edgeslm.errors import SchemaError
from edgeslm.evaluation.selftest import SelfTest, self_test, self_test_of
from edgeslm.formats.card import Card
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_gguf import write_tiny_gguf

SCHEMA = {
    "type": "object",
    "properties": {"shop": {"type": "string"}, "total": {"type": "number"}},
    "required": ["shop", "total"],
}
ANSWER = '{"shop":"Nook","total":12.50}'
RIGHT = {"total": 12.5, "shop": "Nook"}


def card(task, *examples) -> Card:
    shown = [{"input": text, "expected": expected} for text, expected in examples]
    data = {"name": "n", "licence": "MIT", "task": task, "examples": shown}
    return Card.from_dict(data, where="card")


def reader(*examples, schema=SCHEMA, **engine) -> GgufModel:
    task = {"kind": "extract", "json_schema": schema, "max_tokens": 64}
    return GgufModel(ScriptedEngine(ANSWER, sharpness=40.0, **engine), card(task, *examples))


def sorter(*examples) -> GgufModel:
    task = {"kind": "classify", "labels": ["billing", {"name": "refund", "verbalizer": "back"}]}
    return GgufModel(ScriptedEngine("back"), card(task, *examples))


def test_values_are_compared_and_not_their_spelling():
    with reader(("at Nook, 12.50", RIGHT), ("at Nook", {**RIGHT, "total": 13})) as model:
        good, bad = self_test(model)
    assert (good.number, good.passed, good.answered) == (1, True, RIGHT)
    assert (bad.number, bad.passed, bad.answered) == (2, False, RIGHT)
    assert good.ms > 0


def test_labels_are_compared_and_not_verbalizers():
    with sorter(("money!", "refund"), ("money!", "back")) as model:
        assert [test.passed for test in self_test(model)] == [True, False]


def test_an_example_that_cannot_be_answered_fails_with_the_reason():
    with reader(("x" * 5000, RIGHT), ("Nook", RIGHT), context_size=64) as model:
        long, short = self_test(model)
    assert not long.passed and short.passed
    assert "context" in long.error and long.error in long.outcome()


def test_what_concerns_every_example_is_raised():
    model = reader(("x", 1), schema={"$ref": "https://h.example/s.json"})
    with model, pytest.raises(SchemaError):
        self_test(model)


def test_without_card_or_examples_there_is_nothing_to_test():
    with GgufModel(ScriptedEngine(ANSWER)) as model:
        assert self_test(model) == ()
    with reader() as model:
        assert self_test(model) == ()


def test_a_file_is_loaded_and_tested(tmp_path):
    task = {"kind": "classify", "labels": ["billing", "refund"]}
    shown = [("my money", "billing"), ("my money", "refund")]
    path = write_tiny_gguf(tmp_path / "m.gguf", card=card(task, *shown))
    first, second = self_test_of(path)
    assert first.passed != second.passed
    assert first.answered == second.answered


@pytest.mark.parametrize(
    ("expected", "answered", "words"),
    [
        (RIGHT, {**RIGHT, "total": 13}, "expected {'total': 12.5}, answered {'total': 13}"),
        ({"a": None}, {}, "expected {'a': None}, answered {}"),
        ("refund", "billing", "expected 'refund', answered 'billing'"),
        ("refund", "refund", "'refund'"),
        ("\x1b[2J", "é", r"expected '\x1b[2J', answered 'é'"),
    ],
)
def test_the_outcome_says_what_differs(expected, answered, words):
    assert SelfTest(1, expected, answered, None, 1.0).outcome() == words


def test_a_long_value_is_cut():
    assert len(SelfTest(1, "x" * 10_000, "y" * 10_000, None, 1.0).outcome()) < 500
