"""Wrong arguments are one typed error, for every kind of model and call alike."""

from __future__ import annotations

import enum
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeslm
from edgeslm import arguments
from edgeslm.errors import ArgumentError
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_onnx import HEADS, card, write_tiny_onnx

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
NAN = math.nan

#: what every call takes, and what only extraction takes
OF_ALL: list[dict[str, Any]] = [
    *({"deadline_ms": wrong} for wrong in (-5, "5", NAN, -math.inf, True, [5])),
    *({"truncate": wrong} for wrong in ("start", "", False, 1)),
]
OF_CLASSIFIERS: list[dict[str, Any]] = [{"all_labels": "yes"}, {"all_labels": None}]
OF_EXTRACTION: list[dict[str, Any]] = [
    *({"max_tokens": wrong} for wrong in (0, -3, 1.5, "9", True, NAN)),
    *({"on_budget": wrong} for wrong in ("rasie", None, True)),
    *({"on_invalid": wrong} for wrong in ("ignore", None)),
    *({"temperature": wrong} for wrong in (-1, NAN, math.inf, "0", None)),
    *({"seed": wrong} for wrong in (-1, 0.5, None)),
    {"drafts": 1},
    {"evidence": None},
]
OF_MAP: list[dict[str, Any]] = [{"width": wrong} for wrong in (0, -1, 2.5, "8", None, True)]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("models")
    tags = card(task=HEADS)
    with (
        GgufModel(ScriptedEngine('{"a":1}')) as language,
        edgeslm.load(write_tiny_onnx(folder / "labels.onnx"), threads=1) as encoder,
        edgeslm.load(write_tiny_onnx(folder / "tags.onnx", tags), threads=1) as tagger,
    ):
        yield {
            "extractor": language.extractor(SCHEMA),
            "classifier of a language model": language.classifier(["a", "b"]),
            "classifier of an encoder": encoder.classifier(),
            "tagger": tagger.tagger(),
            "cascade": edgeslm.Cascade([encoder]),
        }


def wrong_for(kind: str) -> list[dict[str, Any]]:
    if kind == "cascade":
        return [one for one in OF_ALL if "deadline_ms" in one]
    extra = OF_EXTRACTION if kind == "extractor" else OF_CLASSIFIERS
    return [*OF_ALL, *([] if kind == "tagger" else extra)]


KINDS = (
    "extractor",
    "classifier of a language model",
    "classifier of an encoder",
    "tagger",
    "cascade",
)


@pytest.mark.parametrize(("kind", "wrong"), [(k, w) for k in KINDS for w in wrong_for(k)])
def test_a_call_and_map_refuse_an_argument_without_meaning(
    calls: dict[str, Any], kind: str, wrong: dict[str, Any]
) -> None:
    [name] = wrong
    with pytest.raises(ArgumentError, match=f"{name} must be"):
        calls[kind]("text", **wrong)
    with pytest.raises(ArgumentError, match=f"{name} must be"):
        calls[kind].map(["text"], **wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_map_refuses_a_width_without_meaning_and_one_text(calls: dict[str, Any], kind: str) -> None:
    for wrong in OF_MAP:
        with pytest.raises(ArgumentError, match="width must be"):
            calls[kind].map(["text"], **wrong)
    for texts in ("text", b"text", 7, None):
        with pytest.raises(ArgumentError, match="many texts"):
            calls[kind].map(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_with_a_meaning_are_taken(calls: dict[str, Any], kind: str) -> None:
    call = calls[kind]
    for good in (None, math.inf, 60_000, 60_000.0, np.float64(1e6), np.int64(10**6)):
        assert call("refund", deadline_ms=good)
    assert list(call.map(["refund"], width=np.int64(2)))
    if kind == "extractor":
        assert call("text", max_tokens=None, temperature=0).complete
        assert not call("text", max_tokens=1).complete


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": "2"},
        {"threads": 0},
        {"threads": -1},
        {"threads": True},
        {"gpu_layers": -1},
        {"gpu_layers": "all"},
        {"max_context": 0},
        {"max_context": 12.5},
    ],
)
def test_load_refuses_an_argument_without_meaning(
    tmp_path: Path, tiny_model: Path, wrong: dict[str, Any]
) -> None:
    [name] = wrong
    for path in (tiny_model, write_tiny_onnx(tmp_path / "tiny.onnx"), "no such model"):
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            edgeslm.load(path, **wrong)


@pytest.mark.parametrize("wrong", [0, 1, 2, -1, NAN, "0.5", None])
def test_a_cascade_refuses_a_risk_without_meaning(calls: dict[str, Any], wrong: Any) -> None:
    member: Callable[..., Any] = calls["classifier of an encoder"]
    with pytest.raises(ArgumentError, match="risk must be"):
        edgeslm.Cascade([member], risk=wrong)
    with pytest.raises(ArgumentError, match="confidence must be"):
        edgeslm.Cascade.fit([member], [("a", "b")] * 10, confidence=wrong)


def test_an_argument_error_is_a_value_error_and_survives_pickling() -> None:
    with pytest.raises(ValueError, match="x must be at least 1, not 0") as caught:
        arguments.count("x", 0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (ArgumentError, str(caught.value))
    with pytest.raises(ArgumentError) as long:
        arguments.choice("x", "y" * 1000, ("a",))
    assert len(str(long.value)) < 100


def test_numbers_that_no_float_holds_are_none():
    for value in (10**400, -(10**400)):
        with pytest.raises(ArgumentError, match="finite"):
            arguments.number("temperature", value, least=0)


class Cut(enum.StrEnum):
    MIDDLE = "middle"
    END = "end"


def test_a_text_of_a_class_of_its_own_is_the_text_that_it_equals():
    assert type(arguments.choice("truncate", Cut.MIDDLE, (None, "middle"))) is str
    assert arguments.choice("truncate", type("S", (str,), {})("middle"), (None, "middle"))
    with pytest.raises(ArgumentError, match="truncate must be None or 'middle'"):
        arguments.choice("truncate", Cut.END, (None, "middle"))
    for wrong in (1, 0, "True"):
        with pytest.raises(ArgumentError):
            arguments.flag("evidence", wrong)
