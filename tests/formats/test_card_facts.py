"""Facts of cards: told of all cards that converters write, and of nothing but cards."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.errors import CardError
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import (
    MAX_CARD_BYTES,
    SCHEMA_FILE,
    Bounds,
    LabelSet,
    facts_of,
    read_facts,
)
from edgeslm.formats.onnx.info import read_onnx
from scripts.card_schema import schema

SHA256 = "0123456789abcdef" * 4
SPECIALISTS = sorted((Path(__file__).parents[2] / "specialists").glob("*/*/*.onnx"))
SCORE = {
    "metric": "accuracy",
    "value": 0.9,
    "interval": [0.8, 1],
    "n": 3,
    "gold": "rows",
    "gold_sha256": SHA256,
    "by_category": {"a": {"n": 0, "value": 0.5, "lower": None}, "b": {"n": 3, "value": 1}},
    "baselines": {"linear": 0.4},
}
CLASSIFIER: dict[str, Any] = {
    "name": "router",
    "licence": "mit",
    "description": "Über Bücher",
    "task": {
        "kind": "classify",
        "labels": [
            {"name": "a"},
            {"name": "b", "verbalizer": "bee", "description": "the second"},
            {"name": "oos"},
        ],
        "out_of_scope": "oos",
    },
    "calibration": {
        "temperature": 0.6,
        "reject": "energy",
        "energy": 5.5,
        "threshold": 0.25,
        "fitted_on_sha256": SHA256,
        "n": 12,
        "ece_before": 0.5,
        "ece_after": 0.0,
    },
    "scores": [SCORE],
    "proven_as": ["file"],
    "provenance": {
        "base": "bert",
        "base_sha256": SHA256,
        "tools": {"onnx": "1"},
        "sources": ["x", "y"],
    },
    "examples": [{"input": "x", "expected": "a"}],
}
TAGGER: dict[str, Any] = {
    "name": "tagger",
    "licence": "mit",
    "task": {
        "kind": "tag",
        "heads": [
            {"name": "type", "labels": [{"name": "bug"}, {"name": "wish"}]},
            {
                "name": "areas",
                "labels": [{"name": "ui"}, {"name": "api"}],
                "multi_label": True,
                "threshold": 0.6,
            },
        ],
    },
    "calibration": {"temperature": 2},
    "examples": [{"input": "x", "expected": {"type": "bug", "areas": ["ui"]}}],
}
PLAIN = json.dumps(CLASSIFIER, ensure_ascii=False)


def told(text: str) -> Any:
    """The facts as the card itself has them; raises CardError."""
    return facts_of(Card.from_json(text, where="x").model_dump(mode="json"))


def test_what_is_told_of_a_classifier_and_of_a_tagger() -> None:
    facts = read_facts(PLAIN)
    assert facts is not None
    assert facts.heads == (LabelSet(("a", "b", "oos")),)
    assert facts[:2] == ("router", "classify")
    assert facts.out_of_scope == "oos"
    assert facts.bounds == Bounds(0.6, 0.25, "energy", 5.5)
    facts = read_facts(json.dumps(TAGGER))
    assert facts is not None
    assert facts.heads == (
        LabelSet(("bug", "wish"), "type"),
        LabelSet(("ui", "api"), "areas", multi_label=True, threshold=0.6),
    )
    assert facts.bounds == Bounds(temperature=2.0)


@pytest.mark.parametrize("card", [CLASSIFIER, TAGGER], ids=["classifier", "tagger"])
def test_what_a_card_writes_is_known_with_every_key(card: dict[str, Any]) -> None:
    text = Card.from_dict(card, where="x").to_json()
    assert read_facts(text) == told(text)


@pytest.mark.parametrize("path", SPECIALISTS, ids=lambda path: path.stem)
def test_shipped_encoders_are_known(path: Path) -> None:
    info = read_onnx(path)
    # a reader's card holds a schema, which only `Card` judges
    known = told(info.card_json) if info.reader is None else None
    assert read_facts(info.card_json) == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        PLAIN.replace('"expected": "a"', '"expected": ' + "[" * 900 + "]" * 900),
        "9" * 10_000,
        PLAIN.replace("0.6", "NaN"),
        PLAIN.replace("5.5", "1e999"),
        PLAIN.replace("Über", "\\ud800"),
        PLAIN[:-1] + ',"name": "router"}',
        PLAIN + " " * MAX_CARD_BYTES,
    ],
)
def test_no_facts_are_told_of_what_is_not_plain(text: str) -> None:
    assert read_facts(text) is None


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    keys = value if isinstance(value, dict) else range(len(value)) if type(value) is list else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        0.5,
        1.0,
        1.5,
        -0.0,
        100,
        101,
        1e-200,
        1e200,
        10**20,
        10**400,
    ),
    *(
        "",
        "a",
        "b",
        "oos",
        "1",
        "0.5",
        "x" * 200,
        "x" * 201,
        "ä",
        "\n",
        SHA256,
        SHA256[1:],
        "A" * 64,
    ),
    *("probability", "energy", "classify", "tag", "extract", "{{ text }}", "text"),
    *([], {}, ["a"], ["a", "b"], [0, 1], [1, 2, 3], {"a": "b"}, {"a": ["b"]}, {"name": "c"}),
    *({"n": 1, "value": 1}, [["a"]], {"a": {"b": "c"}}, {"system": None, "user": "{{ text }}"}),
)


def changed(card: dict[str, Any], random: Random) -> dict[str, Any]:
    """A card with one place put otherwise, removed, doubled, or added."""
    card = copy.deepcopy(card)
    holder, key = random.choice(places(card))
    match random.randrange(4):
        case 0:
            holder[key] = random.choice(VALUES)
        case 1:
            del holder[key]
        case 2 if type(holder) is list:
            holder.insert(key, holder[key])
        case _ if type(holder) is dict:
            holder[random.choice(("x", "name", "threshold", "format", "a"))] = random.choice(VALUES)
    return card


@settings(max_examples=1000)
@given(st.sampled_from([CLASSIFIER, TAGGER]), st.booleans(), st.randoms(use_true_random=False))
def test_whatever_has_facts_is_a_card_with_the_same_facts(
    card: dict[str, Any], whole: bool, random: Random
) -> None:
    """``whole`` starts from all keys, which a card that was read and written has."""
    if whole:
        card = json.loads(Card.from_dict(card, where="x").to_json())
    for _ in range(random.randint(1, 3)):
        card = changed(card, random)
    text = json.dumps(card, ensure_ascii=False)
    facts = read_facts(text)
    if facts is not None:
        assert told(text) == facts


@given(st.text(alphabet='{}[]",:0.e-1\\unN ', max_size=12), st.integers(0, 10_000))
def test_the_same_of_changes_in_the_text(piece: str, place: int) -> None:
    place %= len(PLAIN)
    text = PLAIN[:place] + piece + PLAIN[place + len(piece) // 2 :]
    facts = read_facts(text)
    if facts is not None:
        assert told(text) == facts


def test_an_error_is_told_by_the_card_itself() -> None:
    text = json.dumps({**CLASSIFIER, "licens": "mit"})
    assert read_facts(text) is None
    with pytest.raises(CardError, match="licens: Extra inputs"):
        told(text)


def test_labels_that_a_person_wrote_as_names_alone_are_the_cards_matter() -> None:
    task = {"kind": "classify", "labels": ["a", "b"]}
    text = json.dumps({"name": "router", "licence": "mit", "task": task})
    assert read_facts(text) is None
    assert told(text).heads == (LabelSet(("a", "b")),)


# --- keys and bounds, made from `Card` ------------------------------------------------------------

#: what `read_facts` knows of JSON Schema
KEYWORDS = {
    *("$defs", "$ref", "type", "const", "enum", "anyOf", "oneOf", "pattern"),
    *("properties", "required", "additionalProperties", "maxProperties"),
    *("items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength"),
    *("minimum", "maximum", "exclusiveMinimum"),
}


def keywords(node: Any, *, names: bool = False) -> set[str]:
    """The keywords of a schema; ``names`` are keys that are not."""
    if isinstance(node, list):
        return {key for item in node for key in keywords(item)}
    if not isinstance(node, dict):
        return set()
    below = {
        word
        for key, item in node.items()
        for word in keywords(item, names=key in {"properties", "$defs"} and not names)
    }
    return below if names else below | node.keys()


def test_the_file_is_made_from_the_card_of_today() -> None:
    written = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert written == schema(), "run: python -m scripts.card_schema"


def test_every_keyword_of_the_file_is_known_to_the_reader() -> None:
    assert keywords(schema()) <= KEYWORDS


@pytest.mark.parametrize("card", [CLASSIFIER, TAGGER], ids=["classifier", "tagger"])
def test_every_key_of_a_card_is_held_to_its_bounds(card: dict[str, Any]) -> None:
    """No place of a whole card takes a value of another kind without the card's own consent."""
    whole = json.loads(Card.from_dict(card, where="x").to_json())
    for at in range(len(places(whole))):
        for value in (None, True, -1, 2**60, 1e300, "", "x" * 70_000, [], {}, [[]]):
            other = copy.deepcopy(whole)
            holder, key = places(other)[at]
            holder[key] = value
            text = json.dumps(other)
            facts = read_facts(text)
            if facts is not None:
                assert told(text) == facts, (key, value)
