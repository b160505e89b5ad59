"""pydantic classes: every kind of field makes the round trip from mask to instance."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    create_model,
    field_validator,
)

from edgeslm.errors import OutputInvalidError, SchemaError
from edgeslm.schema.schema import compile_schema
from tests.helpers.grammars import accepts


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Plain:
    """A class that pydantic knows nothing of."""


Money = Annotated[Decimal, Field(max_digits=6, decimal_places=2, gt=0)]
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Short = Annotated[str, Field(min_length=2, max_length=3, pattern="^[a-z]+$")]
UTC = dt.UTC
UUID = uuid.UUID(int=2**100)

#: type, JSON text, the value it reads as
GOOD = [
    (int, "-3", -3),
    (float, "0.5", 0.5),
    (bool, "true", True),
    (str | None, "null", None),
    (Short, '"abc"', "abc"),
    (Annotated[int, Field(ge=1, lt=5, multiple_of=2)], "4", 4),
    (Decimal, "0.1", Decimal("0.1")),
    (Decimal, "-123456789012345678.123456789", Decimal("-123456789012345678.123456789")),
    (Money, "1284.50", Decimal("1284.50")),
    (dt.date, '"2024-02-29"', dt.date(2024, 2, 29)),
    (dt.time, '"12:30:00"', dt.time(12, 30)),
    (dt.datetime, '"2024-01-02T03:04:05"', dt.datetime(2024, 1, 2, 3, 4, 5)),
    (dt.datetime, '"2024-01-02T03:04:05Z"', dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (dt.timedelta, '"P1DT2H"', dt.timedelta(days=1, hours=2)),
    (uuid.UUID, f'"{UUID}"', UUID),
    (Literal["a", 1, None], "1", 1),
    (Colour, '"red"', Colour.RED),
    (Colour, "1", Colour.ONE),
    (list[int], "[1,2]", [1, 2]),
    (Annotated[list[int], Field(min_length=1, max_length=2)], "[1]", [1]),
    (set[int], "[1,2]", {1, 2}),
    (tuple[int, str], '[1,"a"]', (1, "a")),
    (tuple[int, ...], "[1,2,3]", (1, 2, 3)),
    (Point, "[1,2]", Point(1, 2)),
    (dict[str, int], '{"a":1}', {"a": 1}),
    (dict[Literal["p", "q"], int], '{"q":1}', {"q": 1}),
    (dict[Short, int], '{"ab":1}', {"ab": 1}),
    (int | str, '"1"', "1"),
    (Pet, '{"kind":"dog","tricks":["sit"]}', Dog(kind="dog", tricks=["sit"])),
    (Cat, '{"kind":"cat"}', Cat(kind="cat")),
    (Tree, '{"name":"a","children":[{"name":"b"}]}', Tree(name="a", children=[Tree(name="b")])),
    (RootModel[list[int]], "[1]", RootModel[list[int]]([1])),
    (Any, '{"a":[null]}', {"a": [None]}),
]  # fmt: skip

#: type, JSON text that the mask does not let through
BAD = [
    (int, "1.0"),
    (Short, '"a"'),
    (Short, '"AB"'),
    (Annotated[int, Field(ge=1, lt=5, multiple_of=2)], "5"),
    (Decimal, '"0.1"'),
    (Decimal, "1e3"),
    (Money, "0"),
    (Money, "10000"),
    (Money, "1.234"),
    (dt.date, '"29/02/2024"'),
    (dt.time, '"12:30"'),
    (dt.datetime, '"2024-01-02 03:04:05"'),
    (Colour, '"blue"'),
    (tuple[int, str], "[1]"),
    (Pet, '{"kind":"cat","tricks":["sit"]}'),
    (Cat, '{"kind":"cat","age":3}'),
    (dict[Literal["p", "q"], int], '{"r":1}'),
]


def _holder(kind: Any) -> type[BaseModel]:
    return create_model("Holder", value=(kind, ...))


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_round_trip(kind: Any, text: str, value: Any) -> None:
    schema = compile_schema(_holder(kind))
    text = f'{{"value":{text}}}'
    assert accepts(schema, text)
    read = schema.read(text).value
    assert read == value
    assert type(read) is type(value)
    assert str(read) == str(value)


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_the_mask_holds_the_type(kind: Any, text: str) -> None:
    assert not accepts(compile_schema(_holder(kind)), f'{{"value":{text}}}')


def test_aliases_defaults_and_order() -> None:
    class Invoice(BaseModel):
        total: Decimal = Field(alias="Total Due")
        company: str = "unknown"

    schema = compile_schema(Invoice)
    assert accepts(schema, '{"Total Due":1.50,"company":"x"}')
    assert not accepts(schema, '{"company":"x","Total Due":1.50}')
    assert str(schema.read('{"Total Due":1.50}').total) == "1.50"
    assert schema.read('{"Total Due":1}').company == "unknown"


def test_a_root_model_reads_as_itself() -> None:
    class Prices(RootModel[dict[str, Decimal]]):
        pass

    assert str(compile_schema(Prices).read('{"a":2.10}').root["a"]) == "2.10"


def test_extra_allow_stays_open() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        a: int

    assert accepts(Open, '{"a":1,"b":[2]}')


def test_a_strict_class_reads_dates_beside_decimals() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        day: dt.date
        total: Decimal

    read = compile_schema(Strict).read('{"day":"2024-02-29","total":1.5}')
    assert (read.day, read.total) == (dt.date(2024, 2, 29), Decimal("1.5"))


def test_validators_of_the_class_have_the_last_word() -> None:
    class Even(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def _even(cls, n: int) -> int:
            if n % 2:
                raise ValueError("odd")
            return n

    schema = compile_schema(Even)
    assert any(row.keyword == "pydantic" and row.how == "check" for row in schema.certificate)
    assert schema.read('{"n":2}').n == 2
    with pytest.raises(OutputInvalidError, match="Even at n"):
        schema.read('{"n":1}')


#: what an author adds to a field, a text that keeps to it, and one that does not
ADDED: list[tuple[Any, dict[str, Any], str, str]] = [
    (str, {"format": "iri"}, '"http://a/é"', '"http://["'),
    (str, {"format": "json-pointer"}, '"/a/b"', '"a"'),
    (str, {"format": "idn-email"}, '"é@a.org"', '"é"'),
    (str, {"not": {"pattern": "(?=x)x"}}, '"a"', '"x"'),
    (list[int], {"uniqueItems": True}, "[1,2]", "[1,1]"),
    (list[int], {"contains": {"const": 7}}, "[7]", "[1]"),
    (dict[str, int], {"dependentRequired": {"a": ["b"]}}, '{"b":1}', '{"a":1}'),
]


@pytest.mark.parametrize(("kind", "added", "good", "bad"), ADDED)
def test_what_an_author_adds_to_a_field_is_asserted(
    kind: Any, added: dict[str, Any], good: str, bad: str
) -> None:
    described = create_model("Described", value=(kind, Field(json_schema_extra=added)))
    schema = compile_schema(described)
    assert schema.read(f'{{"value":{good}}}')
    with pytest.raises(OutputInvalidError, match="/value"):
        schema.read(f'{{"value":{bad}}}')


def test_what_pydantic_says_and_does_not_hold_a_value_to_is_not_asserted() -> None:
    def tag(value: Any) -> str:
        return "short" if len(value) < 3 else "long"

    branches = Annotated[str, Tag("short")] | Annotated[str, Tag("long")]
    cases: list[tuple[Any, str, Any]] = [
        (set[int], "[1,1]", {1}),
        (frozenset[int], "[2,2]", frozenset({2})),
        (Annotated[branches, Discriminator(tag)], '"ab"', "ab"),
    ]
    for kind, text, value in cases:
        extra = {
            "value": (kind, ...),
            "iri": (str, Field("a:b", json_schema_extra={"format": "iri"})),
        }
        schema = compile_schema(create_model("Described", **extra))
        assert schema.read(f'{{"value":{text}}}').value == value


def test_the_thirtieth_of_february_is_no_answer() -> None:
    schema = compile_schema(_holder(dt.datetime))
    with pytest.raises(OutputInvalidError, match="value"):
        schema.read('{"value":"2024-02-30T00:00:00"}')


def test_a_class_without_a_schema_is_refused() -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        plain: Plain

    with pytest.raises(SchemaError, match="Odd: pydantic cannot describe"):
        compile_schema(Odd)


def test_the_source_is_the_description_of_the_class() -> None:
    assert compile_schema(Cat).source["title"] == "Cat"
    assert json.loads(json.dumps(compile_schema(Tree).source)) == compile_schema(Tree).source
