"""Texts that are too long for a reader: refused, or read at both ends; never without end."""

from __future__ import annotations

import pytest

from edgeslm.engines.onnx.tokens import EncoderTokens
from edgeslm.errors import InputTooLongError
from edgeslm.formats.onnx.reader_spec import MAX_UNITS, MAX_WINDOWS
from edgeslm.tasks.reading.inputs import MAX_CHARACTERS, ReaderInputs
from edgeslm.tasks.reading.tokens import unit_spans
from tests.helpers.tiny_onnx import tokenizer_json
from tests.helpers.tiny_reader import MAX_TOKENS, WORDS, receipts, spec

LINEAR = ReaderInputs(spec(), None)


def encoder(size: int = MAX_TOKENS) -> ReaderInputs:
    return ReaderInputs(spec(), EncoderTokens(tokenizer_json(WORDS), size, where="tiny"))


@pytest.mark.parametrize(
    ("inputs", "text", "words"),
    [
        (LINEAR, "word " * 10_001, "50,005 characters, but this model reads 50,000"),
        (LINEAR, "1.50\n" * 4000, "lines, words and values, but this model weighs 4,096"),
        (encoder(), "a " * 188, "188 tokens, but this model reads 187"),
        (encoder(), "word " * 400, "2,000 characters, but this model reads 1,496"),
    ],
    ids=["characters", "units", "tokens", "an encoder's characters"],
)
def test_a_text_that_is_too_long_is_refused_or_read_at_both_ends(inputs, text, words) -> None:
    text = f"BEGINNING\n{text}\nENDING"
    words = words.replace("50,005", "50,022").replace("2,000", "2,017").replace("188 t", "190 t")
    with pytest.raises(InputTooLongError, match=words) as caught:
        inputs(text)
    assert 'truncate="middle"' in str(caught.value)
    assert caught.value.tokens > caught.value.limit
    prepared = inputs(text, "middle")
    kept, layout = prepared.kept, prepared.layout
    assert 0 < kept.dropped < len(text)
    assert layout.units <= MAX_UNITS
    assert prepared.inputs["ids"].shape[0] == layout.units
    if prepared.windows is not None:
        assert len(prepared.windows.input_ids) <= MAX_WINDOWS
    shown = [kept.text[start:end] for start, end in unit_spans(layout)[1:]]
    assert shown[0].startswith("BEGINNING")
    assert "ENDING" in kept.text[-10:]
    for start, end in unit_spans(layout)[1:]:
        place = kept.place(start, end)
        assert place is None or text[slice(*place)] == kept.text[start:end]


@pytest.mark.parametrize("truncate", [None, "middle"])
def test_a_text_that_fits_is_read_in_full(truncate) -> None:
    for text, _ in receipts():
        for inputs in (LINEAR, encoder()):
            assert inputs(text, truncate).kept.dropped == 0


def test_the_longest_text_of_an_encoder_takes_all_windows() -> None:
    inputs = encoder()
    prepared = inputs("a " * 187)
    assert prepared.windows is not None
    assert len(prepared.windows.input_ids) == MAX_WINDOWS
    assert prepared.tokens == 187


def test_a_tokenizer_that_makes_too_much_of_any_text_ends_in_an_error() -> None:
    class Many:
        max_tokens, around = 8, (0, 1)

        def spread(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
            return [1] * 1000, [(0, 1)] * 1000

    inputs = ReaderInputs(spec(), Many())  # type: ignore[arg-type]
    for text in ("short", "a long text " * 1000):
        with pytest.raises(InputTooLongError):
            inputs(text, "middle")
    with pytest.raises(InputTooLongError):
        inputs.trial()


@pytest.mark.parametrize("size", [3, 4, 5, 24, 512])
def test_a_trial_fits_windows_of_any_size(size) -> None:
    prepared = encoder(size).trial()
    assert prepared.windows is not None
    assert prepared.windows.input_ids.shape[1] <= size


def test_what_is_asked_between_parts_of_the_work_ends_it() -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        encoder()("a text", None, check)


def test_a_text_of_the_most_characters_is_prepared_soon() -> None:
    import time

    text = ("a b c 1.50 2024-01-02 " * 6 + "\n") * 200
    start = time.process_time()
    LINEAR(text[:MAX_CHARACTERS], "middle")
    assert time.process_time() - start < 6
