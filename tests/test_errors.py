"""Errors: what pydantic finds is one message, and every error passes between processes"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

import converters.errors
from edgeslm.errors import EdgeslmError, first_fault

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
