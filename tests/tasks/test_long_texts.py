"""A text far too long is bounded before it is tokenized, and spans stay those of the caller's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.errors import InputTooLongError
from edgeslm.formats.text import bounded, kept_of, without_middle
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine

SCHEMA = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
HUGE = "start " + "word " * 3_000_000 + "code AB-77"


class Counting(ScriptedEngine):
    """An engine that keeps the length of the longest text that it tokenized."""

    longest = 0

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        self.longest = max(self.longest, len(text))
        return super().tokenize(text, special=special)


def model() -> tuple[GgufModel, Counting]:
    engine = Counting('{"code":"AB-77"}', sharpness=40.0, context_size=64)
    engine.max_context = 1024
    return GgufModel(engine), engine


def test_a_huge_text_is_refused_without_tokenizing_it() -> None:
    opened, engine = model()
    with opened:
        classify, extract = opened.classifier(["a", "b"]), opened.extractor(SCHEMA)
        for call in (classify, extract):
            with pytest.raises(InputTooLongError, match="15,000,016 characters") as caught:
                call(HUGE)
            assert caught.value.limit == engine.max_context
            [answer] = call.map([HUGE])
            assert isinstance(answer, InputTooLongError)
    assert engine.longest < 2000


def test_a_huge_text_is_cut_before_it_is_tokenized() -> None:
    opened, engine = model()
    with opened:
        assert opened.classifier(["a", "b"])(HUGE, truncate="middle").label in "ab"
        read = opened.extractor(SCHEMA)
        for grounded in (False, True):
            answer = read(HUGE, truncate="middle", max_tokens=40, grounded=grounded)
            field = answer.fields["$.code"]
            assert answer.value == {"code": "AB-77"}
            assert field.span == (len(HUGE) - 5, len(HUGE))
    assert engine.longest <= 32 * engine.max_context


@given(st.text(alphabet="ab \n", max_size=200), st.integers(8, 100))
def test_what_is_kept_stands_in_the_text(text: str, limit: int) -> None:
    kept = kept_of(text, limit)
    assert kept.text == without_middle(text, limit)
    assert len(kept.text) <= max(limit, 1)
    for start in range(len(kept.text)):
        place = kept.place(start, start + 1)
        if place is not None:
            assert text[slice(*place)] == kept.text[start]
        else:
            assert start == kept.head
    if kept.dropped:
        assert kept.place(0, len(kept.text)) is None


def test_a_text_that_may_fit_is_left_as_it_is() -> None:
    assert bounded("a b", 10, None) == ("a b", 3, 0)
    assert bounded("x" * 320, 10, None).text == "x" * 320
    with pytest.raises(InputTooLongError):
        bounded("x" * 321, 10, None)
    assert len(bounded("x" * 321, 10, "middle").text) <= 320
