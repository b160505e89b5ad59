"""The compiler: schemas that hold together become one closed schema that a grammar can hold."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from edgeslm.errors import SchemaError
from edgeslm.schema.conditions import CONDITIONS, Branch, Rewrites
from edgeslm.schema.containers import Arrays, Objects
from edgeslm.schema.document import Document, where
from edgeslm.schema.keywords import ANNOTATIONS, IMPLIES, Certificate
from edgeslm.schema.negation import forbidden_types, forbidden_values
from edgeslm.schema.numbers import number
from edgeslm.schema.parts import Closed, Conjuncts, Never, identity, type_of
from edgeslm.schema.strings import string
from edgeslm.schema.unions import Choices, Part, has
from edgeslm.schema.values import enumeration, listed

#: keywords of no type that a mask may hold
_HELD = frozenset({"type", "enum", "const", "anyOf", "oneOf", "then", "else", *CONDITIONS})
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_MAX_NODES = 20_000
#: places from which on conditions are checked instead of rewritten
_MOST_REWRITTEN = 2_000
#: schemas joined, over all places: those that refer to each other in circles join without end
_MOST_JOINED = 10_000
_MOST_SHARED = 1500
#: steps of the budget that one place takes, beside its looks at schemas
_NODE_STEPS = 40


class Compiler:
    """Compiles one document. A place is compiled from all the schemas that apply to it.

    ``$ref``, ``allOf`` and the branches of ``anyOf`` are flattened into one list of parts
    before anything is emitted, so that an object is closed over all of its properties.
    What is reached through ``$ref`` becomes a definition, compiled later from a queue:
    that ends recursion of the schema and bounds that of this code.
    """

    def __init__(self, document: Document, close_objects: bool, rewrite: bool) -> None:
        self.document = document
        self.rewrites = Rewrites(document, rewrite)
        self.certificate = Certificate(document, close_objects, self.rewrites.holds)
        #: whether the root has no value
        self.empty = False
        self._strict = close_objects
        self._objects = Objects(self, close_objects)
        self._choices = Choices(self, close_objects)
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
        """Any value; the keywords are left to the check, since too many schemas join."""
        note = "too many schemas join each other; the finished value is validated"
        for path, _ in parts:
            for keyword in self.document.at(path):
                if keyword in IMPLIES or keyword in _HELD:
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
        pending = deque(parts)
        expanded: dict[Part, None] = {}
        followed = False
        while pending:
            part = pending.popleft()
            path, chosen = part
            if part in expanded:
                continue
            expanded[part] = None
            node = self.document.at(path)
            if chosen or not isinstance(node, dict):
                continue
            inner: list[Part] = []
            if "$ref" in node:
                followed = True
                inner.append((self.document.target(path), False))
            inner += [(f"{path}/allOf/{i}", False) for i in range(len(node.get("allOf", [])))]
            pending.extendleft(reversed(inner))
            self.certificate.survey(path)
        bare = {part for part in expanded if self._adds_nothing(part[0])}
        kept = [part for part in expanded if part not in bare] or list(expanded)[:1]
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
        self.document.budget.spend(_NODE_STEPS)
        if self._nodes > _MAX_NODES:
            raise SchemaError(
                f"{where(parts[0][0])}: the schema must unfold into at most {_MAX_NODES} places",
                path=parts[0][0],
            )
        for path, _ in parts:
            if self.document.at(path) is False:
                return Never(path, None, "no value is valid")
        self._joined += len(parts) - 1
        if len(parts) > 1 and self._exhausted:
            return self._unjoined(parts)
        combinations = self._choices.combinations(parts)
        return self._union(parts, combinations) if combinations else self._value(parts)

    @property
    def within_budget(self) -> bool:
        """Whether there is room for more places than the author wrote."""
        return self._nodes < _MOST_REWRITTEN and not self._exhausted

    def _union(self, parts: tuple[Part, ...], combinations: list[Branch]) -> Closed | Never:
        base = tuple((path, True) for path, _ in parts)
        alone = all(self._only_unions(path) for path, _ in parts)
        kept: list[Closed] = []
        lost: list[tuple[Never, bool]] = []
        for combination in combinations:
            if self._exhausted:
                return self._unjoined(parts)
            if alone:
                branch = self.node(combination)
            else:
                expanded, followed = self._expand([*base, *((path, False) for path in combination)])
                branch = self._shared(expanded) if followed else self._build(expanded)
            if not isinstance(branch, Never):
                kept += branch["anyOf"] if set(branch) == {"anyOf"} else [branch]
            else:
                lost.append((branch, any(map(self.rewrites.conditional, combination))))
        if not kept:
            return lost[0][0]
        for never, conditional in lost:
            if never.keyword is not None and not conditional:
                note = f"a branch that no value can take is left out: {never.note}"
                self.certificate.note(never.path, never.keyword, "rewrite", note)
        distinct = list({json.dumps(branch): branch for branch in kept}.values())
        return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}

    def _only_unions(self, path: str) -> bool:
        return not set(self.document.at(path)) - ANNOTATIONS - {"anyOf", "oneOf", "$ref", "allOf"}

    def _value(self, parts: tuple[Part, ...]) -> Closed | Never:
        nodes = self.nodes_of(path for path, _ in parts)
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
        return self._plain_type(name, nodes)

    def _plain_type(self, name: str, nodes: Conjuncts) -> Closed | Never:
        """A boolean or null, without the values that ``not`` forbids."""
        values: list[bool | None] = [None] if name == "null" else [True, False]
        for path, node in nodes:
            forbidden = {identity(value) for value in forbidden_values(node)}
            left = [value for value in values if identity(value) not in forbidden]
            if not left:
                return Never(path, "not", f"it leaves no {name}")
            values = left
        return {"type": name} if name == "null" or len(values) == 2 else {"enum": values}

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
                allowed = [name for name in _TYPES if has(allowed, name) and has(given, name)]
        if allowed is None and values is not None:
            allowed = list(dict.fromkeys(type_of(value) for value in values[2]))
            place = values[:2]
        if allowed is None:
            allowed = self._implied(nodes)
        if allowed is None and any(
            forbidden_types(node) or forbidden_values(node) for _, node in nodes
        ):
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
            if forbidden and not self.rewrites.exact(path, "not"):
                self.certificate.note(path, "not", "check", "the mask leaves out the types")
            allowed = [name for name in allowed if name not in forbidden]
        return allowed

    def _implied(self, nodes: Conjuncts) -> list[str] | None:
        """The types that keywords such as ``minimum`` speak of; the standard says: every type."""
        if not self._strict:
            return list(_TYPES) if any(IMPLIES.keys() & node.keys() for _, node in nodes) else None
        types: dict[str, None] = {}
        for path, node in nodes:
            for keyword in node:
                if keyword in IMPLIES:
                    types[IMPLIES[keyword]] = None
                    note = f"no type is given: read as {IMPLIES[keyword]}"
                    self.certificate.note(path, keyword, "rewrite", note)
        return list(types) or None

    def plain(self, path: str) -> Conjuncts:
        """A schema with all that it refers to."""
        parts, _ = self._expand([(path, False)])
        return self.nodes_of(place for place, _ in parts)

    def nodes_of(self, paths: Iterable[str]) -> Conjuncts:
        """The schemas at these places that are objects."""
        nodes = [(path, self.document.at(path)) for path in paths]
        return [(path, node) for path, node in nodes if isinstance(node, dict)]


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
