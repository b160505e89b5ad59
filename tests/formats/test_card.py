"""Cards: closed and versioned, and the same after JSON; the page that explains them is true."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgeslm.errors import CardError
from edgeslm.formats.card import Card, ClassifyTask, ExtractTask, TagTask
from edgeslm.formats.card_facts import MAX_CARD_BYTES

BASE: dict[str, Any] = {
    "name": "router",
    "licence": "mit",
    "task": {"kind": "classify", "labels": ["a", "b"]},
}
SCORE = {"metric": "accuracy", "value": 0.5, "n": 1, "gold": "g"}


def card(**changes: Any) -> Card:
    return Card.from_dict({**BASE, **changes}, where="card.toml")


def test_a_plain_card_takes_the_defaults() -> None:
    made = card()
    assert made.format == 1
    assert made.version == "1"
    assert made.prompt.user == "{{ text }}"
    assert isinstance(made.task, ClassifyTask)
    assert [label.text for label in made.task.labels] == ["a", "b"]


def test_a_tagger_s_labels_are_specs_and_stay_so_in_json() -> None:
    heads = [{"name": "h", "labels": ["a", "b"], "multi_label": True, "threshold": 0.7}]
    made = card(task={"kind": "tag", "heads": heads})
    assert isinstance(made.task, TagTask)
    assert [label.name for label in made.task.heads[0].labels] == ["a", "b"]
    assert Card.from_json(made.to_json(), where="x") == made


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"licence": None}, "licence"),
        ({"licens": "mit"}, "licens: Extra inputs"),
        ({"format": 2}, "format 2, this edgeslm reads format 1; update edgeslm"),
        ({"name": "../evil"}, "name"),
        ({"name": ""}, "name"),
        ({"task": {"kind": "translate"}}, "task"),
        ({"task": {"kind": "classify", "labels": ["a"]}}, "labels"),
        ({"task": {"kind": "classify", "labels": ["a", "b", "a"]}}, "label given twice: 'a'"),
        (
            {"task": {"kind": "classify", "labels": ["caf\u00e9", "Cafe\u0301"]}},
            r"labels that read the same: 'caf\xe9' and 'Cafe\u0301'",
        ),
        (
            {"task": {"kind": "classify", "labels": ["a", {"name": "b", "verbalizer": "a"}]}},
            "verbalizer given twice: 'a'",
        ),
        ({"task": {"kind": "classify", "labels": ["a", ""]}}, "labels"),
        (
            {"task": {"kind": "classify", "labels": ["a", "b"], "out_of_scope": "c"}},
            "out_of_scope must be one of the labels, not 'c'",
        ),
        ({"task": {"kind": "tag", "heads": []}}, "heads"),
        ({"task": {"kind": "tag", "heads": [{"name": "h", "labels": ["a"]}]}}, "labels"),
        (
            {"task": {"kind": "tag", "heads": [{"name": "h", "labels": ["a", "b"]}] * 2}},
            "head given twice: 'h'",
        ),
        (
            {"task": {"kind": "tag", "heads": [{"name": "h", "labels": ["a", "a"]}]}},
            "label given twice: 'a'",
        ),
        ({"calibration": {"reject": "energy"}}, "needs the bound"),
        ({"calibration": {"reject": "entropy"}}, "reject"),
        ({"task": {"kind": "extract"}}, "json_schema"),
        ({"task": {"kind": "extract", "json_schema": {}, "max_tokens": 0}}, "max_tokens"),
        ({"prompt": {"user": "no text"}}, "exactly once"),
        ({"prompt": {"user": "{{ text }}{{ text }}"}}, "exactly once"),
        ({"prompt": {"user": "{{ text }}{{ config }}"}}, "no template code"),
        ({"prompt": {"user": "{{ text }}{% if x %}"}}, "no template code"),
        ({"prompt": {"chat_template_sha256": "ABC"}}, "chat_template_sha256"),
        ({"calibration": {"temperature": 0}}, "temperature"),
        ({"calibration": {"temperature": float("inf")}}, "temperature"),
        ({"calibration": {"temperature": float("nan")}}, "temperature"),
        ({"scores": [{**SCORE, "value": 1.5}]}, "value"),
        ({"scores": [{**SCORE, "fold": "accents"}]}, "fold"),
        ({"proven_as": []}, "proven_as"),
        ({"proven_as": ["server"]}, "proven_as"),
        ({"scores": [{**SCORE, "value": float("nan")}]}, "value"),
        ({"provenance": {"base_sha256": "0" * 63}}, "base_sha256"),
        ({"examples": [{"input": "", "expected": "a"}]}, "input"),
    ],
)
def test_what_is_no_card_is_refused_with_its_place(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CardError, match=re.escape(says)) as caught:
        card(**changes)
    assert str(caught.value).startswith("card.toml: ")


def test_several_errors_are_counted() -> None:
    with pytest.raises(CardError, match=r"and 1 more"):
        card(name="", licence="")


def test_json_keeps_everything() -> None:
    schema = {"type": "object", "properties": {"ä": {"type": "number", "maximum": 1.5}}}
    full = card(
        task={"kind": "extract", "json_schema": schema, "style": {"key_separator": ": "}},
        calibration={"temperature": 1.25, "threshold": 0.5},
        scores=[{**SCORE, "interval": [0.4, 0.6], "by_category": {"a": {"n": 3, "value": 1}}}],
        examples=[{"input": "x", "expected": {"ä": [1, None, "\u2028"]}}],
    )
    again = Card.from_json(full.to_json(), where="model.gguf")
    assert again == full
    assert isinstance(again.task, ExtractTask)
    assert list(again.task.json_schema) == ["type", "properties"]


def test_a_score_says_how_texts_were_compared_where_it_is_not_the_usual_way() -> None:
    task = {"kind": "extract", "json_schema": {"type": "object"}}
    scores = [SCORE, {**SCORE, "fold": "punctuation"}, {**SCORE, "fold": "case", "metric": "F1"}]
    made = card(task=task, scores=scores)
    written = json.loads(made.to_json())["scores"]
    assert [score.get("fold") for score in written] == [None, "punctuation", None]
    again = Card.from_json(made.to_json(), where="x")
    assert again == made
    assert [score.fold for score in again.scores] == ["case", "punctuation", "case"]
    assert again.scores[1].words(again.task) == "accuracy (case and punctuation ignored)"
    assert again.scores[0].words(card().task) == "accuracy"  # labels are compared as they are


def test_what_a_card_promises_is_by_metric_and_way_of_comparing() -> None:
    sure = {**SCORE, "interval": [0.4, 0.6]}
    made = card(scores=[SCORE, sure, {**sure, "fold": "none"}])
    assert made.promised("accuracy") == made.scores[1]
    assert made.promised("accuracy", "none") == made.scores[2]
    assert made.promised("accuracy", "punctuation") is None
    assert made.promised("field F1") is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", b"\xff", '{"name":"\\ud800"}', "9" * 10_000]
)
def test_bad_json_is_a_card_error(text: str | bytes) -> None:
    with pytest.raises(CardError, match=r"model\.gguf"):
        Card.from_json(text, where="model.gguf")


def test_an_oversized_card_is_not_parsed() -> None:
    with pytest.raises(CardError, match="over the 4194304 allowed"):
        Card.from_json(b"x" * (MAX_CARD_BYTES + 1), where="model.gguf")


def test_the_examples_of_the_page_are_cards_and_use_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "card.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        Card.from_dict(tomllib.loads(example), where="docs/card.md")
    missing = {key for key in _keys(Card.model_json_schema()) if key not in page}
    assert not missing


def _keys(schema: dict[str, Any]) -> set[str]:
    """Every key that a card can hold, at any depth."""
    definitions = [schema, *schema["$defs"].values()]
    return {key for definition in definitions for key in definition.get("properties", {})}
