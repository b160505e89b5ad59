"""Labels given to a specialist: some of its own are chosen among as trained, others are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeslm
from edgeslm.errors import ArgumentError, LabelError, SchemaError
from edgeslm.formats.card import Card, PromptSpec
from edgeslm.formats.onnx.info import KNOWN_KEY
from edgeslm.formats.onnx.known_inputs import known_inputs
from edgeslm.models.ask import asker
from edgeslm.models.gguf import GgufModel
from edgeslm.models.model import Model
from edgeslm.tasks.decision import softmax
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_onnx import (
    LABELS,
    SCOPED,
    card,
    encoder_model,
    metadata,
    write_model,
    write_tiny_onnx,
)

VERBALIZED = [{"name": name, "verbalizer": f"say {name}"} for name in LABELS]


def language(*, seed: int = 3, sharpness: float = 1.0, **more: Any) -> tuple[GgufModel, list[str]]:
    """A specialist whose card has a prompt, verbalizers and a temperature; what it was asked."""
    prompts: list[str] = []

    def script(prompt: str) -> str:
        prompts.append(prompt)
        return "say shipping"

    task = {"kind": "classify", "labels": VERBALIZED}
    whole = {"name": "router", "licence": "mit", "task": task, "prompt": {"system": "OWN"}, **more}
    engine = ScriptedEngine(script, seed=seed, sharpness=sharpness)
    return GgufModel(engine, Card.from_dict(whole, where="test")), prompts


@pytest.mark.parametrize("chosen", [["shipping", "refund"], ["billing", "refund"], list(LABELS)])
def test_a_language_model_s_own_labels_keep_prompt_verbalizers_and_temperature(
    chosen: list[str],
) -> None:
    model, prompts = language(calibration={"temperature": 3.0})
    whole = model.classifier()("text", all_labels=True).probabilities
    answer = model.classifier(chosen)("text", all_labels=True)
    assert all("OWN" in prompt for prompt in prompts)
    total = sum(whole[name] for name in chosen)
    expected = {name: whole[name] / total for name in chosen}
    assert answer.probabilities == pytest.approx(expected)
    assert list(answer.probabilities) == chosen


@given(st.permutations(LABELS), st.integers(2, 3), st.lists(st.sampled_from(LABELS), max_size=9))
def test_an_encoder_s_own_labels_are_its_answer_renormalised(
    shared: Model, order: list[str], count: int, words: list[str]
) -> None:
    text, chosen = " ".join([*words, "please"]), order[:count]
    whole = shared.classifier()(text).probabilities
    answer = shared.classifier(chosen)(text)
    total = sum(whole[name] for name in chosen)
    expected = {name: whole[name] / total for name in chosen}
    assert answer.probabilities == pytest.approx(expected)
    assert answer.label == max(chosen, key=lambda name: answer.probabilities[name])
    assert shared.classifier(chosen).labels == tuple(chosen)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("own") / "tiny.onnx"
    with edgeslm.load(write_tiny_onnx(path, card(calibration={"temperature": 2.0}))) as model:
        yield model


def test_out_of_scope_is_said_only_where_it_is_among_the_labels(tmp_path: Path) -> None:
    promise = card(task=SCOPED, calibration={"threshold": 0.9})
    with edgeslm.load(write_tiny_onnx(tmp_path / "tiny.onnx", promise)) as model:
        assert model.classifier(["a", "oos"])("so and so on").label == "oos"
        assert model.classifier(["b", "a"])("so and so on").label in {"a", "b"}


def test_a_remembered_text_keeps_its_shares_among_the_labels(tmp_path: Path) -> None:
    known = known_inputs([("where is it", 0, 1), ("where is it", 1, 3)], prior_rows=1.0)
    properties = {**metadata(card(), LABELS), KNOWN_KEY: known.to_json()}
    graph = encoder_model(LABELS, np.eye(3, dtype=np.float32))
    with edgeslm.load(write_model(tmp_path / "x.onnx", graph, properties)) as model:
        whole = model.classifier()("Where is it").probabilities
        answer = model.classifier(["refund", "billing"])("Where is it")
    expected = whole["refund"] / (whole["refund"] + whole["billing"])
    assert answer.confidence == pytest.approx(expected)
    assert softmax(np.zeros(2)).sum() == 1


FOREIGN: list[Any] = [["billing", "returns"], ["a", "b", "c"], ["refund"], ["refund", "refund"], []]
DESCRIBED: list[Any] = ["refund", {"refund": "money back", "billing": "x"}]


@pytest.mark.parametrize("labels", [*FOREIGN, *DESCRIBED])
def test_other_labels_are_refused_with_the_list_of_its_own(shared: Model, labels: Any) -> None:
    model, _ = language()
    for specialist, way_out in ((model, "untrained"), (shared, "a language model")):
        with pytest.raises(LabelError) as caught:
            specialist.classifier(labels)
        if labels in FOREIGN:
            assert all(name in str(caught.value) for name in LABELS)
        if len(labels) > 1 and labels != ["refund", "refund"]:
            assert way_out in str(caught.value)


def test_the_list_of_its_own_is_short() -> None:
    task = {"kind": "classify", "labels": [f"label {i}" for i in range(77)]}
    promise = Card.from_dict({"name": "t", "licence": "mit", "task": task}, where="test")
    model = GgufModel(ScriptedEngine("a"), promise)
    with model, pytest.raises(LabelError, match=r"and 57 more, .* NAME --json` lists;"):
        model.classifier(["a", "b"])


@pytest.mark.parametrize("wrong", ["Shipping", "shiping", "shippings", "SHIPPING "])
def test_a_near_miss_is_named_before_the_list_of_its_own(shared: Model, wrong: str) -> None:
    model, _ = language()
    for specialist in (model, shared):
        with pytest.raises(LabelError) as caught:
            specialist.classifier(["qqq", wrong, "refund"])
        said = str(caught.value)
        assert f"not trained for {wrong!r} (did you mean 'shipping'?), 'qqq'; its labels" in said


def test_foreign_labels_are_named_shortly(shared: Model) -> None:
    with pytest.raises(LabelError) as caught:
        shared.classifier([f"{number}{'x' * 10_000}" for number in range(50)])
    assert "and 30 more; its labels" in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_untrained_labels_are_answered_when_it_is_said_that_they_are_wanted(shared: Model) -> None:
    model, prompts = language(sharpness=20.0)
    labels: Mapping[str, str] = {"say shipping": "parcels", "other": "the rest"}
    assert model.classifier(labels, untrained=True)("x").label == "say shipping"
    assert "OWN" not in prompts[-1]
    assert "parcels" in prompts[-1]
    with pytest.raises(LabelError, match="only the labels it was trained for"):
        shared.classifier(["a", "b"], untrained=True)
    for specialist in (model, shared):
        with pytest.raises(ArgumentError, match="untrained must come with labels"):
            specialist.classifier(untrained=True)
        with pytest.raises(ArgumentError, match="untrained must be"):
            specialist.classifier(["a", "b"], untrained="yes")  # type: ignore[arg-type]


def test_a_specialist_of_another_task_says_what_it_was_trained_for() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    task = {"kind": "extract", "json_schema": schema}
    promise = Card.from_dict({"name": "reader", "licence": "mit", "task": task}, where="test")
    with GgufModel(ScriptedEngine("b"), promise) as model:
        with pytest.raises(LabelError, match=r"reader was trained to extract.*untrained=True"):
            model.classifier(["a", "b"])
        assert model.classifier(["a", "b"], untrained=True)("x").label == "b"


def test_a_classifier_reads_a_schema_only_when_it_is_said_that_it_is_wanted() -> None:
    model, _ = language()
    with model:
        with pytest.raises(SchemaError, match=r"router was trained to classify.*untrained=True"):
            model.extractor({"const": 7})
        with pytest.raises(SchemaError, match="router was trained to classify"):
            asker(model, schema={"const": 7})
        assert model.extractor({"const": 7}, untrained=True)("x").value == 7
        asked = asker(model, schema={"const": 7}, untrained=True)("x")
        assert asked.to_dict()["value"] == 7
        with pytest.raises(ArgumentError, match="untrained must come with a schema"):
            model.extractor(untrained=True)


def test_a_model_is_shown_by_its_name_kind_and_task(shared: Model) -> None:
    model, _ = language()
    with model:
        assert repr(model) == "<Model router 1, language, classify>"
    assert repr(shared) == f"<Model {shared.card.name} 1, encoder, classify>"  # type: ignore[union-attr]
    with GgufModel(ScriptedEngine()) as bare:
        assert repr(bare) == "<Model without a card, language>"


@pytest.mark.parametrize("labels", [None, ["shipping", "refund"]])
def test_another_prompt_than_the_trained_one_must_be_asked_for(labels: Any) -> None:
    other = PromptSpec(system="OTHER")
    model, prompts = language()
    with pytest.raises(ArgumentError, match=r"router was trained with one.*untrained=True"):
        model.classifier(labels, prompt=other)
    model.classifier(["shipping", "refund"], prompt=other, untrained=True)("x")
    assert "OTHER" in prompts[-1]
