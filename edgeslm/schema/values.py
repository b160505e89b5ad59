"""Listed values of a closed schema: ``enum`` and ``const``, without what other rules forbid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeslm.schema.keywords import Certificate
from edgeslm.schema.negation import forbidden_values
from edgeslm.schema.parts import EXACT, Closed, Conjuncts, Never, canonical, identity, type_of
from edgeslm.schema.regex import validator


def listed(nodes: Conjuncts) -> tuple[str, str, list[Any]] | None:
    """The path and keyword of the first list, and the values that all lists allow."""
    lists: list[tuple[str, str, list[Any]]] = []
    for path, node in nodes:
        if "enum" in node:
            lists.append((path, "enum", node["enum"]))
        if "const" in node:
            lists.append((path, "const", [node["const"]]))
    if not lists:
        return None
    path, keyword, values = lists[0]
    for _, _, others in lists[1:]:
        allowed = {identity(other) for other in others}
        values = [value for value in values if identity(value) in allowed]
    forbidden = {identity(value) for _, node in nodes for value in forbidden_values(node)}
    return path, keyword, [value for value in values if identity(value) not in forbidden]


def enumeration(
    path: str, keyword: str, values: list[Any], by_type: dict[str, Closed], certificate: Certificate
) -> Closed | Never:
    """The listed values that are also valid under the schemas of their type."""
    kept: dict[str, Any] = {}
    valid = {name: _check_of(rules) for name, rules in by_type.items()}
    for value in values:
        fits = valid.get(type_of(value), valid.get("number") if _numeric(value) else None)
        if fits is None:
            continue
        if _numeric(value) and abs(value) > EXACT:
            certificate.note(path, keyword, "refused", f"{value} is beyond 2^53")
        if isinstance(value, dict | list) or fits(value):
            kept.setdefault(identity(value), canonical(value))
    if not kept:
        return Never(path, keyword, "none of the listed values is valid")
    return {"enum": list(kept.values())}


def _check_of(rules: Closed) -> Callable[[Any], bool]:
    """Whether a value is valid, for values of the type that the rules are for."""
    if rules.keys() == {"type"}:
        return lambda _: True
    check: Callable[[Any], bool] = validator(rules).is_valid
    return check


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
