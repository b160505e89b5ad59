"""The leaves of a closed schema: strings, numbers, listed values, each in one spelling."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

import jsonschema_rs

from edgeslm.schema.conditions import Rewrites
from edgeslm.schema.keywords import Certificate
from edgeslm.schema.negation import forbidden_values
from edgeslm.schema.regex import EMPTY, fault, other_than, portable

Closed = dict[str, Any]
#: the schemas that hold together for one value, each with its JSON pointer
Conjuncts = list[tuple[str, dict[str, Any]]]

#: beyond this a double no longer holds every integer, and the mask computes in doubles
_EXACT = 2**53
#: the largest negative number that is written; written as a bound that is not exclusive,
#: because llguidance takes "-0.10" below such a bound and refuses it below an exclusive 0
_BELOW_ZERO = -1e-15
_FINEST = 1e-12
_LONGEST = 65_536
#: the default bounds of numbers in extractions: 18 digits before the point, 9 behind it
_LARGEST = 10**18
_FINEST = 1e-9

#: formats that llguidance enforces
_MASKED_FORMATS = frozenset({
    "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid",
})  # fmt: skip
#: what their masks leave to the validator of the finished value
_UNMASKED = {
    "date-time": "whether it may be a leap second",
    "email": "the length and hyphens of its parts",
    "hostname": "the hyphens of its parts",
    "time": "whether it may be a leap second",
}
#: days that exist, of those that llguidance's dates let through: it has 29 February in every year
_DAYS = (
    "^(?:[0-9]{4}-(?:0[13-9]|1[0-2]|02-(?:[01]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
#: formats that the validator of the finished value enforces
_CHECKED_FORMATS = frozenset({
    "idn-email", "idn-hostname", "iri", "iri-reference", "json-pointer", "regex",
    "relative-json-pointer", "uri-reference", "uri-template",
})  # fmt: skip


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


def string(nodes: Conjuncts, certificate: Certificate) -> Closed | Never:
    closed: Closed = {"type": "string"}
    low = tightest(nodes, "minLength", max)
    high = tightest(nodes, "maxLength", min)
    if low and high and low[1] > high[1]:
        return Never(low[0], "minLength", f"minLength {low[1]} is above maxLength {high[1]}")
    if low and low[1] > _LONGEST:
        certificate.note(low[0], "minLength", "refused", f"longer than {_LONGEST} characters")
    elif low and low[1] > 0:
        closed["minLength"] = low[1]
    if high and high[1] > _LONGEST:
        certificate.note(high[0], "maxLength", "check", "too long for a mask")
    elif high:
        closed["maxLength"] = high[1]
    formats = _formats(nodes, certificate)
    if formats:
        closed["format"] = formats[0]
    if formats and formats[0] in ("date", "date-time"):
        closed["allOf"] = [{"pattern": _DAYS}]
    patterns = _patterns(nodes, certificate)
    narrowed = dict(closed)
    if patterns:
        narrowed["pattern"] = patterns[0]
    if patterns[1:]:
        others = [{"pattern": pattern} for pattern in patterns[1:]]
        narrowed["allOf"] = [*closed.get("allOf", []), *others]
    for path, node in nodes:
        texts = [value for value in forbidden_values(node) if isinstance(value, str)]
        held = other_than(texts)
        if held is None:
            certificate.note(path, "not", "check", "too long for a mask, or with a quote")
        elif texts:
            narrowed["allOf"] = [*narrowed.get("allOf", []), {"pattern": held}]
    return _together(closed, narrowed, nodes, certificate)


def _together(
    closed: Closed, narrowed: Closed, nodes: Conjuncts, certificate: Certificate
) -> Closed | Never:
    """The string with its patterns and format, as far as a mask can hold them together."""
    keywords = ("pattern", "format", "allOf")
    keyword: str | None = next((name for name in keywords if name in narrowed), None)
    if keyword is None:
        return narrowed
    keyword = "not" if keyword == "allOf" else keyword
    path = next(path for path, node in nodes if keyword in node)
    reason = fault(narrowed)
    if reason == EMPTY:
        return Never(path, keyword, "nothing satisfies it and the other rules of the string")
    if reason:
        certificate.note(path, keyword, "check", "too large for a mask")
        return closed
    return narrowed


def _patterns(nodes: Conjuncts, certificate: Certificate) -> list[str]:
    found: list[str] = []
    for path, node in nodes:
        pattern = node.get("pattern")
        if pattern is None:
            continue
        held = hold(path, "pattern", pattern, certificate)
        if held is not None and held not in found:
            found.append(held)
    return found


def hold(path: str, keyword: str, pattern: str, certificate: Certificate) -> str | None:
    """A regular expression for the mask; None, and noted, where only a check can hold it."""
    found = portable(pattern)
    if found is None:
        note = "look-around, back-references, \\b and the like: the finished value is validated"
        certificate.note(path, keyword, "check", note)
    return found


def _formats(nodes: Conjuncts, certificate: Certificate) -> list[str]:
    masked: list[str] = []
    for path, node in nodes:
        name = node.get("format")
        if name is None:
            continue
        if name in _MASKED_FORMATS and (not masked or name in masked):
            masked.append(name)
            if name in _UNMASKED:
                note = f"the mask holds the form; {_UNMASKED[name]} is checked at the end"
                certificate.note(path, "format", "check", note)
        elif name in _MASKED_FORMATS | _CHECKED_FORMATS:
            certificate.note(path, "format", "check", "the finished value is validated")
        else:
            note = f"{name!r} has no rule in JSON Schema; kept as an annotation"
            certificate.note(path, "format", "rewrite", note)
    return masked


def number(
    nodes: Conjuncts, whole: bool, certificate: Certificate, *, short: bool
) -> Closed | Never:
    """Plain decimals without exponent and without ``-0``: the range is split at zero.

    With ``short``, a number without bounds has no more digits than texts hold, so that a
    model which begins to repeat a digit comes to an end.
    """
    bounds = _bounds(nodes, certificate)
    if isinstance(bounds, Never):
        return bounds
    low, high = bounds
    kind = "integer" if whole else "number"
    step = _step(nodes, certificate)
    stated = {keyword for _, node in nodes for keyword in node}
    if short and not stated & {"const", "enum"}:
        if not stated & {"minimum", "exclusiveMinimum"}:
            low = _Bound("", "minimum", -_LARGEST, exclusive=False)
        if not stated & {"maximum", "exclusiveMaximum"}:
            high = _Bound("", "maximum", _LARGEST, exclusive=False)
        if not whole and "multipleOf" not in stated:
            step = {"multipleOf": _FINEST}
    edge = -1 if whole else _BELOW_ZERO
    inner = _Bound.rule if whole else _Bound.rule_away_from_zero
    start = {"minimum": 0} if low is None or low.value < 0 else inner(low)
    positive = {"type": kind, **step, **start, **(high.rule() if high else {})}
    start = {"maximum": edge} if high is None or high.value > edge else inner(high)
    negative = {"type": kind, **step, **(low.rule() if low else {}), **start}
    branches = []
    if high is None or high.value > 0 or (high.value == 0 and not high.exclusive):
        branches.append(positive)
    if low is None or low.value < edge or (low.value == edge and not low.exclusive):
        branches.append(negative)
    branches = [branch for branch in branches if not (whole and _no_integer(branch))]
    if not branches:
        where = low or high
        return Never(where.path if where else "", "minimum", "no integer lies between the bounds")
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


@dataclass(frozen=True, slots=True)
class _Bound:
    path: str
    keyword: str
    value: int | float
    exclusive: bool

    def rule(self) -> Closed:
        return {self.keyword: self.value}

    def rule_away_from_zero(self) -> Closed:
        """The bound on the side of zero, never exclusive.

        llguidance takes 0 for "exclusiveMinimum 0, maximum 0.1" and refuses 0.10 for
        "exclusiveMinimum 0"; a bound a hair further out, not exclusive, has neither fault.
        """
        if not self.exclusive:
            return self.rule()
        hair = max(1e-12, 4 * math.ulp(self.value))
        if self.keyword == "exclusiveMinimum":
            return {"minimum": self.value + hair}
        return {"maximum": self.value - hair}


def _bounds(
    nodes: Conjuncts, certificate: Certificate
) -> tuple[_Bound | None, _Bound | None] | Never:
    low: _Bound | None = None
    high: _Bound | None = None
    for path, node in nodes:
        for keyword in ("minimum", "exclusiveMinimum"):
            bound = _bound(path, node, keyword, certificate)
            if bound and (low is None or _tighter(bound, low, 1)):
                low = bound
        for keyword in ("maximum", "exclusiveMaximum"):
            bound = _bound(path, node, keyword, certificate)
            if bound and (high is None or _tighter(bound, high, -1)):
                high = bound
    if low and high:
        empty = low.value > high.value
        point = low.value == high.value and (low.exclusive or high.exclusive)
        if empty or point:
            note = f"{low.keyword} {low.value} leaves nothing below {high.keyword} {high.value}"
            return Never(low.path, low.keyword, note)
    return low, high


def _bound(
    path: str, node: dict[str, Any], keyword: str, certificate: Certificate
) -> _Bound | None:
    value = node.get(keyword)
    if value is None:
        return None
    if 0 < abs(value) < _FINEST:
        certificate.note(path, keyword, "refused", f"nearer to zero than {_FINEST}")
        return None
    if abs(value) <= _EXACT:
        return _Bound(path, keyword, value, keyword.startswith("exclusive"))
    if (value > 0) == keyword.lower().endswith("minimum"):
        certificate.note(path, keyword, "refused", "beyond 2^53, where the mask is not exact")
    else:
        certificate.note(path, keyword, "check", "beyond 2^53, where the mask is not exact")
    return None


def _tighter(new: _Bound, old: _Bound, sign: int) -> bool:
    if new.value == old.value:
        return new.exclusive
    return bool(new.value * sign > old.value * sign)


def _no_integer(branch: Closed) -> bool:
    low: int
    high: int
    if "minimum" in branch:
        low = math.ceil(branch["minimum"])
    elif "exclusiveMinimum" in branch:
        low = math.floor(branch["exclusiveMinimum"]) + 1
    else:
        return False
    if "maximum" in branch:
        high = math.floor(branch["maximum"])
    elif "exclusiveMaximum" in branch:
        high = math.ceil(branch["exclusiveMaximum"]) - 1
    else:
        return False
    return low > high


def _step(nodes: Conjuncts, certificate: Certificate) -> Closed:
    """The least common multiple of all ``multipleOf``, which no floating point may blur."""
    paths = [(path, node["multipleOf"]) for path, node in nodes if "multipleOf" in node]
    if not paths:
        return {}
    steps = [Fraction(Decimal(str(value))) for _, value in paths]
    numerator = math.lcm(*(step.numerator for step in steps))
    common = Fraction(numerator, math.gcd(*(step.denominator for step in steps)))
    value = common.numerator if common.denominator == 1 else float(common)
    coarse = common.numerator > 10**6 and common.denominator > 1
    if coarse or Fraction(Decimal(str(value))) != common or not 1e-10 <= value <= 1e10:
        for path, _ in paths:
            certificate.note(path, "multipleOf", "check", "too fine or too coarse for a mask")
        return {}
    return {"multipleOf": value}


def tightest(
    nodes: Conjuncts, keyword: str, choose: Callable[[list[int]], int]
) -> tuple[str, int] | None:
    """The path and value of the smallest or largest count that this keyword gives, if any."""
    found = {int(node[keyword]): path for path, node in nodes if keyword in node}
    if not found:
        return None
    value = choose(list(found))
    return found[value], value


def listed(nodes: Conjuncts) -> tuple[str, str, list[Any]] | None:
    """The values that every ``enum`` and ``const`` allows, with the path and keyword of one."""
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


def identity(value: Any) -> str:
    """Equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_plain(value), sort_keys=True)


def enumeration(
    path: str, keyword: str, values: list[Any], by_type: dict[str, Closed], certificate: Certificate
) -> Closed | Never:
    """The listed values that are also valid under the schemas of their type."""
    kept: dict[str, Any] = {}
    for value in values:
        rules = by_type.get(type_of(value), by_type.get("number") if _numeric(value) else None)
        if rules is None:
            continue
        if _numeric(value) and abs(value) > _EXACT:
            certificate.note(path, keyword, "refused", f"{value} is beyond 2^53")
        scalar = not isinstance(value, dict | list)
        if not scalar or jsonschema_rs.is_valid(rules, value, validate_formats=True):
            kept.setdefault(identity(value), _plain(value))
    if not kept:
        return Never(path, keyword, "none of the listed values is valid")
    return {"enum": list(kept.values())}


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


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """The value with whole floats as integers, the way the mask spells them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
