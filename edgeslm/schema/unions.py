"""Unions and conditions of one place: which of their branches are chosen together, in bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from edgeslm.schema.conditions import Branch
from edgeslm.schema.keywords import property_path
from edgeslm.schema.parts import Conjuncts, identity, type_of
from edgeslm.schema.places import Places
from edgeslm.schema.values import listed

#: a schema by its JSON pointer, and whether its branches have been chosen already
Part = tuple[str, bool]

_MAX_BRANCHES = 64
#: how often all properties together may be repeated in the branches that conditions make
_MOST_REPEATED = 640
#: what closes an object in a strict reading, or says that it is open
_CLOSES = frozenset({"additionalProperties", "patternProperties", "properties", "required"})
#: branches that are compared each with each
_MOST_COMPARED = 64


class Choices:
    """Finds the branches that one compiler must choose between."""

    def __init__(self, compiler: Places, strict: bool) -> None:
        self._compiler = compiler
        self._strict = strict
        self._disjoint = Disjoint(compiler.plain, compiler.certificate.budget.spend)

    def combinations(self, parts: tuple[Part, ...]) -> list[Branch]:
        """The branches to choose between; the check gets unions that multiply beyond bounds."""
        combined: list[Branch] = []
        open_paths = [path for path, chosen in parts if not chosen]
        for path, keyword, count in self._unions(open_paths):
            if combined and len(combined) * count > _MAX_BRANCHES:
                note = f"more than {_MAX_BRANCHES} combinations; the finished value is validated"
                self._compiler.certificate.note(path, keyword, "check", note)
                continue
            branches = self._branches(path, keyword, count)
            combined = [one + other for one in combined or [()] for other in branches]
        given = [path for path, _ in parts]
        named = {name for _, node in self._compiler.nodes_of(given) for name in _properties(node)}
        most = min(_MAX_BRANCHES, _MOST_REPEATED // max(1, len(named)))
        for path in open_paths:
            for keyword, branches in self._compiler.rewrites.choices(path):
                joint = self._joined_with(combined, branches, given)
                if not self._affordable(keyword, given) or (combined and len(joint) > most):
                    self._compiler.certificate.leave(path, keyword)
                else:
                    combined = joint
        return combined

    def _unions(self, paths: list[str]) -> list[tuple[str, str, int]]:
        """Each ``anyOf`` and ``oneOf``, and how many branches it has."""
        return [
            (path, keyword, len(node[keyword]))
            for path, node in self._compiler.nodes_of(paths)
            for keyword in ("anyOf", "oneOf")
            if keyword in node
        ]

    def _branches(self, path: str, keyword: str, count: int) -> list[Branch]:
        """The branches of an ``anyOf``, or of a ``oneOf`` as those of an ``anyOf``."""
        branches = [f"{path}/{keyword}/{i}" for i in range(count)]
        if keyword == "oneOf" and self._disjoint.all(branches):
            note = "no value fits two branches, so it is enforced as anyOf"
            self._compiler.certificate.note(path, "oneOf", "rewrite", note)
        elif keyword == "oneOf":
            exclusive = self._compiler.rewrites.exclusive(path, keyword, count)
            if exclusive is not None and self._compiler.within_budget:
                note = "each branch stands with the opposite of all others"
                self._compiler.certificate.note(path, "oneOf", "rewrite", note)
                return exclusive
            note = "branches may overlap; that exactly one holds is checked on the finished value"
            self._compiler.certificate.note(path, "oneOf", "check", note)
        return [(branch,) for branch in branches]

    def _joined_with(
        self, combined: list[Branch], branches: list[Branch], given: list[str]
    ) -> list[Branch]:
        """Pairs each choice with each branch and drops the pairs that contradict each other."""
        joint = [one + other for one in combined or [()] for other in branches]
        return [
            one for one in joint if self._disjoint.possible(self._compiler.nodes_of([*given, *one]))
        ] or joint[:1]

    def _affordable(self, keyword: str, paths: list[str]) -> bool:
        """Whether a condition may become a choice: within bounds, and without closing an object.

        In a strict reading an object is closed by the properties it names, but not by those
        that are named under a condition.
        """
        if not self._compiler.within_budget:
            return False
        if not self._strict or keyword in ("not", "dependentRequired"):
            return True
        nodes = [node for _, node in self._compiler.nodes_of(paths)]
        types = [node["type"] for node in nodes if "type" in node]
        return any(_CLOSES & node.keys() for node in nodes) or any("object" not in t for t in types)


def _properties(node: dict[str, Any]) -> Iterable[str]:
    properties: dict[str, Any] = node.get("properties", {})
    return properties


class Disjoint:
    """Compares the schemas of one compiler; ``plain`` gives a schema with all that it refers to."""

    def __init__(self, plain: Callable[[str], Conjuncts], spend: Callable[[int], None]) -> None:
        self._plain = plain
        self._spend = spend
        self._known: dict[str, Conjuncts] = {}

    def all(self, branches: list[str]) -> bool:
        """Whether no value fits two of these schemas."""
        return len(branches) <= _MOST_COMPARED and all(
            self._pair(one, other) for one, other in itertools.combinations(branches, 2)
        )

    def possible(self, nodes: Conjuncts) -> bool:
        """False if the listed values of a required property exclude each other; a quick test."""
        self._spend(len(nodes))
        for name in {name for _, node in nodes for name in node.get("required", [])}:
            self._spend(len(nodes))
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
        tags: dict[str, list[Any]] = {}
        required = {name for _, node in nodes for name in node.get("required", [])}
        for path, node in nodes:
            for name in required & node.get("properties", {}).keys():
                values = listed(self._nodes(property_path(path, "properties", name)))
                if values:
                    tags[name] = values[2]
        return tags


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
