"""What pydantic finds, in one message: the place, the words, how many more there are"""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from edgeslm.errors import first_fault


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
