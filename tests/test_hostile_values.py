"""Values that nobody means, given to every public call: a typed error, or a TypeError."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pydantic
import pytest

import edgeslm
from edgeslm import testing
from edgeslm.arguments import shown
from edgeslm.errors import ArgumentError, CalibrationError, EdgeslmError, LabelError
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_onnx import HEADS, card, write_tiny_onnx


class Unnameable:
    """What cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


LONG = "a" * 5000
HUGE = 10**5000
#: of every kind that an argument may be mistaken for
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 5, 2**31, 2**63, 10**30, HUGE, -HUGE, 0.5, math.nan, math.inf,
    -math.inf, 1e308, Decimal("NaN"), Decimal(1), Fraction(1, 3), 1j, "", " ", "a", LONG, "a\0b",
    "\ud800", "é", "./" + LONG, "/none/x.gguf", b"", b"a", bytearray(b"x"), [], [[]], [None],
    [1], ["a"], ["a", "a"], ["a", "\ud800"], ["", "b"], ["a", LONG], [b"a", b"b"], ["é", "e\u0301"],
    ["Yes", "yes"], [["a"], ["b"]], [Unnameable()] * 2, (), ("a", "b"), {"a", "b"}, {}, {"a": 1},
    {"a": 1, "b": 2}, {"a": None, "b": None}, {"a": LONG, "b": ""}, {1: "a", 2: "b"}, iter("ab"),
    range(3), object(), Unnameable(), Path(), Path("a" * 300), Path("\0"), len,
    lambda text: 5, Exception("x"), edgeslm.CancelToken(), edgeslm.CancelToken,
]  # fmt: skip

Call = Callable[[Any], Any]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Call]]:
    folder = tmp_path_factory.mktemp("models")
    file = write_tiny_onnx(folder / "labels.onnx")
    with (
        pytest.MonkeyPatch.context() as patch,
        GgufModel(ScriptedEngine('{"a":1}')) as language,
        edgeslm.load(file, threads=1) as encoder,
        edgeslm.load(write_tiny_onnx(folder / "tags.onnx", card(task=HEADS)), threads=1) as tagger,
    ):
        patch.setenv("EDGESLM_HOME", str(folder / "home"))
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        read = language.extractor(schema)
        classify = language.classifier(["a", "b"])
        models = {"language": language, "encoder": encoder}
        texts = {
            "read": read,
            "classify": classify,
            "encode": encoder.classifier(),
            "tag": tagger.tagger(),
            "cascade": edgeslm.Cascade([encoder]),
        }
        yield {
            "load": edgeslm.load,
            **{
                f"load({name}=)": _with(lambda **more: edgeslm.load(file, **more), name)
                for name in ("max_context", "gpu_layers", "threads")
            },
            **{
                f"{kind}.{name}": getattr(model, name)
                for kind, model in models.items()
                for name in ("extractor", "classifier", "adapter", "knows")
            },
            **{
                f"{kind}.extractor({name}=)": _with(
                    lambda model=model, **more: model.extractor(schema, **more), name
                )
                for kind, model in models.items()
                for name in ("prompt", "grounded", "untrained")
            },
            **{
                f"{kind}.classifier({name}=)": _with(
                    lambda model=model, **more: model.classifier(["refund", "billing"], **more),
                    name,
                )
                for kind, model in models.items()
                for name in ("prompt", "untrained")
            },
            **texts,
            **{
                f"{name}.map": lambda value, call=call: list(call.map(value))
                for name, call in texts.items()
            },
            **{
                f"{name}({option}=)": _with(lambda call=call, **more: call("text", **more), option)
                for name, call in texts.items()
                for option in ("deadline_ms", "cancel", *(() if name == "cascade" else _TRUNCATE))
            },
            **{
                f"{name}.map({option}=)": _with(
                    lambda call=call, **more: list(call.map(["text"], **more)), option
                )
                for name, call in texts.items()
                for option in ("width", "deadline_ms", "cancel")
            },
            **{
                f"read({option}=)": _with(lambda **more: read("text", **more), option)
                for option in (
                    "max_tokens", "on_budget", "on_invalid", "temperature", "seed", "drafts",
                    "evidence", "grounded",
                )
            },
            "read_document": edgeslm.read_document,
            **{
                f"read_document({name}=)": _with(
                    lambda **more: edgeslm.read_document(b"text", **more), name
                )
                for name in (
                    "ocr", "language", "password", "max_pages", "max_bytes", "max_pixels",
                    "isolated",
                )
            },
            "Cascade": edgeslm.Cascade,
            "Cascade([value])": lambda value: edgeslm.Cascade([value])("text"),
            **{
                f"Cascade({name}=)": _with(lambda **more: edgeslm.Cascade([encoder], **more), name)
                for name in ("risk", "fallback")
            },
            "Cascade.fit(rows)": lambda value: edgeslm.Cascade.fit([encoder], value),
            "Cascade.fit([row])": lambda value: edgeslm.Cascade.fit([encoder], [value]),
            "Cascade.fit([value])": lambda value: edgeslm.Cascade.fit([value], [("a", "b")]),
            "Cascade.fit(confidence=)": lambda value: edgeslm.Cascade.fit(
                [encoder], [], confidence=value
            ),
            "Cascade.load": lambda value: edgeslm.Cascade.load(value, [encoder]),
            "Cascade.load(members)": lambda value: edgeslm.Cascade.load(folder / "none", value),
            "Card.from_dict": lambda value: edgeslm.Card.from_dict(value, where="test"),
            "Card.from_json": lambda value: edgeslm.Card.from_json(value, where="test"),
        }  # fmt: skip


_TRUNCATE = ("truncate",)


def _with(call: Callable[..., Any], name: str) -> Call:
    """A call of one keyword argument."""
    return lambda value: call(**{name: value})


def test_no_value_gives_an_error_that_is_not_typed(calls: dict[str, Call]) -> None:
    raw = []
    for name, call in calls.items():
        for value in VALUES:
            try:
                call(value)
            except (EdgeslmError, TypeError):
                pass
            except Exception as error:  # noqa: BLE001  # whatever it is, the test must tell
                raw.append((name, shown(value), repr(error)[:200]))
    assert raw == []


def test_every_public_name_is_called_or_holds_what_others_give(calls: dict[str, Call]) -> None:
    """Names of answers are made by edgeslm; pydantic's classes raise pydantic's own error."""
    answers = {"CascadeAnswer", "Classification", "Extraction", "Field", "Labels", "Tags", "Timing"}
    answers |= {"Document"}
    made = {"Classifier", "Extractor", "Tagger", "Model", "CancelToken", "EdgeslmError"}
    other = {"PromptSpec", "__version__", "errors"}
    called = {name.partition("(")[0].partition(".")[0] for name in calls}
    assert {*edgeslm.__all__} - answers - made - other <= called
    with pytest.raises(pydantic.ValidationError):
        edgeslm.PromptSpec(user="no place for the text")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "at least 2"),
        (["a"], "at least 2"),
        ({}, "at least 2"),
        (["a"] * 5000, "at most 4,096"),
        (5, "a list of names"),
        ("ab", "a list of names"),
        ([1, 2], "a label must be a str, not 1"),
        (["a", " "], "1 to 200 characters"),
        (["a", "b" * 201], "1 to 200 characters"),
        (["a", "\ud800"], "half a surrogate pair"),
        (["a", "b", "a"], "label given twice: 'a'"),
        (["caf\u00e9", "cafe\u0301"], r"'caf\\xe9' and 'cafe\\u0301'"),
        (["Refund", "refund "], "'Refund' and 'refund '"),
        ({"a": "x" * 2001, "b": "y"}, "description of 'a' must have at most 2,000"),
        ({"a": 5, "b": "y"}, "must be a str, not 5"),
    ],
)
def test_labels_are_refused_in_words_of_edgeslm(labels: Any, words: str) -> None:
    with GgufModel(ScriptedEngine("a")) as model, pytest.raises(LabelError, match=words) as caught:
        model.classifier(labels)
    assert "validation" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: edgeslm.load(LONG), "no model is called"),
        (lambda: edgeslm.load(f"./{LONG}"), "cannot be looked at"),
        (lambda: edgeslm.load(Path(LONG)), "cannot be looked at"),
        (lambda: edgeslm.load("m", threads=10**30), "threads must be at most 512"),
        (lambda: edgeslm.load("m", threads=HUGE), "not one that is too long"),
        (lambda: edgeslm.load("m", max_context=2**31), "max_context must be at most"),
        (lambda: edgeslm.load(Unnameable()), "a Unnameable"),  # type: ignore[arg-type]
    ],
)
def test_a_message_names_the_argument_and_is_short(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(EdgeslmError, match=words) as caught:
        call()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("members", [5, None, len, b"ab", "name"])
def test_a_cascade_of_what_is_no_list_says_so(members: Any) -> None:
    with pytest.raises(CalibrationError, match="a cascade takes a list"):
        edgeslm.Cascade(members)


def test_a_member_that_gives_no_answer_is_named() -> None:
    def five(text: str) -> Any:
        return 5

    with pytest.raises(TypeError, match="five gave int, not a Classification"):
        edgeslm.Cascade([five])("text")
    with pytest.raises(TypeError, match="five gave int, not a Classification"):
        edgeslm.Cascade.fit([five], [("text", "a")])


def test_a_cascade_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    model = testing.scripted_model("a")
    sure = model.classifier(["a", "b"])
    cascade = edgeslm.Cascade.fit([sure], [(f"text {i}", "a") for i in range(400)])
    for path in (tmp_path / "none" / "x.json", tmp_path / "a\0b", tmp_path, tmp_path / LONG):
        with pytest.raises(EdgeslmError, match="cannot be written"):
            cascade.save(path)
    cascade.save(tmp_path / "x.json")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_an_unknown_argument_is_named_with_the_call_that_has_none_of_it() -> None:
    read = testing.scripted_model("7").extractor({"const": 7})
    for method, call in (("__call__", read), ("map", lambda *a, **k: list(read.map([*a], **k)))):
        with pytest.raises(TypeError, match=rf"^Extractor\.{method}\(\) got .* 'exact'$"):
            call("hi", exact=True)


def test_a_prompt_that_is_none_is_an_argument_error() -> None:
    model = testing.scripted_model("a")
    for make in (
        lambda: model.classifier(["a", "b"], prompt="x"),
        lambda: model.extractor({}, prompt=5),
    ):  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match=r"prompt must be an edgeslm\.PromptSpec"):
            make()
