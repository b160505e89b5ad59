"""Objects and arrays of a closed schema: their properties and items, and how many of them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from typing import Any

from edgeslm.schema.budget import Budget
from edgeslm.schema.keywords import ANNOTATIONS, property_path
from edgeslm.schema.negation import forbidden_property
from edgeslm.schema.parts import Closed, Conjuncts, Never, hold, tightest
from edgeslm.schema.places import Places
from edgeslm.schema.regex import disjoint, validator

#: keywords by which properties that are not in sight here may count as evaluated
_EVALUATE = frozenset({
    "$dynamicRef", "$recursiveRef", "anyOf", "dependentSchemas", "else", "if", "oneOf", "then",
})  # fmt: skip
#: how many sets of properties a choice may have that stands for their count
_MOST_SETS = 64
#: bound on the JSON of all sets together, in characters
_MOST_TEXT = 50_000
#: the largest count of properties that a mask holds
_MOST_PROPERTIES = 4096
#: the most items that can be demanded, and the largest count of them that a mask holds
_MOST_NEEDED = 4096
_MOST_ITEMS = 65_536


class Objects:
    """Emits the objects of one compiler."""

    def __init__(self, compiler: Places, close: bool) -> None:
        self._compiler = compiler
        self._close = close

    def compile(self, nodes: Conjuncts) -> Closed | Never:
        """The closed object that all of these schemas allow."""
        names = self._names(nodes)
        members = _Members(nodes, self._compiler.certificate.budget)
        stated = self._stated(nodes)
        own_names = set(self._names(stated))
        own = None
        if len(stated) < len(nodes):
            own = _Members(stated, self._compiler.certificate.budget, own_names)
        forbidden = {forbidden_property(node): path for path, node in nodes}
        patterns = self._patterns(nodes, names, members)
        if patterns is None:
            extras: Closed | bool | Never = self._any()
        else:
            extras = self._extras(nodes, closed=bool(own_names - forbidden.keys() or patterns))
        if isinstance(patterns, Never) or isinstance(extras, Never):
            return patterns if isinstance(patterns, Never) else extras  # type: ignore[return-value]
        required = {name for _, node in nodes for name in node.get("required", [])}
        properties: Closed = {}
        for name in names:
            speaking = own if extras is False and own is not None else members
            child = self._property(name, members, speaking, forbidden)
            if not isinstance(child, Never):
                properties[name] = child
            elif name in required or (name not in forbidden and self._mistake(child, nodes)):
                return child
            elif extras is not False or patterns or name in forbidden:
                properties[name] = False
        closed: Closed = {"type": "object", "properties": properties}
        if required:
            closed["required"] = [name for name in names if name in required]
        if patterns:
            closed["patternProperties"] = patterns
        closed["additionalProperties"] = extras
        return _counted(nodes, closed, self._compiler)

    def _mistake(self, never: Never, nodes: Conjuncts) -> bool:
        """Whether a place that no value fits must be a mistake of the author."""
        return (
            self._close
            and never.keyword is not None
            and not any(self._compiler.rewrites.conditional(path) for path, _ in nodes)
        )

    def _stated(self, nodes: Conjuncts) -> Conjuncts:
        return [(path, node) for path, node in nodes if not self._compiler.rewrites.tests(path)]

    def _property(
        self, name: str, members: _Members, own: _Members, forbidden: dict[str | None, str]
    ) -> Closed | Never:
        """The closed schema of a property; ``own`` are those that may add one to the object."""
        if name in forbidden:
            return Never(forbidden[name], "not", f"{name!r} is required and forbidden")
        if own is not members and not own.speaks_of(name):
            return Never(members.first, None, f"the object has no property {name!r}")
        return self._compiler.node(tuple(members.schemas_of(name)))

    def _names(self, nodes: Conjuncts) -> list[str]:
        """All property names that any part speaks of, in order of appearance."""
        spoken_of: dict[str, None] = {}
        for _, node in nodes:
            spoken_of |= dict.fromkeys(node.get("properties", {}))
            forbidden = forbidden_property(node)
            spoken_of |= {} if forbidden is None else {forbidden: None}
        for path, node in nodes:
            for name in node.get("required", []):
                if name not in spoken_of:
                    spoken_of[name] = None
                    note = f"{name!r} is not among the properties: any value is taken for it"
                    self._compiler.certificate.note(path, "required", "rewrite", note)
        for path, node in nodes:
            names = self._named_by(node)
            if isinstance(names, list):
                spoken_of |= dict.fromkeys(names)
                note = "the listed names become optional properties"
                self._compiler.certificate.note(path, "propertyNames", "rewrite", note)
            elif names is None and "propertyNames" in node:
                self._compiler.certificate.check(path, "propertyNames")
        return list(spoken_of)

    def _named_by(self, node: dict[str, Any]) -> list[str] | str | None:
        """What ``propertyNames`` allows, if that is a list of names or one pattern."""
        rules = node.get("propertyNames")
        if not isinstance(rules, dict) or "properties" in node or "patternProperties" in node:
            return None
        match {key: value for key, value in rules.items() if key not in ANNOTATIONS | {"type"}}:
            case {"enum": list(names), **rest} if not rest:
                return [name for name in names if isinstance(name, str)]
            case {"pattern": str(pattern), **rest} if not rest:
                return pattern
        return None

    def _patterns(
        self, nodes: Conjuncts, names: list[str], members: _Members
    ) -> Closed | Never | None:
        """The schemas of properties by pattern; None where no mask can hold a pattern."""
        places: dict[str | None, list[str]] = {}
        for path, keyword, pattern, paths in self._pattern_places(nodes):
            held = hold(path, keyword, pattern, self._compiler.certificate)
            places.setdefault(held, []).extend(paths)
        held_places = {pattern: paths for pattern, paths in places.items() if pattern is not None}
        if len(held_places) < len(places):
            self._check_patterns(nodes)
            return None
        if not disjoint(tuple(held_places)):
            self._check_patterns(nodes)
            return {"|".join(f"(?:{pattern})" for pattern in held_places): True}
        closed: Closed = {}
        for pattern, paths in held_places.items():
            child = self._compiler.node(tuple(paths))
            if isinstance(child, Never):
                if self._mistake(child, nodes):
                    return child
                closed[pattern] = False
            elif any(members.matches(pattern, name) for name in names):
                # the library would join it to the named property, where it is joined already
                self._check_patterns(nodes)
                closed[pattern] = True
            else:
                closed[pattern] = child
        return closed

    def _pattern_places(self, nodes: Conjuncts) -> Iterator[tuple[str, str, str, list[str]]]:
        """Each pattern for names: its schema and keyword, itself, and the schemas of the values."""
        for path, node in nodes:
            for pattern in node.get("patternProperties", {}):
                inner = property_path(path, "patternProperties", pattern)
                yield path, "patternProperties", pattern, [inner]
            named = self._named_by(node)
            if isinstance(named, str):
                note = "becomes patternProperties"
                self._compiler.certificate.note(path, "propertyNames", "rewrite", note)
                rest = [f"{path}/additionalProperties"] if "additionalProperties" in node else []
                yield path, "propertyNames", named, rest
            if len(nodes) > 1 and "patternProperties" in node:
                self._compiler.certificate.check(path, "patternProperties")

    def _check_patterns(self, nodes: Conjuncts) -> None:
        for path, node in nodes:
            for keyword in {"patternProperties", "propertyNames"} & node.keys():
                self._compiler.certificate.check(path, keyword)

    def _extras(self, nodes: Conjuncts, closed: bool) -> Closed | bool | Never:
        """What a property that is not named may hold; False where there may be none."""
        if any(self._named_by(node) is not None for _, node in nodes):
            return False
        places = [
            f"{path}/additionalProperties" for path, node in nodes if "additionalProperties" in node
        ]
        if places:
            child = self._compiler.node(tuple(places))
            if isinstance(child, Never):
                return child if self._mistake(child, nodes) else False
            return child
        if any(node.get("unevaluatedProperties") is False for _, node in nodes) and (
            self._close or not any(_EVALUATE & node.keys() for _, node in nodes)
        ):
            return False
        if self._close and closed:
            note = "not given: the object is closed, only the named properties are written"
            path = nodes[0][0]
            self._compiler.certificate.note(path, "additionalProperties", "rewrite", note)
            return False
        return self._any()

    def _any(self) -> Closed:
        child = self._compiler.node(())
        assert not isinstance(child, Never)
        return child


class _Members:
    """Which of the schemas of one object speak of a property."""

    def __init__(self, nodes: Conjuncts, budget: Budget, names: Collection[str] = ()) -> None:
        self.first = nodes[0][0] if nodes else ""
        self._names = names
        self._budget = budget
        self._named: dict[str, list[tuple[int, str]]] = {}
        #: the schemas that may speak of any name: by pattern, or for the rest
        self._open: Conjuncts = []
        self._index: list[int] = []
        self._validators: dict[str, Callable[[str], bool]] = {}
        for i, (path, node) in enumerate(nodes):
            for name in node.get("properties", {}):
                place = property_path(path, "properties", name)
                self._named.setdefault(name, []).append((i, place))
            if "patternProperties" in node or "additionalProperties" in node:
                self._open.append((path, node))
                self._index.append(i)

    def speaks_of(self, name: str) -> bool:
        """Whether a property has a schema here, or is among the names."""
        return name in self._names or bool(self.schemas_of(name))

    def schemas_of(self, name: str) -> list[str]:
        """The schemas of a property: its own, those by pattern, or the one for the rest."""
        placed = list(self._named.get(name, []))
        self._budget.spend(len(placed) + len(self._open))
        for i, (path, node) in zip(self._index, self._open, strict=True):
            met = name in node.get("properties", {})
            for pattern in node.get("patternProperties", {}):
                if self.matches(pattern, name):
                    met = True
                    placed.append((i, property_path(path, "patternProperties", pattern)))
            if not met and "additionalProperties" in node:
                placed.append((i, f"{path}/additionalProperties"))
        return [path for _, path in sorted(placed, key=itemgetter(0))]

    def matches(self, pattern: str, name: str) -> bool:
        """Whether the validator of the finished value finds a pattern in a name."""
        self._budget.spend()
        if pattern not in self._validators:
            self._validators[pattern] = validator({"pattern": pattern}).is_valid
        return self._validators[pattern](name)


def _counted(nodes: Conjuncts, closed: Closed, compiler: Places) -> Closed | Never:
    """The closed object with its ``minProperties`` and ``maxProperties``, as far as a mask can."""
    low = tightest(nodes, "minProperties", max)
    high = tightest(nodes, "maxProperties", min)
    names = [name for name, child in closed["properties"].items() if child is not False]
    needed = len(closed.get("required", []))
    fixed = closed["additionalProperties"] is False and "patternProperties" not in closed
    if low and ((high and low[1] > high[1]) or (fixed and low[1] > len(names))):
        return Never(low[0], "minProperties", f"there cannot be {low[1]} properties")
    if high and high[1] < needed:
        return Never(high[0], "maxProperties", f"{needed} properties are required")
    if low and low[1] <= needed:
        low = None
    if high and fixed and high[1] >= len(names):
        high = None
    bounds = [(low, "minProperties"), (high, "maxProperties")]
    given = [(*bound, keyword) for bound, keyword in bounds if bound is not None]
    if given and fixed and compiler.rewrites.enabled:
        sets = _sets(closed, names, low and low[1] - needed, high and high[1] - needed)
        if sets is not None:
            compiler.rewrites.used = True
            for path, _, keyword in given:
                note = "becomes a choice between the sets of properties that may be there"
                compiler.certificate.note(path, keyword, "rewrite", note)
            return sets[0] if len(sets) == 1 else {"anyOf": sets}
    for path, count, keyword in given:
        if needed == len(closed["properties"]) and count <= _MOST_PROPERTIES:
            closed = {**closed, keyword: count}
        else:
            note = "beside optional properties; the finished value is validated"
            compiler.certificate.note(path, keyword, "check", note)
    return closed


def _sets(
    closed: Closed, names: list[str], low: int | None, high: int | None
) -> list[Closed] | None:
    """Closed objects whose union has ``low`` to ``high`` of the optional properties.

    None where they would be too many, or too large together.
    """
    required = set(closed.get("required", []))
    free = [name for name in names if name not in required]
    sizes = _sizes(low, high)
    count = sum(math.comb(len(free), size) for size in sizes)
    if count > _MOST_SETS or count * len(json.dumps(closed)) > _MOST_TEXT:
        return None
    objects: list[Closed] = []
    for size in sizes:
        for chosen in itertools.combinations(free, size):
            there = required if low is None else required.union(chosen)
            kept = required.union(chosen)
            if high is None:  # the first so many that are there are chosen; behind them all is free
                kept |= set(free[free.index(chosen[-1]) + 1 :])
            properties = {name: closed["properties"][name] for name in names if name in kept}
            one = {**closed, "properties": properties}
            if there:
                one["required"] = [name for name in names if name in there]
            objects.append(one)
    return objects


def _sizes(low: int | None, high: int | None) -> range:
    """The numbers of optional properties to choose; with one bound alone, just that number."""
    if low is None or high is None:
        size = low or high or 0
        return range(size, size + 1)
    return range(low, high + 1)


class Arrays:
    """Emits the arrays of one compiler."""

    def __init__(self, compiler: Places, draft: int, strict: bool) -> None:
        self._compiler = compiler
        self._draft = draft
        self._strict = strict

    def compile(self, nodes: Conjuncts) -> Closed | Never:
        """The closed array that all of these schemas allow."""
        low = tightest(nodes, "minItems", max) or ("", 0)
        high = tightest(nodes, "maxItems", min)
        if high and low[1] > high[1]:
            return Never(low[0], "minItems", f"minItems {low[1]} is above maxItems {high[1]}")
        if low[1] > _MOST_NEEDED:
            note = f"more than {_MOST_NEEDED} items cannot be demanded"
            self._compiler.certificate.note(low[0], "minItems", "refused", note)
        limit = high[1] if high else None
        if high and high[1] > _MOST_ITEMS:
            limit = None
            self._compiler.certificate.note(high[0], "maxItems", "check", "too many for a mask")
        places = [_items(path, node, self._draft) for path, node in nodes]
        prefix = self._prefix(places, limit)
        rest = False if limit == len(prefix) else self._rest(places)
        strict = self._strict and not any(
            self._compiler.rewrites.conditional(path) for path, _ in nodes
        )
        never = next((child for child in (*prefix, rest) if isinstance(child, Never)), None)
        if never is not None and never.keyword is not None and strict:
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
        """The schemas of the first items, up to the first that no value fits."""
        items: list[Closed | Never] = []
        longest = max(len(first) for first, _ in places)
        for i in range(longest if limit is None else min(longest, limit)):
            paths = [first[i] if i < len(first) else rest for first, rest in places]
            items.append(self._compiler.node(tuple(path for path in paths if path)))
            if isinstance(items[-1], Never):
                break
        return items

    def _rest(self, places: list[tuple[list[str], str | None]]) -> Closed | Never:
        return self._compiler.node(tuple(rest for _, rest in places if rest))


def _items(path: str, node: dict[str, Any], draft: int) -> tuple[list[str], str | None]:
    """Where the schemas of the first items and of the rest are."""
    first, rest = ("items", "additionalItems") if draft < 2020 else ("prefixItems", "items")
    if draft < 2020 and not isinstance(node.get("items"), list):
        first, rest = "prefixItems", "items"
    places = [f"{path}/{first}/{i}" for i in range(len(node.get(first, [])))]
    return places, f"{path}/{rest}" if rest in node else None
