"""A text that no model reads takes milliseconds to refuse, and a call can be stopped meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import edgeslm
from edgeslm.engines.onnx import inputs, tokens
from edgeslm.engines.onnx.features import FeatureSpec, LinearFeatures, Terms
from edgeslm.engines.onnx.tokens import EncoderTokens
from edgeslm.errors import CancelledError, DeadlineError, EdgeslmError, InputTooLongError
from edgeslm.formats.text import without_middle
from tests.helpers.tiny_onnx import LABELS, MAX_TOKENS, tokenizer_json, write_tiny_onnx

HUGE = "refund and so on " * 1_000_000


class Counted:
    """A tokenizer that says how many characters it was given."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self.given: list[int] = []

    def encode(self, text: str) -> Any:
        self.given.append(len(text))
        return self._own.encode(text)


@pytest.fixture
def encoder() -> tuple[EncoderTokens, Counted]:
    reader = EncoderTokens(tokenizer_json(LABELS), MAX_TOKENS, where="tiny")
    counted = Counted(reader._tokenizer)
    reader._tokenizer = counted
    return reader, counted


def test_a_huge_text_is_refused_before_it_is_tokenized(
    encoder: tuple[EncoderTokens, Counted],
) -> None:
    reader, counted = encoder
    with pytest.raises(InputTooLongError, match="17,000,000 characters") as refused:
        reader(HUGE)
    assert (refused.value.limit, counted.given) == (MAX_TOKENS, [])


def test_of_a_huge_text_both_ends_are_tokenized(encoder: tuple[EncoderTokens, Counted]) -> None:
    reader, counted = encoder
    cut = reader("billing " + HUGE + " shipping", "middle")
    ids = [LABELS.index(word) + 4 for word in ("billing", "shipping")]
    assert (cut["input_ids"][1], cut["input_ids"][-2]) == (ids[0], ids[1])
    assert len(cut["input_ids"]) == MAX_TOKENS
    assert counted.given[0] <= MAX_TOKENS * 64


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("one two", 7, "one two"),
        ("one two three four five six", 16, "one six"),  # a word at the cut may be half of one
        ("x" * 100, 10, "xxxx xxxxx"),
        ("one" + " " * 50 + "two", 10, "one  two"),
    ],
)
def test_the_middle_is_dropped_at_words(text: str, limit: int, cut: str) -> None:
    short = without_middle(text, limit)
    assert short.split() == cut.split()
    assert len(short) <= limit


def test_a_linear_model_reads_a_bounded_text() -> None:
    spec = FeatureSpec(2, Terms(("refund",), (1,)), Terms((), ()))
    read, _ = inputs._features(spec.to_json(), where="tiny")
    with pytest.raises(InputTooLongError, match="50,000"):
        read(HUGE, None)
    assert read(HUGE, "middle")["ids"].tolist() == [0]
    assert LinearFeatures(spec).size == 1


def test_a_call_that_waits_for_its_tokens_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    encode = EncoderTokens.__call__

    def slow(reader: EncoderTokens, text: str, truncate: Any = None) -> Any:
        begun.set()
        assert go_on.wait(60)
        return encode(reader, text, truncate)

    with edgeslm.load(write_tiny_onnx(tmp_path / "tiny.onnx"), threads=1) as model:
        monkeypatch.setattr(tokens.EncoderTokens, "__call__", slow)
        classify = model.classifier()
        errors: list[EdgeslmError] = []

        def ask() -> None:
            try:
                classify("refund")
            except EdgeslmError as error:
                errors.append(error)

        caller = threading.Thread(target=ask)
        caller.start()
        assert begun.wait(60)
        model.cancel()
        go_on.set()
        caller.join(60)
        assert [type(error) for error in errors] == [CancelledError]
        assert classify("refund").label == "refund"  # a late cancel does not stop the next


def test_a_deadline_ends_a_call_before_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with edgeslm.load(write_tiny_onnx(tmp_path / "tiny.onnx"), threads=1) as model:
        runs: list[object] = []
        session = model._session  # type: ignore[attr-defined]
        monkeypatch.setattr(session, "_run", lambda call, inputs: runs.append(call))
        with pytest.raises(DeadlineError):
            model.classifier()("refund", deadline_ms=0)
        assert runs == []
