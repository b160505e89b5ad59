"""What ``not`` forbids where that is a type, a listed value or a property: held by the mask."""

from __future__ import annotations

from typing import Any

from edgeslm.schema_keywords import ANNOTATIONS


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
