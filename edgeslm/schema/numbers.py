"""Numbers of a closed schema: plain decimals within bounds, on either side of zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from edgeslm.schema.keywords import Certificate
from edgeslm.schema.parts import EXACT, Closed, Conjuncts, Never

#: the largest negative number that is written; written as a bound that is not exclusive,
#: because llguidance takes "-0.10" below such a bound and refuses it below an exclusive 0
_BELOW_ZERO = -1e-15
_FINEST = 1e-12
#: the default bounds of numbers in extractions: 18 digits before the point, 9 behind it
_LARGEST = 10**18
_FINEST = 1e-9


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
    if abs(value) <= EXACT:
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
