"""The compiler: schemas that hold together become one closed schema that a grammar can hold."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Any

from edgeslm.errors import SchemaError
from edgeslm.schema_arrays import Arrays
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
    type_of,
)
from edgeslm.schema_negation import forbidden_types
from edgeslm.schema_objects import Objects
from edgeslm.schema_source import Document, where

#: a schema by its JSON pointer, and whether its anyOf and oneOf have been chosen from already
Part = tuple[str, bool]

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_MAX_BRANCHES = 64
_MAX_NODES = 20_000
#: schemas joined, over all places: those that refer to each other in circles join without end
_MOST_JOINED = 10_000
_MOST_SHARED = 1500


class Compiler:
    """Compiles one document. A place is compiled from all the schemas that apply to it.

    ``$ref``, ``allOf`` and the branches of ``anyOf`` are flattened into one list of parts
    before anything is emitted, so that an object is closed over all of its properties.
    What is reached through ``$ref`` becomes a definition, compiled later from a queue:
    that ends recursion of the schema and bounds that of this code.
    """

    def __init__(self, document: Document, close_objects: bool) -> None:
        self.document = document
        self.certificate = Certificate(document, strict=close_objects)
        #: whether the root has no value
        self.empty = False
        self._strict = close_objects
        self._objects = Objects(self, close_objects)
        self._arrays = Arrays(self, document.draft, close_objects)
        self._names: dict[tuple[Part, ...], str] = {}
        self._taken = {"any"}
        self._numbers = itertools.count(1)
        self._queue: deque[tuple[Part, ...]] = deque()
        self._nodes = 0
        self._joined = 0

    def run(self) -> Closed:
        """The closed schema. What cannot be enforced is in the certificate as refused."""
        built = self.node(("",))
        self.empty = isinstance(built, Never)
        settled = self._settle(built)
        root: Closed = settled if isinstance(settled, dict) else {"type": "null"}
        definitions: Closed = {}
        while self._queue:
            parts = self._queue.popleft()
            built = self._build(parts)
            if isinstance(built, Never) and not self._strict:
                definitions[self._names[parts]] = False
            else:
                definitions[self._names[parts]] = self._settle(built)
        if "any" in self._names.values():
            definitions["any"] = _any_value()
        return {"$defs": definitions, **root} if definitions else root

    def node(self, paths: tuple[str, ...]) -> Closed | Never:
        """The closed schema of a place that all of these schemas describe."""
        if not paths:
            return self.anything()
        parts, followed = self._expand((path, False) for path in paths)
        return self._shared(parts) if followed else self._build(parts)

    @property
    def _exhausted(self) -> bool:
        return self._joined > _MOST_JOINED or len(self._names) > _MOST_SHARED

    def _unjoined(self, parts: tuple[Part, ...]) -> Closed:
        """Any value, where too many schemas join to follow them all."""
        note = "too many schemas join each other; the finished value is validated"
        for path, _ in parts:
            for keyword in self.document.at(path):
                if keyword in IMPLIES or keyword in ("type", "enum", "const", "anyOf", "oneOf"):
                    self.certificate.note(path, keyword, "check", note)
        return self.anything()

    def anything(self) -> Closed:
        """Any JSON value."""
        self._names[()] = "any"
        return {"$ref": "#/$defs/any"}

    def _settle(self, closed: Closed | Never) -> Closed | bool:
        if isinstance(closed, Never):
            self.certificate.note(closed.path, closed.keyword or "", "refused", closed.note)
            return False
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
        bare = {part for part in found if self._adds_nothing(part[0])}
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
            if len(parts) > 1 and self._exhausted:
                return self._unjoined(parts)
            steps = parts[0][0].split("/")
            name = steps[-1] if len(steps) > 2 and steps[-2] in ("$defs", "definitions") else "node"
            while name in self._taken or not name.isidentifier():
                name = f"node{next(self._numbers)}"
            self._taken.add(name)
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
        self._joined += len(parts) - 1
        if len(parts) > 1 and self._exhausted:
            return self._unjoined(parts)
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
            if self._exhausted:
                return self._unjoined(parts)
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
            return number(nodes, name == "integer", self.certificate, short=self._strict)
        if name == "array":
            return self._arrays.compile(nodes)
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
        if allowed is None and any(forbidden_types(node) for _, node in nodes):
            allowed = list(_TYPES)
        if allowed is None:
            return None
        allowed = self._not_forbidden(allowed, nodes)
        if "number" in allowed:
            allowed = [name for name in allowed if name != "integer"]
        return allowed or Never(*place, "the types exclude one another")

    def _not_forbidden(self, allowed: list[str], nodes: Conjuncts) -> list[str]:
        for path, node in nodes:
            forbidden = forbidden_types(node)
            if forbidden:
                self.certificate.note(path, "not", "check", "the mask leaves out the types")
            allowed = [name for name in allowed if name not in forbidden]
        return allowed

    def _implied(self, nodes: Conjuncts) -> list[str] | None:
        """The types that keywords such as ``minimum`` speak of; the standard says: every type."""
        if not self._strict:
            return list(_TYPES) if any(IMPLIES.keys() & node.keys() for _, node in nodes) else None
        found: dict[str, None] = {}
        for path, node in nodes:
            for keyword in node:
                if keyword in IMPLIES:
                    found[IMPLIES[keyword]] = None
                    note = f"no type is given: read as {IMPLIES[keyword]}"
                    self.certificate.note(path, keyword, "rewrite", note)
        return list(found) or None

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
