"""What every emitter of a closed schema shares: its types, its seam, and equality of values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from edgeslm.schema.conditions import Rewrites
from edgeslm.schema.keywords import Certificate
from edgeslm.schema.regex import portable

Closed = dict[str, Any]
#: the schemas that hold together for one value, each with its JSON pointer
Conjuncts = list[tuple[str, dict[str, Any]]]

#: beyond this a double no longer holds every integer, and the mask computes in doubles
EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Never:
    """No value is valid here, and why. ``keyword`` None: the author wrote ``false``."""

    path: str
    keyword: str | None
    note: str


class Places(Protocol):
    """What unions, objects and arrays need of the compiler that they are a part of."""

    certificate: Certificate
    rewrites: Rewrites

    @property
    def within_budget(self) -> bool:
        """Whether there is room for more places than the author wrote."""

    def node(self, paths: tuple[str, ...]) -> Closed | Never:
        """The closed schema of a place that all of these schemas describe."""

    def nodes_of(self, paths: Iterable[str]) -> Conjuncts:
        """The schemas at these places that are objects."""

    def plain(self, path: str) -> Conjuncts:
        """A schema with all that it refers to."""


def hold(path: str, keyword: str, pattern: str, certificate: Certificate) -> str | None:
    """A regular expression for the mask; None, and noted, where only a check can hold it."""
    found = portable(pattern)
    if found is None:
        note = "look-around, back-references, \\b and the like: the finished value is validated"
        certificate.note(path, keyword, "check", note)
    return found


def tightest(
    nodes: Conjuncts, keyword: str, choose: Callable[[list[int]], int]
) -> tuple[str, int] | None:
    """The path and value of the smallest or largest count that this keyword gives, if any."""
    found = {int(node[keyword]): path for path, node in nodes if keyword in node}
    if not found:
        return None
    value = choose(list(found))
    return found[value], value


def identity(value: Any) -> str:
    """Equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(canonical(value), sort_keys=True)


def type_of(value: Any) -> str:
    """The JSON type of a value; whole numbers are integers."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    names: dict[type, str] = {
        type(None): "null", float: "number", str: "string", list: "array", dict: "object",
    }  # fmt: skip
    return names[type(value)]


def canonical(value: Any) -> Any:
    """The value with whole floats as integers, the way the mask spells them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    return value
