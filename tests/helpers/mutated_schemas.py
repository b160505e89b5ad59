"""Damaged and hostile JSON Schemas, made from sound ones, and a child that compiles them."""

from __future__ import annotations

import copy
import itertools
import json
import random
import resource
import string
import sys
import time
from typing import Any

DRAFTS = (
    "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)  # fmt: skip
#: values of every type, and some that numbers, texts and lists must not be taken to exclude
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e308, 5e-324, 1e-12, 2**53, 2**63, 10**300, "",
    "a", "#", "#/", "#/$defs/a", "#a", "/", "~2", "http://[", "(", "[a", "(a*)*", "^(?=a)b", "\\",
    "\x00", "é" * 40, [], [[]], [0], ["a", "a"], [None], {}, {"a": {}}, {"$ref": "#"}, {"$ref": 1},
    {"type": "string"}, {"const": {"a": [1]}}, {"not": {}}, [{}, {}], [True, False], "string",
    "object", ["string", "null"], "date", "iri", "uri-template", "regex", *DRAFTS,
)  # fmt: skip
KEYWORDS = (
    "$anchor", "$comment", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor",
    "$recursiveRef", "$ref", "$schema", "$vocabulary", "additionalItems", "additionalProperties",
    "allOf", "anyOf", "const", "contains", "contentEncoding", "contentMediaType", "default",
    "definitions", "dependencies", "dependentRequired", "dependentSchemas", "discriminator", "else",
    "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "id", "if", "items",
    "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains", "minItems",
    "minLength", "minProperties", "minimum", "multipleOf", "not", "nullable", "oneOf", "pattern",
    "patternProperties", "prefixItems", "properties", "propertyNames", "required", "then", "title",
    "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems", "x-mask", "x-guidance",
)  # fmt: skip
SOUND: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "total": {"type": "number", "minimum": 0, "multipleOf": 0.01},
            "lines": {
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/$defs/line"},
            },
            "kind": {"enum": ["a", "b", 1, None]},
            "when": {"type": "string", "format": "date-time"},
        },
        "required": ["id", "lines"],
        "additionalProperties": False,
        "$defs": {
            "line": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "minLength": 1, "maxLength": 80},
                    "count": {"type": "integer", "exclusiveMinimum": 0},
                    "inner": {"$ref": "#/$defs/line"},
                },
                "dependentRequired": {"count": ["text"]},
            }
        },
    },
    {
        "oneOf": [
            {"properties": {"t": {"const": "x"}, "a": {"type": "null"}}, "required": ["t"]},
            {"properties": {"t": {"const": "y"}, "b": {"type": "boolean"}}, "required": ["t"]},
        ],
        "type": "object",
        "minProperties": 1,
        "patternProperties": {"^s_": {"type": "string", "pattern": "^[a-z]+$"}},
        "propertyNames": {"pattern": "^[a-z_]+$"},
    },
    {
        "$schema": DRAFTS[2],
        "definitions": {
            "a": {"$id": "#here", "type": "string", "pattern": "^a+$", "maxLength": 9},
            "b": {"allOf": [{"$ref": "#here"}, {"minLength": 2}]},
        },
        "items": [{"$ref": "#/definitions/b"}, {"type": "integer"}],
        "additionalItems": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/a"}]},
        "if": {"minItems": 2},
        "then": {"maxItems": 4},
        "else": {"contains": {"type": "string"}},
        "dependencies": {"a": ["b"], "c": {"required": ["d"]}},
    },
    {
        "$schema": DRAFTS[0],
        "id": "http://example.org/root",
        "type": "object",
        "properties": {
            "n": {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            "s": {"$ref": "#/definitions/s"},
        },
        "definitions": {"s": {"type": ["string", "null"], "not": {"enum": ["x"]}}},
        "dependencies": {"n": ["s"]},
    },
    {
        "$dynamicAnchor": "node",
        "type": "object",
        "properties": {
            "children": {"type": "array", "items": {"$dynamicRef": "#node"}, "uniqueItems": True},
            "url": {"type": "string", "format": "iri"},
            "pair": {"prefixItems": [{"type": "string"}, {"type": "number"}], "items": False},
        },
        "unevaluatedProperties": False,
        "dependentSchemas": {"url": {"minProperties": 2}},
        "anyOf": [{"required": ["url"]}, {"required": ["children"]}],
    },
)


def mutant(rng: random.Random) -> Any:
    """A sound schema after one to four changes; one in eight is made large."""
    schema: Any = copy.deepcopy(rng.choice(SOUND))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        schema = _changed(schema, rng)
    return _enlarged(schema, rng) if rng.random() < 0.125 else schema


def _changed(schema: Any, rng: random.Random) -> Any:
    places = list(_places(schema))
    if not places:
        return copy.deepcopy(rng.choice(VALUES))
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind <= 2:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == 3:
        other, place = rng.choice(places)
        holder[key] = copy.deepcopy(other[place])
    elif kind == 4:
        del holder[key]
    elif kind == 5:
        objects = [schema, *(value[name] for value, name in places)]
        target = rng.choice([item for item in objects if isinstance(item, dict)] or [{}])
        target[rng.choice(KEYWORDS)] = copy.deepcopy(rng.choice(VALUES))
    elif kind == 6 and isinstance(holder, dict):
        holder[rng.choice(KEYWORDS)] = holder.pop(key)
    else:
        wrap = rng.choice(("allOf", "anyOf", "oneOf", "not", "items", "if", "then", "properties"))
        inner = holder[key]
        holder[key] = {wrap: [inner, True] if wrap.endswith("Of") else {"a": inner}}
    return schema


def _places(value: Any) -> Any:
    """Each place in a value, as its holder and the key or index there."""
    pending = [value]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                pending.append(holder[key])


def _enlarged(schema: Any, rng: random.Random) -> Any:
    """The schema beside something that there is very much of."""
    count = rng.choice((20, 300, 2_000, 9_000))
    leaf = rng.choice((
        {"type": "integer"}, {"type": "number"}, {"type": "string"}, {"enum": ["a", "b"]}, True,
        {"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 50}, schema,
        {"$ref": "#/$defs/a"}, {"anyOf": [{"type": "null"}, {"type": "number"}]},
    ))  # fmt: skip
    names = [f"{rng.choice(string.ascii_lowercase)}{i}" for i in range(count)]
    made: list[dict[str, Any]] = [
        {"properties": dict.fromkeys(names, leaf), "required": names[: rng.choice((0, 1, count))]},
        {"properties": {name: {**leaf, "title": name} if leaf is not True else leaf
                        for name in names}},
        {"properties": {name: {"type": "integer", "maximum": i} for i, name in enumerate(names)}},
        {"properties": {name: {"type": "number", "minimum": i} for i, name in enumerate(names)}},
        {"properties": {name: {"type": "string", "pattern": f"^{name}+$"} for name in names}},
        {"patternProperties": {f"^{name}": leaf for name in names},
         "properties": dict.fromkeys(names, leaf)},
        {"enum": names}, {"enum": list(range(count))},
        {"enum": [[name, {"a": name}] for name in names]},
        {"not": {"enum": names}}, {"type": "string", "not": {"enum": names[:30]}},
        {"anyOf": [{"const": name} for name in names]},
        {"oneOf": [{"properties": {"t": {"const": name}}, "required": ["t"]} for name in names]},
        {"oneOf": [leaf] * count}, {"allOf": [leaf] * count},
        {"allOf": [{"pattern": f"({name}|a.{{{i % 50}}}b)*"} for i, name in enumerate(names)]},
        {"allOf": [{"pattern": f"(x{i}.*y)+|(.*a.{{{i * 7}}}b.*)|(c+d+)*{i}"}
                   for i in range(count)]},
        {"allOf": [{"properties": {name: leaf}, "required": [name]} for name in names]},
        {"allOf": [{"if": {"properties": {"t": {"const": name}}}, "then": {"required": [name]}}
                   for name in names]},
        {"prefixItems": [leaf] * count, "items": False},
        {"dependentRequired": dict.fromkeys(names, names[:9])},
        {"dependentSchemas": {name: {"required": names[:3]} for name in names}},
        {"$defs": {name: {"$ref": f"#/$defs/{other}"} for name, other in itertools.pairwise(names)},
         "$ref": f"#/$defs/{names[0]}"},
        {"$defs": {name: {"properties": {"a": {"$ref": f"#/$defs/{other}"}}}
                   for name, other in zip(names, [*names[1:], names[0]], strict=True)},
         "$ref": f"#/$defs/{names[0]}"},
        {"$defs": {name: {"anyOf": [{"$ref": f"#/$defs/{o}"} for o in rng.sample(names, 3)]}
                   for name in names}, "$ref": f"#/$defs/{names[0]}"},
        {"$defs": {"a": {"properties": {name: {"$ref": "#/$defs/a"} for name in names}}},
         "$ref": "#/$defs/a"},
        {"multipleOf": 3, "allOf": [{"multipleOf": i + 1} for i in range(count)]},
        {"minItems": count, "items": leaf}, {"minLength": count, "pattern": "(a|b)*c"},
        {"propertyNames": {"enum": names}}, {"required": names}, {"minProperties": 3, "properties":
                                                                  dict.fromkeys(names, leaf)},
    ]  # fmt: skip
    large = rng.choice(made)
    if isinstance(schema, dict) and rng.random() < 0.5:
        return {**schema, **large}
    return large


def main() -> None:
    """Compile the mutants of the seeds on stdin, one a line; answer each with one line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    from edgeslm.decoding.grammar import check_grammar
    from edgeslm.errors import SchemaError
    from edgeslm.schema.schema import certify, compile_schema

    print("ready", flush=True)
    for line in sys.stdin:
        seed = int(line)
        schema = mutant(random.Random(seed))
        verdict = "compiled"
        started = time.process_time()
        try:
            check_grammar(compile_schema(schema, close_objects=bool(seed % 2)))
        except SchemaError as error:
            verdict = f"refused: {error}"[:300]
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent must hear of it
            verdict = f"raw: {type(error).__name__}: {error}"[:300]
        seconds = time.process_time() - started
        if seed % 10 == 0 and not verdict.startswith("raw"):
            try:
                certify(schema, close_objects=bool(seed % 2))
            except SchemaError:
                pass
            except BaseException as error:  # noqa: BLE001
                verdict = f"raw: certify: {type(error).__name__}: {error}"[:300]
        print(json.dumps({"seed": seed, "verdict": verdict, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
