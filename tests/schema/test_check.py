"""Checking a finished value ends soon, whatever it is and the schema, and says what is wrong."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from edgeslm.errors import OutputInvalidError, OutputUncheckedError
from edgeslm.models.gguf import GgufModel
from edgeslm.schema import check, schema
from edgeslm.schema.document import Document
from edgeslm.schema.looks import ClosedSchemas, Looks
from edgeslm.schema.schema import compile_schema
from edgeslm.testing import ScriptedEngine

#: seconds of one check, on a machine that may be busy
MOST_SECONDS = 5
NODE = {"$ref": "#/$defs/n"}


def nested(depth: int, leaf: Any) -> Any:
    """``{"a": {"a": … leaf}}``."""
    for _ in range(depth):
        leaf = {"a": leaf}
    return leaf


def recursive(keyword: str) -> dict[str, Any]:
    """Two branches that lead to one place, which is the schema itself."""
    branches = [{"type": "object", "properties": {"a": NODE}, "maxProperties": i} for i in (1, 2)]
    if keyword == "allOf":
        whole: Any = {"anyOf": [{"type": "null"}, {"allOf": branches}]}
    else:
        whole = {keyword: [*branches, {"type": "null"}]}
    return {"$ref": "#/$defs/n", "$defs": {"n": whole}}


def chain(keyword: str, length: int) -> dict[str, Any]:
    """Schemas of which each leads to the next by two ways."""
    definitions: dict[str, Any] = {f"d{length}": {"type": "null"}}
    for i in range(length):
        branch = {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}}}
        definitions[f"d{i}"] = {keyword: [branch, {**branch, "maxProperties": 1}]}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def hostile() -> Iterator[tuple[str, dict[str, Any], Any]]:
    for keyword, leaf in itertools.product(("anyOf", "oneOf", "allOf"), (None, 5)):
        for depth in (30, 400):
            yield f"{keyword} {leaf} {depth}", recursive(keyword), nested(depth, leaf)
        yield f"chain {keyword} {leaf}", chain(keyword, 40), nested(40, leaf)


@pytest.mark.parametrize(("name", "source", "value"), [*hostile()], ids=lambda part: str(part)[:20])
def test_every_value_is_judged_in_time(name: str, source: Any, value: Any) -> None:
    compiled = compile_schema(source, close_objects=False)
    start = time.perf_counter()
    try:
        compiled.read(json.dumps(value))
    except (OutputInvalidError, OutputUncheckedError) as error:
        assert error.json == json.dumps(value)
    assert time.perf_counter() - start < MOST_SECONDS


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
@pytest.mark.parametrize("depth", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("leaf", [None, 5])
@pytest.mark.parametrize("most", [4_000_000, 3])
def test_the_verdict_is_that_of_the_validator(
    keyword: str, depth: int, leaf: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_MOST_HERE", most)
    for source in (recursive(keyword), chain(keyword, depth)):
        value = nested(depth, leaf)
        compiled = compile_schema(source, close_objects=False)
        if jsonschema_rs.validator_for(source).is_valid(value):
            assert compiled.read(json.dumps(value)) == value
        else:
            with pytest.raises(OutputInvalidError, match="breaks the schema"):
                compiled.read(json.dumps(value))


def test_the_place_of_a_fault_is_named_where_it_is_found_soon() -> None:
    tree = {
        "$ref": "#/$defs/n",
        "$defs": {
            "n": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "more": {"type": "array", "items": NODE},
                },
            }
        },
    }
    broken = {"name": "x", "more": [{"name": "y"}, {"name": 5}]}
    with pytest.raises(OutputInvalidError, match="at /more/1/name: 5 is not of type"):
        compile_schema(tree).read(json.dumps(broken))
    many = {"name": "x", "more": [{"name": "y"}] * 3_000 + [{"name": 5}]}
    with pytest.raises(OutputInvalidError, match="at /more/3000/name"):
        compile_schema(tree).read(json.dumps(many))


#: schemas, a value, and how often a validator that follows all references looks at its parts
COUNTED: list[tuple[Any, Any, int]] = [
    ({"type": "object"}, {"a": 1}, 1),
    ({"properties": {"a": {}}}, {"a": 1, "b": 2}, 2),
    ({"properties": {"a": {}}, "additionalProperties": {}}, {"a": 1, "b": 2}, 3),
    ({"patternProperties": {"^a": {}, "b": {}}}, {"a": 1}, 3),
    ({"prefixItems": [{}], "items": {}, "contains": {}}, [1, 2], 6),
    ({"anyOf": [{"properties": {"a": {}}}] * 3}, {"a": 1}, 7),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [{}, {}]}}}, 1, 4),
    ({"if": {}, "then": {}, "else": {}, "not": {}}, 1, 5),
]


@pytest.mark.parametrize(("source", "value", "looks"), COUNTED)
def test_looks_are_counted(source: Any, value: Any, looks: int) -> None:
    assert Looks(Document(source)).count(value, 100) == looks
    assert Looks(ClosedSchemas(source)).count(value, 100) == looks
    assert Looks(ClosedSchemas(source)).count(value, looks - 1) == looks


def test_looks_double_with_each_level_and_counting_them_does_not() -> None:
    looks = Looks(ClosedSchemas(recursive("anyOf")))
    # the reference, its target and three branches, for each of the 2**n ways to the n-th level
    for depth in (0, 1, 2, 20):
        assert looks.count(nested(depth, None), 10**9) == 5 * (2 ** (depth + 1) - 1)
    start = time.process_time()
    assert looks.count(nested(900, None), 10**6) == 10**6 + 1
    assert time.process_time() - start < 1


def test_an_answer_that_cannot_be_checked_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "_SECONDS", 0.3)
    source = chain("allOf", 40)
    answer = json.dumps(nested(40, None), separators=(",", ":"))
    judged = []
    apart = check.Check._judged_apart
    monkeypatch.setattr(
        check.Check, "_judged_apart", lambda *of: (judged.append(of), apart(*of))[1]
    )
    with GgufModel(ScriptedEngine(answer)) as model:
        read = model.extractor(source, grounded=False)
        with pytest.raises(OutputUncheckedError, match="cannot be checked in time") as caught:
            read("text")
    assert caught.value.to_dict()["json"] == answer
    assert len(judged) == 1


class One(BaseModel):
    a: One | Two | None = None


class Two(BaseModel):
    a: One | Two | None = None
    b: int = 0


class Add(BaseModel):
    op: Literal["add"]
    of: Annotated[Add | Number, Field(discriminator="op")]


class Number(BaseModel):
    op: Literal["number"]


def test_a_class_whose_branches_pydantic_would_try_without_end_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = compile_schema(One)
    assert compiled.read(json.dumps(nested(6, None))).a is not None
    monkeypatch.setattr(schema, "_MOST_TRIED", 1_000)
    with pytest.raises(OutputUncheckedError, match="a discriminator"):
        compiled.read(json.dumps(nested(12, None)))
    value: dict[str, Any] = {"op": "number"}
    for _ in range(60):
        value = {"op": "add", "of": value}
    assert compile_schema(Add).read(json.dumps(value)).op == "add"
