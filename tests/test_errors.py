"""Errors: what pydantic finds is one message, and every error passes between processes"""

from __future__ import annotations

import inspect
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

import converters.errors
from edgeslm.cli.inputs import read_lines
from edgeslm.cli.schema import read_schema
from edgeslm.engines.onnx.features import FeatureSpec
from edgeslm.engines.onnx.tokens import EncoderTokens
from edgeslm.errors import EdgeslmError, first_fault
from edgeslm.evaluation.gold import read_gold
from edgeslm.formats.card import Card
from edgeslm.formats.gguf.pack import read_card
from edgeslm.formats.onnx.known_inputs import read_known
from edgeslm.schema.schema import compile_schema
from edgeslm.store.entry import read_registry

#: so that its errors are part of the tree
assert converters.errors


class Pair(BaseModel, extra="forbid"):
    low: Annotated[int, Field(ge=0)] = 0
    high: int = 1

    @model_validator(mode="after")
    def _rises(self) -> Pair:
        if self.low > self.high:
            raise ValueError("high must be above low")
        return self


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"low": -1}, "low: Input should be greater than or equal to 0"),
        ({"low": 2}, "the pair: high must be above low"),
        ({"low": "x", "high": "y"}, "(and 1 more)"),
        ({"k" * 5000: 1}, "k" * 200 + ": Extra inputs are not permitted"),
    ],
)
def test_the_first_fault_is_one_message(values, words):
    with pytest.raises(ValidationError) as wrong:
        Pair.model_validate(values)
    assert words in first_fault(wrong.value, whole="the pair")
    assert len(first_fault(wrong.value, whole="the pair")) < 300


def tree(kind: type[EdgeslmError]) -> Iterator[type[EdgeslmError]]:
    """A class of errors and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def made(kind: type[EdgeslmError]) -> EdgeslmError:
    """An error of this class with something in each of its keywords."""
    values = {"int": 7, "str": "x", "str | None": "y"}
    keywords = {
        name: values[str(parameter.annotation)]
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return kind("what is wrong", **keywords)


@pytest.mark.parametrize("kind", dict.fromkeys(tree(EdgeslmError)), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_passes_between_processes(kind, protocol):
    error = made(kind)
    error.add_note("in the third document")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert again.to_dict() == error.to_dict()
    assert again.exit_code == error.exit_code


NUMBER = "9" * 5000
READERS: dict[str, Callable[[Path], object]] = {
    "an answer": lambda _: compile_schema({}).read(NUMBER),
    "a card": lambda _: Card.from_json('{"format": ' + NUMBER + "}", where="card"),
    "a card in TOML": read_card,
    "features": lambda _: FeatureSpec.from_json(NUMBER, where="file"),
    "known texts": lambda _: read_known(NUMBER, 2, where="file"),
    "a tokenizer": lambda _: EncoderTokens(NUMBER, 8, where="file"),
    "a registry": read_registry,
    "gold rows": lambda path: read_gold(path, "classify").refused[0],
    "a line": lambda _: next(read_lines(io.BytesIO(NUMBER.encode()), "in")).text,
    "a schema": lambda path: read_schema(str(path)),
}


@pytest.mark.parametrize("what", READERS)
def test_a_number_of_too_many_digits_is_told_without_advice_to_programmers(
    what: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f"a = {NUMBER}" if what in {"a card in TOML", "a registry"} else NUMBER)
    try:
        said = str(READERS[what](path))
    except EdgeslmError as error:
        said = str(error)
    assert "digits" in said or "number out of range" in said
    assert "sys." not in said
    assert len(said) < 500
