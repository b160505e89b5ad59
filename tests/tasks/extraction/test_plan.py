"""ExtractionPlan: what holds of a card, a schema, a prompt and the fields to ground."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from edgeslm.errors import ArgumentError, CardError, SchemaError
from edgeslm.formats.card import Card, PromptSpec, Style
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.grounding import grounded_fields
from edgeslm.tasks.extraction.plan import DEFAULT_MAX_TOKENS, ExtractionPlan


def schema(*names: str) -> dict[str, Any]:
    fields = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": fields, "required": list(names)}


STEP = {
    "starts": [0.0],
    "values": [0.5],
    "n": 9,
    "ece_before": 0.1,
    "ece_after": 0.1,
    "brier_before": 0.1,
    "brier_after": 0.1,
}


def card(grounded: Any = (), kind: str = "extract", **task: Any) -> Card:
    if kind == "extract":
        task["grounded"] = grounded
    if kind != "classify":
        task |= {
            "json_schema": schema("shop", "total"),
            "style": {"key_separator": ": "},
            "max_tokens": 77,
        }
    return Card.from_dict(
        {
            "name": "t",
            "licence": "mit",
            "task": {"kind": kind, **task},
            "prompt": {"system": "own"},
            "calibration": {"fields": {"$.shop": STEP}},
        },
        where="test",
    )


OWN, OTHER = PromptSpec(system="own"), PromptSpec(system="other")
ALL, NONE = None, frozenset[str]()
CARDS = {
    "free": card(False),
    "all": card(True),
    "shop": card(["shop"]),
    "both": card(["shop", "total"]),
    "generate": card(kind="generate"),
}


@pytest.mark.parametrize(
    ("name", "given", "prompt", "grounded", "fields", "calibrated"),
    [
        ("free", None, None, None, NONE, True),
        ("all", None, None, None, ALL, True),
        ("shop", None, None, None, {"shop"}, True),
        ("generate", None, None, None, NONE, True),
        # another prompt, or other grounding, is not what the calibration was fitted on
        ("shop", None, OTHER, None, {"shop"}, False),
        ("shop", None, None, True, ALL, False),
        ("shop", None, None, False, NONE, False),
        ("shop", None, None, ["shop"], {"shop"}, True),
        ("free", None, None, ["total"], {"total"}, False),
        # a schema of the caller: what the card grounds of it stays grounded
        ("all", ("x",), None, None, ALL, False),
        ("shop", ("shop", "x"), None, None, {"shop"}, False),
        ("both", ("total", "shop", "x"), None, None, {"shop", "total"}, False),
        ("free", ("shop",), None, None, NONE, False),
        ("both", ("shop", "x"), None, ["shop"], {"shop"}, False),
        # some of the card's own fields alone: those that are not asked for are not missed
        ("both", ("shop",), None, None, {"shop"}, False),
        ("shop", ("total",), None, None, NONE, False),
        ("all", ("total",), None, None, ALL, False),
        ("both", ("x",), None, False, NONE, False),
        ("both", ("x",), None, True, ALL, False),
    ],
)
def test_what_holds_of_a_card(
    name: str,
    given: tuple[str, ...] | None,
    prompt: PromptSpec | None,
    grounded: Any,
    fields: Any,
    calibrated: bool,
) -> None:
    wanted = None if given is None else schema(*given)
    plan = ExtractionPlan.of(CARDS[name], wanted, prompt, grounded)
    assert plan.grounded == fields
    assert bool(plan.calibration) is calibrated
    assert plan.prompt == (prompt or OWN)
    assert (plan.style.key_separator, plan.max_tokens) == (": ", 77)
    assert list(plan.schema.source["properties"]) == list(given or ("shop", "total"))


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [("shop", ("x",), "'shop'"), ("both", ("shop", "x"), "'total'")],
)
def test_grounded_fields_of_the_card_are_not_dropped_without_a_word(
    name: str, given: tuple[str, ...], missing: str
) -> None:
    with pytest.raises(SchemaError, match=f"{missing}.*grounded="):
        ExtractionPlan.of(CARDS[name], schema(*given))


SORTER = card(kind="classify", labels=["a", "b"])


@pytest.mark.parametrize("promise", [None, SORTER])
def test_without_a_card_s_schema_the_caller_gives_one(promise: Card | None) -> None:
    untrained = promise is not None
    plan = ExtractionPlan.of(promise, schema("shop"), untrained=untrained)
    assert (plan.style, plan.max_tokens) == (Style(), DEFAULT_MAX_TOKENS)
    assert (plan.grounded, plan.calibration) == ("auto", {})
    assert "- shop (string)" in plan.prompt.user
    plan = ExtractionPlan.of(promise, schema("shop"), OTHER, ["shop"], untrained=untrained)
    assert plan.grounded == {"shop"}


def test_without_a_card_and_a_schema_there_is_no_plan() -> None:
    with pytest.raises(CardError, match=r"no card with a schema.*--schema"):
        ExtractionPlan.of(None)


def test_a_specialist_of_another_task_says_what_it_does_and_takes_no_schema_unasked() -> None:
    says = r"^t was trained to classify, not to extract; use classifier\(\), or `edgeslm classify`"
    with pytest.raises(CardError, match=says):
        ExtractionPlan.of(SORTER)
    with pytest.raises(SchemaError, match=rf"{says}.*untrained=True.*--untrained"):
        ExtractionPlan.of(SORTER, schema("shop"))


def test_a_schema_is_a_class_or_a_dict() -> None:
    class Shop(BaseModel):
        name: str

    assert ExtractionPlan.of(None, Shop).schema.source["properties"]["name"]
    for wrong in ("{}", [], 7):
        with pytest.raises(SchemaError, match="a pydantic class or a dict"):
            ExtractionPlan.of(None, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("grounded", [5, 2.5, object(), {}, b"total"])
def test_what_names_no_fields_is_refused(grounded):
    with pytest.raises(ArgumentError, match="grounded must be"):
        grounded_fields(compile_schema({"type": "object", "properties": {"a": {}}}), grounded)
