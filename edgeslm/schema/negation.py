"""What ``not`` forbids, and schemas that hold exactly where another does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from edgeslm.schema.document import Document, escape
from edgeslm.schema.keywords import ANNOTATIONS
from edgeslm.schema.parts import EXACT, NEAREST

Made = dict[str, Any]

_LONGEST = 65_536
_MOST_NUMBERS = 16
#: schemas looked at for one opposite: those that refer to themselves have no end
_MOST_STEPS = 200

_BOUNDS = {
    "minimum": "exclusiveMaximum", "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum", "exclusiveMaximum": "minimum",
}  # fmt: skip
#: what is counted by ``min...`` and ``max...``, and in values of which type
_COUNTS = {"Length": "string", "Items": "array", "Properties": "object"}
#: keywords that mean the same wherever they are copied to
_PLAIN = frozenset({"const", "enum", "required", "type", *_BOUNDS}) | {
    f"{end}{what}" for end in ("min", "max") for what in _COUNTS
}


def forbidden_types(node: dict[str, Any]) -> list[str]:
    """The types that ``not: {type: ...}`` excludes whole; an integer alone is part of a type."""
    rules = _rules(node)
    if set(rules) != {"type"}:
        return []
    types = [rules["type"]] if isinstance(rules["type"], str) else rules["type"]
    if "number" in types:
        return [*types, "integer"]
    return [name for name in types if name != "integer"]


def forbidden_values(node: dict[str, Any]) -> list[Any]:
    """The values that ``not: {enum: ...}`` or ``not: {const: ...}`` excludes."""
    match _rules(node):
        case {"enum": list(values), **rest} if not rest:
            return values
        case {"const": value, **rest} if not rest:
            return [value]
    return []


def forbidden_property(node: dict[str, Any]) -> str | None:
    """The property that ``not: {required: [name]}`` excludes from an object."""
    match _rules(node):
        case {"required": [str(name)], **rest} if not rest or rest == {"type": "object"}:
            return name
    return None


def _rules(node: dict[str, Any]) -> dict[str, Any]:
    negated = node.get("not")
    if not isinstance(negated, dict):
        return {}
    return {key: value for key, value in negated.items() if key not in ANNOTATIONS}


class _NoOppositeError(Exception):
    """A keyword whose opposite no mask can hold."""


def opposites(document: Document, path: str) -> list[Made] | None:
    """Schemas of which one holds exactly where the schema at ``path`` does not.

    They are spelled as today, without references. None where no mask can hold the opposite; an
    empty list where every value is valid.
    """
    try:
        return list(_Opposite(document).of(path))
    except _NoOppositeError:
        return None


class _Opposite:
    """One negation, bounded in its steps."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._steps = 0

    def of(self, path: str) -> Iterator[Made]:
        node = self._at(path)
        if isinstance(node, bool):
            yield from () if node else ({},)
            return
        for keyword, value in node.items():
            if keyword not in ANNOTATIONS:
                yield from self._of_keyword(path, keyword, value)

    def _at(self, path: str) -> dict[str, Any] | bool:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _NoOppositeError
        node: dict[str, Any] | bool = self._document.at(path)
        return node

    def _of_keyword(self, path: str, keyword: str, value: Any) -> Iterator[Made]:
        inner = f"{path}/{keyword}"
        if keyword in _PLAIN:
            yield from _of_plain(keyword, value)
        elif keyword == "properties":
            for name in value:
                for other in self.of(f"{inner}/{escape(name)}"):
                    yield {"type": "object", "properties": {name: other}, "required": [name]}
        elif keyword == "$ref":
            yield from self.of(self._document.target(path))
        elif keyword == "allOf":
            for i in range(len(value)):
                yield from self.of(f"{inner}/{i}")
        elif keyword == "anyOf":
            yield {"allOf": [_either(self.of(f"{inner}/{i}")) for i in range(len(value))]}
        elif keyword == "not":
            yield self._copy(inner)
        else:
            raise _NoOppositeError

    def _copy(self, path: str) -> Made:
        """The schema itself, in today's spelling and without references."""
        node = self._at(path)
        if isinstance(node, bool):
            return {} if node else {"enum": []}
        rules: list[Made] = []
        for keyword, value in node.items():
            inner = f"{path}/{keyword}"
            if keyword in _PLAIN:
                rules.append({keyword: value})
            elif keyword == "properties":
                copies = {name: self._copy(f"{inner}/{escape(name)}") for name in value}
                rules.append({keyword: copies})
            elif keyword in ("allOf", "anyOf"):
                rules.append({keyword: [self._copy(f"{inner}/{i}") for i in range(len(value))]})
            elif keyword == "$ref":
                rules.append({"allOf": [self._copy(self._document.target(path))]})
            elif keyword == "not":
                rules.append(_either(self.of(inner)))
            elif keyword not in ANNOTATIONS:
                raise _NoOppositeError
        return rules[0] if len(rules) == 1 else {"allOf": rules} if rules else {}


def _of_plain(keyword: str, value: Any) -> Iterator[Made]:
    if keyword in ("const", "enum"):
        yield _none_of(value if keyword == "enum" else [value])
    elif keyword == "type":
        yield _other_type([value] if isinstance(value, str) else value)
    elif keyword == "required":
        for name in value:
            yield {"type": "object", "properties": {name: False}}
    elif keyword in _BOUNDS:
        yield {"type": "number", _BOUNDS[keyword]: _exact(value)}
    else:
        yield from _other_count(keyword, int(value))


def _either(others: Iterator[Made]) -> Made:
    alternatives = list(others)
    if len(alternatives) == 1:
        return alternatives[0]
    return {"anyOf": alternatives} if alternatives else {"enum": []}


def _other_type(types: list[str]) -> Made:
    if "integer" in types and "number" not in types:
        raise _NoOppositeError  # numbers with a fraction: no mask knows them apart
    return {"not": {"type": types}}


def _none_of(values: list[Any]) -> Made:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if any(isinstance(value, list | dict) for value in values) or len(numbers) > _MOST_NUMBERS:
        raise _NoOppositeError
    others = [v for v in values if v is None or isinstance(v, bool | str)]
    rules: list[Made] = [{"not": {"enum": others}}] if others or not numbers else []
    if numbers:
        edges = sorted({_exact(number) for number in numbers})
        gaps: list[Made] = [{"exclusiveMaximum": edges[0]}]
        gaps += [
            {"exclusiveMinimum": low, "exclusiveMaximum": high}
            for low, high in itertools.pairwise(edges)
        ]
        gaps.append({"exclusiveMinimum": edges[-1]})
        between = [{"type": "number", **gap} for gap in gaps]
        rules.append({"anyOf": [{"not": {"type": "number"}}, *between]})
    return rules[0] if len(rules) == 1 else {"allOf": rules}


def _exact(value: float) -> float:
    if abs(value) > EXACT or 0 < abs(value) < NEAREST:
        raise _NoOppositeError
    return value


def _other_count(keyword: str, value: int) -> Iterator[Made]:
    what = keyword[3:]
    if not 0 <= value < _LONGEST:
        raise _NoOppositeError
    if keyword.startswith("max"):
        yield {"type": _COUNTS[what], f"min{what}": value + 1}
    elif value > 0:
        yield {"type": _COUNTS[what], f"max{what}": value - 1}
