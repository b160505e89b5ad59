"""Numbers of many digits: read digit by digit, or what cannot be read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from edgeslm.models.gguf import GgufModel
from edgeslm.tasks.extraction.evidence import UNREAD
from edgeslm.tasks.extraction.offered import Offered
from edgeslm.tasks.extraction.readings.numbers import numbers, read_number
from edgeslm.testing import ScriptedEngine

NUMBER, INTEGER = {"type": "number"}, {"type": "integer"}
TWO_DECIMALS = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}
MOST = "9" * 18 + ".99"


class Exact(BaseModel):
    a: Decimal


def answer(node: Any, text: str, script: str, **call: Any) -> Any:
    schema = node if isinstance(node, type) else {"type": "object", "properties": {"a": node}}
    if isinstance(schema, dict):
        schema["required"] = ["a"]
    engine = ScriptedEngine(f'{{"a":{script}}}', sharpness=40.0)
    with GgufModel(engine) as model:
        return model.extractor(schema)(text, **call)


@pytest.mark.parametrize("number", [MOST, "-" + MOST, "1" * 35 + ".25", "-" + "1" * 35, "7" * 22])
@pytest.mark.parametrize("node", [NUMBER, INTEGER, TWO_DECIMALS, Exact])
def test_a_long_number_is_read_digit_by_digit(node: Any, number: str) -> None:
    if node is INTEGER and "." in number:
        return
    script = number if "." in number or node is not TWO_DECIMALS else number + ".00"
    asked = f'"{script}"' if node is TWO_DECIMALS else script
    said = answer(node, f"no {number} or 7", asked)
    leaf = said.fields["$.a"]
    assert said.json.split(":")[1].strip('"}') == script
    assert leaf.span == (3, 3 + len(number))
    rounded = node is NUMBER and "." in number
    assert leaf.reading == (UNREAD if rounded else 1.0)
    if node is Exact:
        assert said.value.a == Decimal(number)


@pytest.mark.parametrize("node", [NUMBER, INTEGER, TWO_DECIMALS])
@pytest.mark.parametrize("number", ["3" * 45, "3" * 45 + ".99", "-" + "3" * 4000])
def test_beside_one_that_cannot_be_read_others_are_less_sure(node: Any, number: str) -> None:
    script = '"7.00"' if node is TWO_DECIMALS else "7"
    said = answer(node, f"no {number} or 7", script)
    assert said.json == f'{{"a":{script}}}'
    assert said.fields["$.a"].confidence <= UNREAD


@given(st.decimals(-(10**30), 10**30, places=4))
def test_no_digit_of_a_number_is_lost(value: Decimal) -> None:
    written = f"{value:f}"
    assert read_number(written) == value
    assert [value] == [reading for one in numbers(f"no {written} or") for reading in one.readings]
    offered = Offered(f"no {written} or")
    assert any(number == value for number, _ in offered.numbers)
    assert any(Decimal(spelled) == value for spelled in offered.decimals)
