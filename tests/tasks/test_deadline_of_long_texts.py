"""A deadline and a cancel are heard while a long text is tokenized and searched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import edgeslm
from edgeslm.decoding.prompt import _PIECE
from edgeslm.errors import CancelledError, DeadlineError
from edgeslm.formats.onnx.known_inputs import known_inputs
from edgeslm.formats.text import is_blank
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine

SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "day": {"type": "string", "format": "date"}},
    "required": ["total", "day"],
}
#: seconds that tokenizing a piece takes
PIECE_SECONDS = 0.1


class Slow(ScriptedEngine):
    """An engine that tokenizes slowly, each character as long as the other."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        time.sleep(PIECE_SECONDS * len(text) / _PIECE)
        return super().tokenize(text, special=special)


def model() -> GgufModel:
    return GgufModel(Slow('{"total":1,"day":"2024-02-01"}', context_size=200_000))


LONG = "a word and 12.50 " * 60_000
CALLS: dict[str, Callable[[GgufModel], Callable[..., Any]]] = {
    "classify": lambda opened: opened.classifier(["a", "b"]),
    "extract": lambda opened: opened.extractor(SCHEMA),
}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("truncate", [None, "middle"])
def test_a_deadline_is_heard_while_a_text_is_tokenized(kind: str, truncate: Any) -> None:
    with model() as opened:
        call = CALLS[kind](opened)
        start = time.perf_counter()
        options = {} if kind == "classify" else {"on_budget": "raise"}
        with pytest.raises(DeadlineError):
            call(LONG, deadline_ms=500, truncate=truncate, **options)
        assert time.perf_counter() - start < 0.9  # the whole text would take 6 s
        assert call("short")


@pytest.mark.parametrize("kind", CALLS)
def test_a_cancel_is_heard_while_a_text_is_tokenized(kind: str) -> None:
    token = edgeslm.CancelToken()
    with model() as opened:
        call = CALLS[kind](opened)
        start = time.perf_counter()
        threading.Timer(0.3, token.cancel).start()
        with pytest.raises(CancelledError):
            call(LONG, cancel=token)
        assert time.perf_counter() - start < 0.9
        assert call("short")


def test_a_deadline_is_heard_while_a_text_is_searched_and_the_answer_is_closed() -> None:
    with GgufModel(ScriptedEngine('{"total":12.5,"day":"2024-02-01"}', context_size=200_000)) as it:
        read = it.extractor(SCHEMA)
        assert read("total 12.50").value == {"total": 12.5, "day": "2024-02-01"}
        start = time.perf_counter()
        answer = read("12.50 on 3/4/2026, " * 5_000, deadline_ms=100)
        spent = time.perf_counter() - start
    assert not answer.complete
    assert answer.value.keys() == SCHEMA["properties"].keys()
    assert all(field.confidence == 0 for field in answer.fields.values())
    assert spent < 1


def test_a_text_that_nobody_wrote_is_judged_in_time() -> None:
    start = time.perf_counter()
    assert is_blank("\u200b" * 10_000_000)
    assert not is_blank("\u200b" * 10_000_000 + "a")
    known = known_inputs([("hello", 0, 1)], prior_rows=1.0)
    assert known.knows(" HELLO ")
    for text in ("a" + "\u0300\u0316" * 500_000, "a" + "\u0300\u0316" * 4_900, "\ufdfa" * 10_000):
        assert not known.knows(text)
    assert time.perf_counter() - start < 3
