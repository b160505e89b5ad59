"""Which schemas no value fits together: by types, listed values, and required properties."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from edgeslm.schema.keywords import property_path
from edgeslm.schema.parts import Conjuncts, identity, listed, type_of

_MOST_COMPARED = 64


class Disjoint:
    """Compares the schemas of one compiler; ``plain`` gives a schema with all that it refers to."""

    def __init__(self, plain: Callable[[str], Conjuncts]) -> None:
        self._plain = plain
        self._known: dict[str, Conjuncts] = {}

    def all(self, branches: list[str]) -> bool:
        """Whether no value fits two of these schemas."""
        return len(branches) <= _MOST_COMPARED and all(
            self._pair(one, other) for one, other in itertools.combinations(branches, 2)
        )

    def possible(self, nodes: Conjuncts) -> bool:
        """False where the required properties of one object leave no value, seen at a glance."""
        for name in {name for _, node in nodes for name in node.get("required", [])}:
            inner: Conjuncts = []
            for path, node in nodes:
                if name not in node.get("properties", {}):
                    continue
                if node["properties"][name] is False:
                    return False
                inner += self._nodes(property_path(path, "properties", name))
            values = listed(inner)
            if values is not None and not values[2]:
                return False
        return True

    def _nodes(self, path: str) -> Conjuncts:
        if path not in self._known:
            self._known[path] = self._plain(path)
        return self._known[path]

    def _pair(self, one: str, other: str) -> bool:
        first, second = self._nodes(one), self._nodes(other)
        types = [_stated_types(nodes) for nodes in (first, second)]
        if types[0] and types[1] and not any(has(types[1], name) for name in _covered(types[0])):
            return True
        values = listed(first), listed(second)
        if values[0] and values[1] and _apart(values[0][2], values[1][2]):
            return True
        if types != [["object"], ["object"]]:
            return False
        tags = self._tags(first), self._tags(second)
        return any(_apart(tags[0][name], tags[1][name]) for name in tags[0].keys() & tags[1].keys())

    def _tags(self, nodes: Conjuncts) -> dict[str, list[Any]]:
        """The constants of the required properties."""
        found: dict[str, list[Any]] = {}
        required = {name for _, node in nodes for name in node.get("required", [])}
        for path, node in nodes:
            for name in required & node.get("properties", {}).keys():
                values = listed(self._nodes(property_path(path, "properties", name)))
                if values:
                    found[name] = values[2]
        return found


def has(types: Iterable[str], name: str) -> bool:
    """Whether one of these types holds every value of the type ``name``."""
    return name in types or (name == "integer" and "number" in types)


def _stated_types(nodes: Conjuncts) -> list[str]:
    for _, node in nodes:
        if "type" in node:
            return node["type"] if isinstance(node["type"], list) else [node["type"]]
    values = listed(nodes)
    return [type_of(value) for value in values[2]] if values else []


def _covered(types: list[str]) -> list[str]:
    return [*types, "integer"] if "number" in types else types


def _apart(one: list[Any], other: list[Any]) -> bool:
    return not {identity(value) for value in one} & {identity(value) for value in other}
