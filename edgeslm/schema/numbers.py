"""Numbers of a closed schema: plain decimals within bounds, on either side of zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from edgeslm.schema.keywords import Certificate
from edgeslm.schema.parts import EXACT, MASK_ONLY, NEAREST, Closed, Conjuncts, Never

#: the largest negative number that is written; written as a bound that is not exclusive,
#: because llguidance takes "-0.10" below such a bound and refuses it below an exclusive 0
_BELOW_ZERO = -1e-15
#: numbers that are written freely: at most 18 digits before the point, and 9 behind it
_TOO_LARGE = 10**18
_SHORT_STEP = 1e-9
#: The library follows the remainder of what is written so far by a step: 65,537 remainders take
#: it half a second to prepare, a million half a minute. Larger steps are checked at the end.
_MOST_REMAINDERS = 2**16 + 1
#: bounds nearer to each other than this leave no room for the step of short numbers
_NARROW = 1e-6


def number(
    nodes: Conjuncts, whole: bool, certificate: Certificate, *, short: bool
) -> Closed | Never:
    """Plain decimals without exponent and without ``-0``: the range is split at zero.

    With ``short``, the mask gives a number without bounds no more digits than numbers have, so
    that a model which begins to repeat a digit comes to an end.
    """
    bounds = _bounds(nodes, certificate)
    if isinstance(bounds, Never):
        return bounds
    low, high = bounds
    leaf: Closed = {"type": "integer" if whole else "number", **_step(nodes, whole, certificate)}
    limits: Closed = {}
    if short:
        stated = {keyword for _, node in nodes for keyword in node}
        limits = _limits(leaf, low, high, stated)
    branches = []
    if high is None or high.value > 0 or (high.value == 0 and not high.exclusive):
        start = {"minimum": 0} if low is None or low.value < 0 else low.inner(high, whole)
        rules = {**leaf, **start, **(high.rule() if high else {})}
        branches.append(_written(rules, limits, "exclusiveMaximum"))
    edge = -1 if whole else _BELOW_ZERO
    if low is None or low.value < edge or (low.value == edge and not low.exclusive):
        start = {"maximum": edge} if high is None or high.value > edge else high.inner(low, whole)
        rules = {**leaf, **(low.rule() if low else {}), **start}
        branches.append(_written(rules, limits, "exclusiveMinimum"))
    branches = [branch for branch in branches if not (whole and _no_integer(branch))]
    if not branches:
        where = low or high
        return Never(where.path if where else "", "minimum", "no integer lies between the bounds")
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _limits(leaf: Closed, low: _Bound | None, high: _Bound | None, stated: set[str]) -> Closed:
    """The rules of short numbers: on each side that has no bound of its own, and their step."""
    limits: Closed = {}
    if not stated & {"minimum", "exclusiveMinimum"}:
        limits["exclusiveMinimum"] = -_TOO_LARGE
    if not stated & {"maximum", "exclusiveMaximum"}:
        limits["exclusiveMaximum"] = _TOO_LARGE
    narrow = low is not None and high is not None and high.value - low.value < _NARROW
    if leaf["type"] == "number" and "multipleOf" not in stated and not narrow:
        limits["multipleOf"] = _SHORT_STEP
    return limits


def _written(rules: Closed, limits: Closed, outer: str) -> Closed:
    """One side of zero with those of the limits that concern it, as rules of the mask alone."""
    added = {key: value for key, value in limits.items() if key in (outer, "multipleOf")}
    if outer in added and rules["type"] == "integer":
        # llguidance computes the bounds of an integer in doubles, which hold no 10^18 - 1
        added |= {"type": "number", "multipleOf": rules.get("multipleOf", 1)}
    return {**rules, MASK_ONLY: added} if added else rules


@dataclass(frozen=True, slots=True)
class _Bound:
    path: str
    keyword: str
    value: int | float
    exclusive: bool

    def rule(self) -> Closed:
        return {self.keyword: self.value}

    def inner(self, other: _Bound | None, whole: bool) -> Closed:
        """The bound on the side of zero; for decimals never exclusive.

        llguidance takes 0 for "exclusiveMinimum 0, maximum 0.1" and refuses 0.10 for
        "exclusiveMinimum 0"; a bound a hair further out, not exclusive, has neither fault.
        """
        if whole or not self.exclusive:
            return self.rule()
        hair = max(NEAREST, math.ulp(self.value))
        if other is not None:
            hair = min(hair, abs(other.value - self.value) / 4)
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
    if 0 < abs(value) < NEAREST:
        certificate.note(path, keyword, "refused", f"nearer to zero than {NEAREST}")
        return None
    exclusive = keyword.startswith("exclusive")
    if abs(value) + exclusive <= EXACT:  # the library adds one to an exclusive bound
        return _Bound(path, keyword, value, exclusive)
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


def _step(nodes: Conjuncts, whole: bool, certificate: Certificate) -> Closed:
    """The least common multiple of all ``multipleOf``, which no floating point may blur."""
    paths = [(path, node["multipleOf"]) for path, node in nodes if "multipleOf" in node]
    if not paths:
        return {}
    common = Fraction(1 if whole else 0)
    for _, given in paths:
        step = Fraction(Decimal(str(given)))
        common = _common(common, step) if common else step
        value = common.numerator if common.denominator == 1 else float(common)
        large = common.numerator > _MOST_REMAINDERS
        if large or not 1e-10 <= value <= 1e10 or Fraction(Decimal(str(value))) != common:
            for path, _ in paths:
                certificate.note(path, "multipleOf", "check", "too fine or too coarse for a mask")
            return {}
    return {"multipleOf": value}


def _common(one: Fraction, other: Fraction) -> Fraction:
    numerator = math.lcm(one.numerator, other.numerator)
    return Fraction(numerator, math.gcd(one.denominator, other.denominator))
