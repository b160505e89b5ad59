"""Arrays of a closed schema: the first items one by one, then the rest, within their counts."""

from __future__ import annotations

from typing import Any

from edgeslm.schema.parts import Closed, Conjuncts, Never, Places, tightest

_MOST_NEEDED = 4096
_MOST_COUNTED = 65_536


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
        if high and high[1] > _MOST_COUNTED:
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
        """The first items; the list ends with the first that can hold no value."""
        found: list[Closed | Never] = []
        longest = max(len(first) for first, _ in places)
        for i in range(longest if limit is None else min(longest, limit)):
            paths = [first[i] if i < len(first) else rest for first, rest in places]
            found.append(self._compiler.node(tuple(path for path in paths if path)))
            if isinstance(found[-1], Never):
                break
        return found

    def _rest(self, places: list[tuple[list[str], str | None]]) -> Closed | Never:
        return self._compiler.node(tuple(rest for _, rest in places if rest))


def _items(path: str, node: dict[str, Any], draft: int) -> tuple[list[str], str | None]:
    """Where the schemas of the first items and of the rest are."""
    first, rest = ("items", "additionalItems") if draft < 2020 else ("prefixItems", "items")
    if draft < 2020 and not isinstance(node.get("items"), list):
        first, rest = "prefixItems", "items"
    places = [f"{path}/{first}/{i}" for i in range(len(node.get(first, [])))]
    return places, f"{path}/{rest}" if rest in node else None
