"""Runs the official JSON Schema test suite against mask and final check together."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from edgeslm.decoding.grammar import Grammar, GrammarTokenizer
from edgeslm.errors import EmptySchemaError, OutputInvalidError, SchemaError
from edgeslm.formats.card import Style
from edgeslm.schema.schema import Schema, compile_schema
from edgeslm.testing import ScriptedEngine

ROOT = Path(__file__).resolve().parents[2]
DRAFTS = {
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
_HOST = "http://localhost:1234/"


def suite_folder() -> Path:
    """Where the suite is, if it is anywhere."""
    data = Path(os.environ.get("EDGESLM_DATA") or ROOT.parent / "shared" / "data")
    return data / "json_schema_test_suite" / "tests"


@dataclass(frozen=True)
class Case:
    """One instance of the suite.

    ``group`` is the file, named like its keyword. ``verdict`` is ``passed``, ``valid rejected``,
    ``refused`` (the schema) or ``invalid accepted``. ``seconds`` is what compiling took.
    """

    group: str
    schema: Any
    name: str
    verdict: str
    reason: str
    seconds: float


def run(draft: str, folder: str = "") -> Iterator[Case]:
    """Every instance of one draft, of its required tests or of a folder below them."""
    for path in sorted((suite_folder() / draft / folder).glob("*.json")):
        for test in json.loads(path.read_text(encoding="utf-8")):
            yield from _decide(path.stem, DRAFTS[draft], test)


def _decide(group: str, draft: str, test: dict[str, Any]) -> Iterator[Case]:
    given = test["schema"]
    if isinstance(given, dict):
        given = _bundled({"$schema": draft, **given}, draft)
    started = time.monotonic()
    refusal, empty, schema, grammar = "", False, None, None
    try:
        schema = compile_schema(given, close_objects=False)
        grammar = Grammar(schema, tokenizer(), Style())
    except SchemaError as error:
        refusal, empty = str(error), isinstance(error, EmptySchemaError)
    seconds = time.monotonic() - started
    for item in test["tests"]:
        verdict, reason = "refused", refusal
        if empty:  # the decision that no instance is valid
            verdict = "valid rejected" if item["valid"] else "passed"
        if schema is not None and grammar is not None:
            reason = _rejection(schema, grammar, item["data"])
            if item["valid"] and reason:
                verdict = "valid rejected"
            else:
                verdict = "passed" if item["valid"] == (not reason) else "invalid accepted"
        name = f"{test['description']}: {item['description']}"
        yield Case(group, given, name, verdict, reason, seconds)


def _bundled(schema: dict[str, Any], draft: str) -> dict[str, Any]:
    """The schema with the documents it speaks of among its definitions, as the standard bundles."""
    text = json.dumps(schema)
    if _HOST not in text:
        return schema
    documents: dict[str, Any] = {}
    grown = True
    while grown:
        grown = False
        for url, document in _remotes(draft).items():
            if url not in documents and url.rpartition("/")[2] in text:
                documents[url] = document
                text += json.dumps(document)
                grown = True
    key = "definitions" if "draft-07" in draft else "$defs"
    return {**schema, key: {**schema.get(key, {}), **documents}} if documents else schema


@cache
def _remotes(draft: str) -> dict[str, dict[str, Any]]:
    """The remote documents of a draft and those of all, each under its address."""
    folder = suite_folder().parent / "remotes"
    name = next(name for name, uri in DRAFTS.items() if uri == draft)
    documents = {}
    for path in sorted(folder.rglob("*.json")):
        top = path.relative_to(folder).parts[0]
        if top.startswith("draft") and top != name:
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("$schema", draft) == draft:
            url = _HOST + path.relative_to(folder).as_posix()
            documents[url] = {"$id": url, **document}
    return documents


@cache
def tokenizer() -> GrammarTokenizer:
    return GrammarTokenizer(ScriptedEngine())


def _rejection(schema: Schema[Any], grammar: Grammar, value: Any) -> str:
    """Why a value cannot be an answer, or nothing where one of its spellings can."""
    rank = {name: i for i, name in enumerate(dict.fromkeys(_names(schema.closed)))}
    reasons = [_refuted(schema, grammar, text) for text in {spell(value, rank), spell(value, {})}]
    return min(reasons)


def _refuted(schema: Schema[Any], grammar: Grammar, text: str) -> str:
    matcher = grammar.matcher()
    tokens = list(text.encode())
    fits = matcher.valid_prefix(tokens)
    if fits < len(tokens):
        return f"mask: {text} at {fits}"
    matcher.consume(tokens)
    if not matcher.is_accepting:
        return f"mask: {text} is not complete"
    try:
        schema.read(text)
    except OutputInvalidError as error:
        return f"check: {error}"
    return ""


def _names(node: Any) -> Iterator[str]:
    """The property names of a closed schema, in order of appearance."""
    if isinstance(node, list):
        for item in node:
            yield from _names(item)
    elif isinstance(node, dict):
        yield from node.get("properties", ())
        yield from (
            key for value in node.get("enum", ()) if isinstance(value, dict) for key in value
        )
        for item in node.values():
            yield from _names(item)


def spell(value: Any, rank: dict[str, int]) -> str:
    """The canonical text: ranked properties first, plain decimals, short escapes, no spaces."""
    if isinstance(value, list):
        return "[" + ",".join(spell(item, rank) for item in value) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: rank.get(key, len(rank)))
        return "{" + ",".join(f"{spell(key, {})}:{spell(value[key], rank)}" for key in keys) + "}"
    if isinstance(value, float):
        whole = value.is_integer()
        return str(int(value)) if whole else format(Decimal(repr(value)), "f")
    return json.dumps(value, ensure_ascii=False)
