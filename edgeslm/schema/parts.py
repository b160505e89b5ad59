"""What every emitter of a closed schema shares: its types and bounds, and equality of values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeslm.schema.keywords import Certificate
from edgeslm.schema.regex import portable

Closed = dict[str, Any]
#: the schemas that hold together for one value, each with its JSON pointer
Conjuncts = list[tuple[str, dict[str, Any]]]

#: beyond this a double no longer holds every integer, and the mask computes in doubles
EXACT = 2**53
#: nearer to zero than this, the mask cannot tell a bound from zero
NEAREST = 1e-12
#: steps of the budget that the grammar library takes for one pattern, and for two together
PATTERN_STEPS = 500
#: the keyword, of closed schemas alone, of the rules that the mask adds: a model that writes
#: keeps to them, but a value that breaks them is valid
MASK_ONLY = "x-mask"
#: keywords that hold the schemas inside a closed one
_INNER = frozenset({
    "additionalProperties", "anyOf", "items", "patternProperties", "prefixItems",
    "properties",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Never:
    """A place that no value fits, and why; ``keyword`` is None if the author wrote ``false``."""

    path: str
    keyword: str | None
    note: str


def hold(path: str, keyword: str, pattern: str, certificate: Certificate) -> str | None:
    """A pattern as the mask reads it; None, with a note, if only a check can hold it."""
    certificate.budget.spend_once(("pattern", pattern), PATTERN_STEPS)
    held = portable(pattern)
    if held is None:
        note = "look-around, back-references, \\b and the like: the finished value is validated"
        certificate.note(path, keyword, "check", note)
    return held


def tightest(
    nodes: Conjuncts, keyword: str, choose: Callable[[list[int]], int]
) -> tuple[str, int] | None:
    """The path and value of the count that ``choose`` takes among those of a keyword, if any."""
    paths = {int(node[keyword]): path for path, node in nodes if keyword in node}
    if not paths:
        return None
    value = choose(list(paths))
    return paths[value], value


def identity(value: Any) -> str:
    """A text that is equal for values that JSON Schema calls equal, such as 1 and 1.0."""
    if isinstance(value, str):  # no other type's text begins with a quotation mark
        return f'"{value}'
    return json.dumps(canonical(value), sort_keys=True)


def type_of(value: Any) -> str:
    """The JSON type of a value; whole numbers are integers."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    names: dict[type, str] = {
        type(None): "null", float: "number", str: "string", list: "array", dict: "object",
    }  # fmt: skip
    return names[type(value)]


def canonical(value: Any) -> Any:
    """The value with whole floats as integers, the way the mask spells them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    return value


def for_mask(closed: Closed) -> Closed:
    """A closed schema as the grammar library reads it.

    Numbers have the rules that the mask adds. Leaves that are met twice are definitions, so that
    the library, whose time goes into numbers, compiles each of them once.
    """
    counts: Counter[str] = Counter()

    def counted(leaf: Closed) -> Closed:
        counts.update([json.dumps(leaf)])
        return leaf

    whole = _each(closed, counted)
    names = {key: f"leaf-{i}" for i, key in enumerate(counts) if counts[key] > 1}
    if not names:
        return whole

    def shared(leaf: Closed) -> Closed:
        name = names.get(json.dumps(leaf))
        return leaf if name is None else {"$ref": f"#/$defs/{name}"}

    leaves = {name: json.loads(key) for key, name in names.items()}
    whole = _each(closed, shared)
    return {**whole, "$defs": {**whole.get("$defs", {}), **leaves}}


def _each(closed: Closed, of_leaf: Callable[[Closed], Closed]) -> Closed:
    """A closed schema and its definitions, each leaf as ``of_leaf`` has it."""
    root = {key: value for key, value in closed.items() if key != "$defs"}
    whole: Closed = _masked(root, of_leaf)
    if "$defs" not in closed:
        return whole
    return {**whole, "$defs": {k: _masked(v, of_leaf) for k, v in closed["$defs"].items()}}


def _masked(closed: Any, of_leaf: Callable[[Closed], Closed]) -> Any:
    """A closed schema in which ``of_leaf`` stands for each leaf, as the mask reads it."""
    if not isinstance(closed, dict) or ("$ref" in closed and len(closed) == 1):
        return closed
    if not _INNER & closed.keys():
        rules = {key: value for key, value in closed.items() if key != MASK_ONLY}
        return of_leaf({**rules, **closed.get(MASK_ONLY, {})})
    masked = dict(closed)
    for keyword, value in closed.items():
        if keyword in ("additionalProperties", "items"):
            masked[keyword] = _masked(value, of_leaf)
        elif keyword in ("anyOf", "prefixItems"):
            masked[keyword] = [_masked(child, of_leaf) for child in value]
        elif keyword in ("patternProperties", "properties"):
            masked[keyword] = {name: _masked(child, of_leaf) for name, child in value.items()}
    return masked
