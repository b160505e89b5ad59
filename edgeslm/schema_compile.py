"""The compiler: schemas that hold together become one closed schema that a grammar can hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from edgeslm.errors import SchemaError
from edgeslm.schema_keywords import ANNOTATIONS, IMPLIES, Certificate
from edgeslm.schema_leaves import (
    Closed,
    Conjuncts,
    Never,
    enumeration,
    identity,
    listed,
    number,
    string,
    tightest,
    type_of,
)
from edgeslm.schema_objects import Objects
from edgeslm.schema_source import Document, where

#: a schema by its JSON pointer, and whether its anyOf and oneOf have been chosen from already
Part = tuple[str, bool]

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_MAX_BRANCHES = 64
_MAX_NODES = 20_000
_MOST_NEEDED = 4096
_MOST_COUNTED = 65_536


class Compiler:
    """Compiles one document. A place is compiled from all the schemas that apply to it.

    ``$ref``, ``allOf`` and the branches of ``anyOf`` are flattened into one list of parts
    before anything is emitted, so that an object is closed over all of its properties.
    What is reached through ``$ref`` becomes a definition, compiled later from a queue:
    that ends recursion of the schema and bounds that of this code.
    """

    def __init__(self, document: Document, close_objects: bool) -> None:
        self.document = document
        self.certificate = Certificate(document)
        self.patterns: list[tuple[str, str, Closed]] = []
        self._short = close_objects  # conformance wants every number, extraction those of texts
        self._objects = Objects(self, close_objects)
        self._names: dict[tuple[Part, ...], str] = {}
        self._queue: list[tuple[Part, ...]] = []
        self._nodes = 0

    def run(self) -> Closed:
        """The closed schema. What cannot be enforced is in the certificate as refused."""
        root = self._settle(self.node(("",)))
        definitions: Closed = {}
        while self._queue:
            parts = self._queue.pop(0)
            definitions[self._names[parts]] = self._settle(self._build(parts))
        if "any" in self._names.values():
            definitions["any"] = _any_value()
        return {"$defs": definitions, **root} if definitions else root

    def node(self, paths: tuple[str, ...]) -> Closed | Never:
        """The closed schema of a place that all of these schemas describe."""
        if not paths:
            self._names[()] = "any"
            return {"$ref": "#/$defs/any"}
        parts, followed = self._expand((path, False) for path in paths)
        return self._shared(parts) if followed else self._build(parts)

    def _settle(self, closed: Closed | Never) -> Closed:
        if isinstance(closed, Never):
            self.certificate.note(closed.path, closed.keyword or "", "refused", closed.note)
            return {"type": "null"}
        return closed

    def _expand(self, parts: Iterable[Part]) -> tuple[tuple[Part, ...], bool]:
        """The parts with everything that $ref and allOf add, and whether a $ref was followed."""
        pending = list(parts)
        found: dict[Part, None] = {}
        followed = False
        while pending:
            part = pending.pop(0)
            path, chosen = part
            if part in found:
                continue
            found[part] = None
            node = self.document.at(path)
            if chosen or not isinstance(node, dict):
                continue
            inner: list[Part] = []
            if "$ref" in node:
                followed = True
                inner.append((self.document.target(path), False))
            inner += [(f"{path}/allOf/{i}", False) for i in range(len(node.get("allOf", [])))]
            pending = inner + pending
            self.certificate.survey(path)
        bare = [part for part in found if self._adds_nothing(part[0])]
        kept = [part for part in found if part not in bare] or list(found)[:1]
        return tuple(kept), followed

    def _adds_nothing(self, path: str) -> bool:
        """Whether the schema only passes on to others, so that equal places share a name."""
        node = self.document.at(path)
        return node is True or (
            isinstance(node, dict) and not set(node) - ANNOTATIONS - {"$ref", "allOf"}
        )

    def _shared(self, parts: tuple[Part, ...]) -> Closed:
        if parts not in self._names:
            steps = parts[0][0].split("/")
            name = steps[-1] if len(steps) > 2 and steps[-2] in ("$defs", "definitions") else "node"
            taken = set(self._names.values()) | {"any"}
            if name in taken or not name.isidentifier():
                name = next(f"node{i}" for i in itertools.count(1) if f"node{i}" not in taken)
            self._names[parts] = name
            self._queue.append(parts)
        return {"$ref": f"#/$defs/{self._names[parts]}"}

    def _build(self, parts: tuple[Part, ...]) -> Closed | Never:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise SchemaError(
                f"{where(parts[0][0])}: the schema unfolds into more than {_MAX_NODES} places",
                path=parts[0][0],
            )
        for path, _ in parts:
            if self.document.at(path) is False:
                return Never(path, None, "no value is valid")
        unions = self._unions(parts)
        return self._union(parts, unions) if unions else self._value(parts)

    def _unions(self, parts: tuple[Part, ...]) -> list[list[str]]:
        """The branches to choose from; what would multiply beyond bounds is left to the check."""
        found: list[list[str]] = []
        total = 1
        for path, chosen in parts:
            node = self.document.at(path)
            for keyword in ("anyOf", "oneOf"):
                if chosen or not isinstance(node, dict) or keyword not in node:
                    continue
                branches = [f"{path}/{keyword}/{i}" for i in range(len(node[keyword]))]
                if found and total * len(branches) > _MAX_BRANCHES:
                    note = (
                        f"more than {_MAX_BRANCHES} combinations; the finished value is validated"
                    )
                    self.certificate.note(path, keyword, "check", note)
                    continue
                if keyword == "oneOf":
                    self._one_of(path, branches)
                total *= len(branches)
                found.append(branches)
        return found

    def _union(self, parts: tuple[Part, ...], unions: list[list[str]]) -> Closed | Never:
        base = tuple((path, True) for path, _ in parts)
        alone = all(self._only_unions(path) for path, _ in parts)
        kept: list[Closed] = []
        lost: list[Never] = []
        for combination in itertools.product(*unions):
            if alone:
                branch = self.node(combination)
            else:
                found, followed = self._expand([*base, *((path, False) for path in combination)])
                branch = self._shared(found) if followed else self._build(found)
            if isinstance(branch, Never):
                lost.append(branch)
            else:
                kept += branch["anyOf"] if set(branch) == {"anyOf"} else [branch]
        if not kept:
            return lost[0]
        for never in lost:
            if never.keyword is not None:
                note = f"a branch that no value can take is left out: {never.note}"
                self.certificate.note(never.path, never.keyword, "rewrite", note)
        distinct = list({identity(branch): branch for branch in kept}.values())
        return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}

    def _only_unions(self, path: str) -> bool:
        return not set(self.document.at(path)) - ANNOTATIONS - {"anyOf", "oneOf", "$ref", "allOf"}

    def _value(self, parts: tuple[Part, ...]) -> Closed | Never:
        nodes: Conjuncts = [
            (path, node) for path, _ in parts if isinstance(node := self.document.at(path), dict)
        ]
        values = listed(nodes)
        if values is not None and not values[2]:
            return Never(values[0], values[1], "no value is listed, or none in all lists")
        types = self._types(nodes, values)
        if isinstance(types, Never):
            return types
        if types is None:
            return self.node(())
        by_type: dict[str, Closed] = {}
        never: Never | None = None
        for name in types:
            if values is not None and name in ("array", "object"):
                by_type[name] = {"type": name}  # listed whole: what they hold is checked
                continue
            closed = self._of_type(name, nodes)
            if isinstance(closed, Never):
                never = closed
            else:
                by_type[name] = closed
        if values is not None:
            return enumeration(*values, by_type, self.certificate)
        if "pattern" in by_type.get("string", {}):
            path = next(path for path, node in nodes if "pattern" in node)
            self.patterns.append((path, "pattern", by_type["string"]))
        if never is not None and not by_type:
            return never
        if never is not None and never.keyword is not None:
            self.certificate.note(never.path, never.keyword, "rewrite", f"left out: {never.note}")
        branches = list(by_type.values())
        return branches[0] if len(branches) == 1 else {"anyOf": branches}

    def _of_type(self, name: str, nodes: Conjuncts) -> Closed | Never:
        if name == "string":
            return string(nodes, self.certificate)
        if name in ("number", "integer"):
            return number(nodes, name == "integer", self.certificate, short=self._short)
        if name == "array":
            return self._array(nodes)
        if name == "object":
            return self._objects.compile(nodes)
        return {"type": name}

    def _types(
        self, nodes: Conjuncts, values: tuple[str, str, list[Any]] | None
    ) -> list[str] | Never | None:
        """The JSON types that are left, in the author's order; None where anything goes."""
        allowed: list[str] | None = None
        place = ("", "type")
        for path, node in nodes:
            if "type" not in node:
                continue
            given = node["type"] if isinstance(node["type"], list) else [node["type"]]
            place = (path, "type")
            if allowed is None:
                allowed = list(given)
            else:
                allowed = [name for name in _TYPES if _has(allowed, name) and _has(given, name)]
        if allowed is None and values is not None:
            allowed = list(dict.fromkeys(type_of(value) for value in values[2]))
            place = values[:2]
        if allowed is None:
            allowed = self._implied(nodes)
        if allowed is None:
            return None
        if "number" in allowed:
            allowed = [name for name in allowed if name != "integer"]
        return allowed or Never(*place, "the types exclude one another")

    def _implied(self, nodes: Conjuncts) -> list[str] | None:
        found: dict[str, None] = {}
        for path, node in nodes:
            for keyword in node:
                if keyword in IMPLIES:
                    found[IMPLIES[keyword]] = None
                    note = f"no type is given: read as {IMPLIES[keyword]}"
                    self.certificate.note(path, keyword, "rewrite", note)
        return list(found) or None

    def _array(self, nodes: Conjuncts) -> Closed | Never:
        low = tightest(nodes, "minItems", max) or ("", 0)
        high = tightest(nodes, "maxItems", min)
        if high and low[1] > high[1]:
            return Never(low[0], "minItems", f"minItems {low[1]} is above maxItems {high[1]}")
        if low[1] > _MOST_NEEDED:
            note = f"more than {_MOST_NEEDED} items cannot be demanded"
            self.certificate.note(low[0], "minItems", "refused", note)
        limit = high[1] if high else None
        if high and high[1] > _MOST_COUNTED:
            limit = None
            self.certificate.note(high[0], "maxItems", "check", "too many for a mask")
        places = [_items(path, node, self.document.draft) for path, node in nodes]
        prefix = self._prefix(places, limit)
        rest = False if limit == len(prefix) else self._rest(places)
        never = next((child for child in (*prefix, rest) if isinstance(child, Never)), None)
        if never is not None and never.keyword is not None:
            return never
        possible = [child for child in prefix if not isinstance(child, Never)]
        ends = len(possible) < len(prefix) or isinstance(rest, Never) or rest is False
        if ends and low[1] > len(possible):
            return never or Never(low[0], "minItems", f"there cannot be {low[1]} items")
        closed: Closed = {"type": "array", "items": False if ends else rest}
        if possible:
            closed["prefixItems"] = possible
        if low[1]:
            closed["minItems"] = low[1]
        if limit is not None and not ends:
            closed["maxItems"] = limit
        return closed

    def _prefix(
        self, places: list[tuple[list[str], str | None]], limit: int | None
    ) -> list[Closed | Never]:
        """The first items; the list ends with the first that can hold no value."""
        found: list[Closed | Never] = []
        longest = max(len(first) for first, _ in places)
        for i in range(longest if limit is None else min(longest, limit)):
            paths = [first[i] if i < len(first) else rest for first, rest in places]
            found.append(self.node(tuple(path for path in paths if path)))
            if isinstance(found[-1], Never):
                break
        return found

    def _rest(self, places: list[tuple[list[str], str | None]]) -> Closed | Never:
        return self.node(tuple(rest for _, rest in places if rest))

    def _one_of(self, path: str, branches: list[str]) -> None:
        if len(branches) <= _MAX_BRANCHES and all(
            self._disjoint(one, other) for one, other in itertools.combinations(branches, 2)
        ):
            note = "no value fits two branches, so it is enforced as anyOf"
            self.certificate.note(path, "oneOf", "rewrite", note)
        else:
            note = "branches may overlap; that exactly one holds is checked on the finished value"
            self.certificate.note(path, "oneOf", "check", note)

    def _disjoint(self, one: str, other: str) -> bool:
        """Whether types or the constants of a required property keep two schemas apart."""
        first, second = self._plain(one), self._plain(other)
        types = [self._stated_types(nodes) for nodes in (first, second)]
        if types[0] and types[1] and not any(_has(types[1], name) for name in _covered(types[0])):
            return True
        values = listed(first), listed(second)
        if values[0] and values[1] and _apart(values[0][2], values[1][2]):
            return True
        if types != [["object"], ["object"]]:
            return False
        tags = self._tags(first), self._tags(second)
        return any(_apart(tags[0][name], tags[1][name]) for name in tags[0].keys() & tags[1].keys())

    def _plain(self, path: str) -> Conjuncts:
        parts, _ = self._expand([(path, False)])
        nodes = [(place, self.document.at(place)) for place, _ in parts]
        return [(place, node) for place, node in nodes if isinstance(node, dict)]

    def _stated_types(self, nodes: Conjuncts) -> list[str]:
        for _, node in nodes:
            if "type" in node:
                return node["type"] if isinstance(node["type"], list) else [node["type"]]
        values = listed(nodes)
        return [type_of(value) for value in values[2]] if values else []

    def _tags(self, nodes: Conjuncts) -> dict[str, list[Any]]:
        """The constants of the required properties."""
        found: dict[str, list[Any]] = {}
        required = {name for _, node in nodes for name in node.get("required", [])}
        for path, node in nodes:
            for name in required & node.get("properties", {}).keys():
                step = name.replace("~", "~0").replace("/", "~1")
                values = listed(self._plain(f"{path}/properties/{step}"))
                if values:
                    found[name] = values[2]
        return found


def _has(types: list[str], name: str) -> bool:
    return name in types or (name == "integer" and "number" in types)


def _covered(types: list[str]) -> list[str]:
    return [*types, "integer"] if "number" in types else types


def _apart(one: list[Any], other: list[Any]) -> bool:
    return not {identity(value) for value in one} & {identity(value) for value in other}


def _items(path: str, node: dict[str, Any], draft: int) -> tuple[list[str], str | None]:
    """Where the schemas of the first items and of the rest are."""
    first, rest = ("items", "additionalItems") if draft == 7 else ("prefixItems", "items")
    if draft == 7 and not isinstance(node.get("items"), list):
        first, rest = "prefixItems", "items"
    places = [f"{path}/{first}/{i}" for i in range(len(node.get(first, [])))]
    return places, f"{path}/{rest}" if rest in node else None


def _any_value() -> Closed:
    """Any JSON value, its numbers spelled like all others."""
    again = {"$ref": "#/$defs/any"}
    numbers = [{"type": "number", "minimum": 0}, {"type": "number", "maximum": -1e-15}]
    return {
        "anyOf": [
            {"type": "string"},
            *numbers,
            {"type": "boolean"},
            {"type": "null"},
            {"type": "array", "items": again},
            {"type": "object", "additionalProperties": again},
        ]
    }
