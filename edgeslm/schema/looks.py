"""Looks: how often a validator may look at the parts of one value, where many schemas share it.

A validator that follows every reference visits a value once for each way that leads to it. Where
two branches of a union refer to one schema for one property, the ways double with each level.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from edgeslm.schema.document import SAME_PLACE, children, escape, inside, is_schema

#: steps of counting after which the looks are taken to be too many: some 0.3 s
_MOST_STEPS = 300_000
#: keywords whose schemas look at every property, or at every item, whatever its name or place
_ANY_PROPERTY = ("additionalProperties", "unevaluatedProperties")
_ANY_ITEM = ("additionalItems", "contains", "items", "unevaluatedItems")
_LISTED_ITEMS = ("items", "prefixItems")


class Schemas(Protocol):
    """Schemas by JSON pointer, and the references between them; a `Document` is such."""

    def at(self, path: str) -> Any:
        """The schema at a JSON pointer."""

    def beside(self, path: str) -> list[str]:
        """The schemas that look at the very value that the one at ``path`` looks at."""


class ClosedSchemas:
    """The schemas of a closed schema, whose references all lead to its definitions."""

    def __init__(self, closed: dict[str, Any]) -> None:
        self._known: dict[str, Any] = {"": closed}

    def at(self, path: str) -> Any:
        """The schema at a JSON pointer."""
        if path not in self._known:
            outer, _, step = path.rpartition("/")
            self._known[path] = inside(self.at(outer), step.replace("~1", "/").replace("~0", "~"))
        return self._known[path]

    def beside(self, path: str) -> list[str]:
        """The schemas that look at the very value that the one at ``path`` looks at."""
        node = self.at(path)
        if not isinstance(node, dict):
            return []
        target = [node["$ref"].removeprefix("#")] if "$ref" in node else []
        return target + children(path, node, SAME_PLACE)


class Looks:
    """Counts the looks at the parts of values, for one set of schemas.

    With ``tagged`` a union that names the property which tells its branches apart is one branch,
    as pydantic reads it.
    """

    def __init__(self, schemas: Schemas, *, tagged: bool = False) -> None:
        self._schemas = schemas
        self._tagged = tagged
        self._beside: dict[str, list[str]] = {}
        #: a schema's number, above those of all schemas beside it
        self._ranks: dict[str, int] = {}

    def count(self, value: Any, most: int) -> int:
        """The looks at a value and all of its parts; ``most`` + 1 where there are more."""
        total = steps = 0
        pending: list[tuple[Any, Counter[str]]] = [(value, Counter({"": 1}))]
        while pending:
            part, starts = pending.pop()
            looks = self._spread(starts, part)
            inner = list(self._inner(looks, part))
            total += looks.total()
            steps += len(looks) * (1 + len(inner))
            if total > most or steps > _MOST_STEPS:
                return most + 1
            pending += inner
        return total

    def _spread(self, starts: Counter[str], value: Any) -> Counter[str]:
        """How often each schema looks at a value at which some look first."""
        looks = Counter(starts)
        self._rank(starts)
        heap = [(-self._ranks[path], path) for path in starts]
        heapq.heapify(heap)
        while heap:
            _, path = heapq.heappop(heap)
            for other in self._chosen(path, value):
                if other not in looks:
                    heapq.heappush(heap, (-self._ranks[other], other))
                looks[other] += looks[path]
        return looks

    def _chosen(self, path: str, value: Any) -> list[str]:
        """The schemas beside one, or the branch of a union that the value's tag names."""
        if self._tagged and isinstance(value, dict):
            node = self._schemas.at(path)
            union = node.get("discriminator") if isinstance(node, dict) else None
            if isinstance(union, dict) and isinstance(union.get("mapping"), dict):
                tag = value.get(union.get("propertyName"))
                target = union["mapping"].get(tag) if isinstance(tag, str) else None
                wanted = target.removeprefix("#") if isinstance(target, str) else None
                if wanted in self._ranks:
                    return [wanted]
        return self._beside[path]

    def _rank(self, starts: Iterable[str]) -> None:
        """Number these schemas and all beside them; by a list, for references may be deep."""
        route: list[tuple[str, Iterator[str]]] = []
        for start in starts:
            step: str | None = start
            while step is not None or route:
                if step is not None and step not in self._ranks:
                    beside = self._beside.setdefault(step, self._schemas.beside(step))
                    route.append((step, iter(beside)))
                if not route:
                    break
                step = next(route[-1][1], None)
                if step is None:
                    self._ranks[route.pop()[0]] = len(self._ranks)

    def _inner(self, looks: Counter[str], value: Any) -> Iterator[tuple[Any, Counter[str]]]:
        """Each part of a value, and how often each schema looks at it first."""
        parts: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, dict | list):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
        nodes = [(path, self._schemas.at(path), times) for path, times in looks.items()]
        for key, part in parts:
            starts: Counter[str] = Counter()
            for path, node, times in nodes:
                if isinstance(node, dict):
                    for place in _places(path, node, key):
                        starts[place] += times
            if starts:
                yield part, starts


def _places(path: str, node: dict[str, Any], key: str | int) -> Iterator[str]:
    """The schemas in a node that may look at the property of a name, or at an item."""
    if isinstance(key, str):
        named = key in node.get("properties", ())
        if named:
            yield f"{path}/properties/{escape(key)}"
        for pattern in node.get("patternProperties", ()):
            yield f"{path}/patternProperties/{escape(pattern)}"
        keywords: tuple[str, ...] = _ANY_PROPERTY[named:]
    else:
        for keyword in _LISTED_ITEMS:
            listed = node.get(keyword)
            if isinstance(listed, list) and key < len(listed):
                yield f"{path}/{keyword}/{key}"
        keywords = _ANY_ITEM
    for keyword in keywords:
        if is_schema(node.get(keyword)):
            yield f"{path}/{keyword}"
