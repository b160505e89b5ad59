"""A text in which nothing can be read is said to be so."""

from __future__ import annotations

from typing import Any

import pytest

from edgeslm.errors import InputError
from edgeslm.formats.card import Card
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "shop": {"type": ["string", "null"], "maxLength": 20},
        "total": {"type": ["number", "null"]},
        "kind": {"enum": ["receipt", "letter"]},
    },
    "required": ["shop", "total", "kind"],
}
INVENTED = '{"shop":"Nook","total":null,"kind":"letter"}'
ALL_NULL = '{"shop":null,"total":null,"kind":"letter"}'


def answer(
    text: str, script: str, kind: str = "extract", task: dict[str, Any] | None = None, **call: Any
) -> Any:
    told = {"kind": kind, "json_schema": SCHEMA, **(task or {})}
    whole = {"name": "t", "licence": "mit", "task": told}
    engine = ScriptedEngine(script, sharpness=60.0)
    with GgufModel(engine, Card.from_dict(whole, where="test")) as model:
        return model.extractor()(text, **call)


@pytest.mark.parametrize("script", [INVENTED, ALL_NULL])
def test_an_answer_of_which_nothing_stands_in_the_text_says_so(script: str) -> None:
    extraction = answer("x", script)
    assert extraction.nothing_read
    assert extraction.to_dict()["nothing_read"] is True


@pytest.mark.parametrize(
    ("text", "script", "kind", "call"),
    [
        ("at Nook", INVENTED, "extract", {}),
        ("it was 12.5", '{"shop":"Nook","total":12.5,"kind":"letter"}', "extract", {}),
        # where it cannot be told
        ("x", INVENTED, "extract", {"max_tokens": 12}),
        ("x", INVENTED, "generate", {}),
    ],
)
def test_other_answers_do_not(text: str, script: str, kind: str, call: dict[str, Any]) -> None:
    extraction = answer(text, script, kind, **call)
    assert not extraction.nothing_read
    assert "nothing_read" not in extraction.to_dict()


def test_it_is_told_without_evidence_as_well() -> None:
    assert answer("x", INVENTED, evidence=False).nothing_read
    assert not answer("at Nook", INVENTED, evidence=False).nothing_read


@pytest.mark.parametrize("text", ["\u00ad", "\u200b\ufeff", " \u200e\n"])
def test_a_text_that_shows_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="the input is empty"):
        answer(text, INVENTED)


FIRM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "total": {"type": ["number", "null"]},
        "address": {"type": ["string", "null"], "maxLength": 20},
        "note": {"type": "string", "maxLength": 20},
        "lines": {
            "type": "array",
            "maxItems": 1,
            "items": {
                "type": "object",
                "properties": {"what": {"type": ["string", "null"], "maxLength": 9}},
                "required": ["what"],
                "additionalProperties": False,
            },
        },
        "kind": {"enum": ["receipt", "letter", None]},
    },
    "required": ["total", "address", "note", "lines", "kind"],
    "additionalProperties": False,
}
MADE_UP = (
    '{"total":null,"address":"7 Hill Road","note":"hello","lines":[{"what":"milk"}],'
    '"kind":"letter"}'
)
LEFT = {"total": None, "note": "hello", "lines": [{"what": None}], "kind": "letter"}


@pytest.mark.parametrize("evidence", [True, False])
def test_a_reader_that_read_nothing_makes_nothing_up_where_null_is_allowed(evidence: bool) -> None:
    told = {"json_schema": FIRM, "grounded": ["total"]}
    extraction = answer("x", MADE_UP, task=told, evidence=evidence)
    assert extraction.nothing_read
    assert extraction.value == {**LEFT, "address": None}  # a note must be there
    assert extraction.plain() == extraction.value
    if evidence:
        assert extraction.fields["$.address"].confidence == 0
        assert extraction.fields["$.lines[0].what"].span is None
        assert list(extraction.fields) == [
            "$.total",
            "$.address",
            "$.note",
            "$.lines[0].what",
            "$.kind",
        ]


@pytest.mark.parametrize(
    ("text", "grounded"),
    [
        # a value stands in the text, so others may be spelled otherwise
        ("it says hello", ["total"]),
        # nothing says that values stand in the text: they may be conclusions
        ("x", False),
        ("x", "auto"),
    ],
)
def test_values_that_may_be_conclusions_stay(text: str, grounded: Any) -> None:
    extraction = answer(text, MADE_UP, task={"json_schema": FIRM, "grounded": grounded})
    assert extraction.value["address"] == "7 Hill Road"


def test_an_answer_of_listed_values_alone_is_not_read_off_the_text() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    with GgufModel(ScriptedEngine('{"ok":true}')) as model:
        assert not model.extractor(schema)("x").nothing_read
