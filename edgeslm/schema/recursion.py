"""Finite values: branches that need themselves without end are cut off or refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeslm.errors import EmptySchemaError, SchemaError

#: bounds on what the grammar library has to go down, by recursion
_MAX_NESTING = 1500
_MAX_DEFINITIONS = 2000


def ends(closed: dict[str, Any], strict: bool) -> dict[str, Any]:
    """The closed schema without the branches that no finite value can take.

    Raises:
        EmptySchemaError: nothing is left, or, where ``strict``, there is such a branch at all:
            it is a mistake of the author.
        SchemaError: it nests too deep for the grammar library.
    """
    definitions: dict[str, Any] = closed.get("$defs", {})
    if len(definitions) > _MAX_DEFINITIONS:
        raise SchemaError(f"schema: more than {_MAX_DEFINITIONS} definitions are in use", path="")
    finite = _finite_definitions(definitions)
    endless = [name for name in definitions if name not in finite]
    if (endless and strict) or not _finite(closed, finite):
        raise EmptySchemaError(
            f"schema: {', '.join(endless)}: each value needs another one inside it, without end; "
            "make the property optional or allow null",
            path="",
            keyword="$ref",
        )
    if endless:
        kept = {name: _cut(definitions[name], finite) for name in definitions if name in finite}
        closed = {**_cut(closed, finite), "$defs": kept}
    if _nesting(closed) > _MAX_NESTING:
        raise SchemaError(f"schema: definitions nest more than {_MAX_NESTING} deep", path="")
    return closed


def _finite_definitions(definitions: dict[str, Any]) -> set[str]:
    finite: set[str] = set()
    grown = True
    while grown:
        grown = False
        for name in reversed(definitions):  # a definition mostly needs those behind it
            if name not in finite and _finite(definitions[name], finite):
                finite.add(name)
                grown = True
    return finite


def _finite(node: Any, finite: set[str]) -> bool:
    """Whether some value of finite size is valid, given the definitions known to have one."""
    if not isinstance(node, dict):
        return node is not False
    if "$ref" in node:
        return node["$ref"].rpartition("/")[2] in finite
    if "anyOf" in node:
        return any(_finite(branch, finite) for branch in node["anyOf"])
    if node.get("type") == "object":
        needed = [node["properties"].get(name) for name in node.get("required", [])]
        return all(child is not None and _finite(child, finite) for child in needed)
    if node.get("type") == "array":
        count = node.get("minItems", 0)
        items = [*node.get("prefixItems", []), node["items"]]
        return all(_finite(child, finite) for child in items[:count])
    return True


def _cut(node: Any, finite: set[str]) -> Any:
    """A finite closed schema without what is not finite in it."""
    if not isinstance(node, dict) or "$ref" in node:
        return node
    if "anyOf" in node:
        kept = [_cut(branch, finite) for branch in node["anyOf"] if _finite(branch, finite)]
        return {**node, "anyOf": kept}
    if node.get("type") == "object":
        return _cut_object(node, finite)
    if node.get("type") == "array":
        return _cut_array(node, finite)
    return node


def _cut_object(node: dict[str, Any], finite: set[str]) -> dict[str, Any]:
    cut = dict(node)
    for keyword in ("properties", "patternProperties"):
        if keyword in node:
            cut[keyword] = {name: _or_false(child, finite) for name, child in node[keyword].items()}
    cut["additionalProperties"] = _or_false(node["additionalProperties"], finite)
    return cut


def _cut_array(node: dict[str, Any], finite: set[str]) -> dict[str, Any]:
    cut = {**node, "items": _or_false(node["items"], finite)}
    prefix = [_or_false(child, finite) for child in node.get("prefixItems", [])]
    if False in prefix:
        cut["items"] = False
        prefix = prefix[: prefix.index(False)]
    if prefix:
        cut["prefixItems"] = prefix
    else:
        cut.pop("prefixItems", None)
    if cut["items"] is False:
        cut.pop("maxItems", None)
    return cut


def _or_false(node: Any, finite: set[str]) -> Any:
    return _cut(node, finite) if _finite(node, finite) else False


def _nesting(closed: dict[str, Any]) -> int:
    """The depth that a compiler reaches which follows every definition once, at first sight."""
    definitions: dict[str, Any] = closed.get("$defs", {})
    seen: set[str] = set()
    route = [_inside(closed)]
    deepest = 1
    while route:
        child = next(route[-1], None)
        if child is None:
            route.pop()
            continue
        name = child["$ref"].rpartition("/")[2] if "$ref" in child else None
        if name is not None:
            if name in seen:
                continue
            seen.add(name)
            child = definitions[name]
        route.append(_inside(child))
        deepest = max(deepest, len(route))
    return deepest


def _inside(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The closed schemas directly inside one."""
    children = [*node.get("anyOf", ()), *node.get("prefixItems", ())]
    children += [node[key] for key in ("items", "additionalProperties") if key in node]
    for key in ("properties", "patternProperties"):
        children += node.get(key, {}).values()
    if "$ref" in node:
        children.append({"$ref": node["$ref"]})
    return (child for child in children if isinstance(child, dict) and child is not node)
