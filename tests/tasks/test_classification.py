"""Classifier: labels, descriptions, verbalizers, temperature."""

from __future__ import annotations

import pytest

from edgeslm import errors
from edgeslm.decoding.session import FIRST_FREE
from edgeslm.formats.card import Card
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine


def says(answer: str, **options) -> GgufModel:
    return GgufModel(ScriptedEngine(answer, **options))


def test_the_likeliest_label_and_all_probabilities():
    with says("refund") as model:
        result = model.classifier(["billing", "refund", "shipping"])("I want my money back")
    assert result.label == "refund"
    assert result.confidence == result.probabilities["refund"] > 0.99
    assert list(result.probabilities) == ["billing", "refund", "shipping"]
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-5)
    line = result.to_dict()
    assert next(iter(line["probabilities"])) == "refund"
    assert line["timing"]["decodes"] == 1


def test_labels_that_prefix_others_are_told_apart():
    for answer in ("card", "card lost", "card lost abroad"):
        with says(answer) as model:
            assert model.classifier(["card", "card lost", "card lost abroad"])("x").label == answer


def test_descriptions_reach_the_prompt():
    prompts: list[str] = []
    with GgufModel(ScriptedEngine(lambda prompt: (prompts.append(prompt), "b")[1])) as model:
        model.classifier({"a": "about apples", "b": "about bees {{ x }}"})("hum")
    assert "about apples" in prompts[-1]
    assert "hum" in prompts[-1]


def test_an_answer_does_not_depend_on_what_came_before():
    with says("refund", seed=4, sharpness=1.0) as model:
        sort = model.classifier(["billing", "refund", "shipping"])
        first = sort("one").probabilities
        sort("something else")
        assert sort("one").probabilities == first


def card(**more) -> Card:
    return Card.from_dict(
        {
            "name": "t",
            "licence": "MIT",
            "task": {
                "kind": "classify",
                "labels": [{"name": "card_lost", "verbalizer": "lost"}, "other"],
            },
            **more,
        },
        where="test",
    )


def test_verbalizers_are_what_the_model_says():
    with GgufModel(ScriptedEngine("lost"), card()) as model:
        assert model.classifier()("x").label == "card_lost"


def test_labels_of_one_token_each_take_no_decode_and_one_sequence():
    with says("b", max_sequences=FIRST_FREE + 1) as model:
        sort = model.classifier(["a", "b", "c"])
        result = sort("what is it")
        assert result.label == "b"
        assert result.timing.decodes == 0
        assert sort("what is it", all_labels=True).probabilities == result.probabilities
        assert [r.label for r in sort.map(["one", "two", "three"])] == ["b", "b", "b"]


def test_the_cards_temperature_calibrates():
    plain = GgufModel(ScriptedEngine("lost", sharpness=1.0), card()).classifier()("x")
    flat = GgufModel(
        ScriptedEngine("lost", sharpness=1.0), card(calibration={"temperature": 50.0})
    ).classifier()("x")
    assert flat.label == plain.label
    assert flat.confidence < plain.confidence
    assert sum(flat.probabilities.values()) == pytest.approx(1)


def test_more_labels_than_one_batch_holds():
    names = [f"label {i:03d}" for i in range(300)]
    with says("label 217") as model:
        result = model.classifier(names)("x")
    assert result.label == "label 217"
    assert result.timing.decodes > 1
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("labels", [["a"], [], ["a", "a"], ["a", ""], "a,b", ["a", "b" * 300]])
def test_label_sets_that_make_no_sense(labels):
    with says("a") as model, pytest.raises(errors.LabelError):
        model.classifier(labels)


def test_a_deadline_has_no_answer_to_give():
    with says("a") as model:
        sort = model.classifier(["a", "b"])
        with pytest.raises(errors.DeadlineError):
            sort("x", deadline_ms=0)
        assert sort("x").label == "a"
        with pytest.raises(errors.InputError):
            sort(" ")
        with pytest.raises(errors.CardError):
            model.classifier()
