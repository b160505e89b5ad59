"""Schemas that refer to JSON Schema's own: what the metaschema says holds, offline"""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema_specifications import REGISTRY

from edgeslm.decoding.grammar import Grammar, GrammarTokenizer
from edgeslm.errors import OutputInvalidError, SchemaError
from edgeslm.formats.card import Style
from edgeslm.schema.schema import Schema, compile_schema
from edgeslm.testing import ScriptedEngine

OLD = [f"http://json-schema.org/draft-0{number}/schema#" for number in (4, 6, 7)]
NEW = [f"https://json-schema.org/draft/{name}/schema" for name in ("2019-09", "2020-12")]
TOKENIZER = GrammarTokenizer(ScriptedEngine())


def accepts(schema: Schema[Any], value: Any) -> bool:
    text = json.dumps(value, separators=(",", ":"))
    matcher = Grammar(schema, TOKENIZER, Style()).matcher()
    tokens = list(text.encode())
    if matcher.valid_prefix(tokens) < len(tokens):
        return False
    matcher.consume(tokens)
    try:
        schema.read(text)
    except OutputInvalidError:
        return False
    return matcher.is_accepting


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("uri", [*OLD, *NEW, OLD[2].rstrip("#")])
def test_a_property_that_is_a_schema(uri, closed):
    given = {"$schema": uri, "type": "object", "properties": {"s": {"$ref": uri}}}
    schema = compile_schema(given, close_objects=closed)
    assert accepts(schema, {"s": {"minLength": 1}})
    assert accepts(schema, {"s": {"properties": {"a": {"type": "string"}}}})
    assert not accepts(schema, {"s": {"minLength": -1}})
    assert not accepts(schema, {"s": {"properties": {"a": {"type": "strin"}}}})
    assert not accepts(schema, {"s": 1})


@pytest.mark.parametrize("uri", [*OLD, *NEW])
def test_the_metaschema_as_the_whole_schema(uri):
    schema = compile_schema({"$schema": uri, "$ref": uri}, close_objects=False)
    assert accepts(schema, {"maximum": 3})
    assert not accepts(schema, {"maximum": "3"})


def test_a_definition_inside_it_and_a_vocabulary():
    part = {"$schema": OLD[2], "$ref": OLD[2] + "/definitions/simpleTypes"}
    assert accepts(compile_schema(part), "array")
    assert not accepts(compile_schema(part), "list")
    part = {"$schema": NEW[1], "$ref": "https://json-schema.org/draft/2020-12/meta/content"}
    assert accepts(compile_schema(part, close_objects=False), {"contentEncoding": "base64"})
    assert not accepts(compile_schema(part, close_objects=False), {"contentEncoding": 1})


def test_a_copy_that_the_author_put_there_is_the_only_one():
    copy = dict(REGISTRY.contents(OLD[2]))
    given = {"$schema": OLD[2], "$ref": OLD[2], "definitions": {"mine": copy}}
    schema = compile_schema(given)
    assert list(schema.source["definitions"]) == ["mine"]
    assert accepts(schema, {"minLength": 1})
    assert not accepts(schema, {"minLength": -1})


@pytest.mark.parametrize(
    "reference",
    [
        NEW[0],  # of another draft
        "https://json-schema.org/draft/2020-12/meta/nothing",
        "https://json-schema.org/draft/2020-12/hyper-schema",
        "http://json-schema.org/geo",
    ],
)
def test_what_is_no_part_of_the_drafts_metaschema_leads_out(reference):
    with pytest.raises(SchemaError, match="leads out of the schema"):
        compile_schema({"$schema": NEW[1], "properties": {"s": {"$ref": reference}}})


def test_texts_that_only_look_like_references_bring_nothing():
    given = {"$schema": OLD[2], "enum": [{"$ref": OLD[2]}, "a"]}
    assert accepts(compile_schema(given), "a")
