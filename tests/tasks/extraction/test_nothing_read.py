"""A text in which nothing can be read is said to be so."""

from __future__ import annotations

from typing import Any

import pytest

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


def answer(text: str, script: str, kind: str = "extract", **call: Any) -> Any:
    whole = {"name": "t", "licence": "mit", "task": {"kind": kind, "json_schema": SCHEMA}}
    engine = ScriptedEngine(script, sharpness=60.0)
    with GgufModel(engine, Card.from_dict(whole, where="test")) as model:
        return model.extractor()(text, **call)


@pytest.mark.parametrize("script", [INVENTED, ALL_NULL])
def test_an_answer_of_which_nothing_stands_in_the_text_says_so(script: str) -> None:
    found = answer("x", script)
    assert found.nothing_read
    assert found.to_dict()["nothing_read"] is True


@pytest.mark.parametrize(
    ("text", "script", "kind", "call"),
    [
        ("at Nook", INVENTED, "extract", {}),
        ("it was 12.5", '{"shop":"Nook","total":12.5,"kind":"letter"}', "extract", {}),
        # where it cannot be told
        ("x", INVENTED, "extract", {"evidence": False}),
        ("x", INVENTED, "extract", {"max_tokens": 12}),
        ("x", INVENTED, "generate", {}),
    ],
)
def test_other_answers_do_not(text: str, script: str, kind: str, call: dict[str, Any]) -> None:
    found = answer(text, script, kind, **call)
    assert not found.nothing_read
    assert "nothing_read" not in found.to_dict()


def test_an_answer_of_listed_values_alone_is_not_read_off_the_text() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    with GgufModel(ScriptedEngine('{"ok":true}')) as model:
        assert not model.extractor(schema)("x").nothing_read
