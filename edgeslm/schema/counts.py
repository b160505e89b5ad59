"""Counts of properties: where some are optional, a choice between the sets that may be there."""

from __future__ import annotations

import itertools
import json
import math

from edgeslm.schema.parts import Closed, Conjuncts, Never, Places, tightest

_MOST_SETS = 64
#: bound on the JSON of all sets together, in characters
_MOST_TEXT = 50_000
_MOST_COUNTED = 4096


def counted(nodes: Conjuncts, closed: Closed, compiler: Places) -> Closed | Never:
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
    given = [(bound, keyword) for bound, keyword in bounds if bound is not None]
    if not given:
        return closed
    if fixed and compiler.rewrites.enabled:
        sets = _sets(closed, names, low and low[1] - needed, high and high[1] - needed)
        if sets is not None:
            compiler.rewrites.used = True
            for (path, _), keyword in given:
                note = "becomes a choice between the sets of properties that may be there"
                compiler.certificate.note(path, keyword, "rewrite", note)
            return sets[0] if len(sets) == 1 else {"anyOf": sets}
    for (path, count), keyword in given:
        if needed == len(closed["properties"]) and count <= _MOST_COUNTED:
            closed = {**closed, keyword: count}
        else:
            note = "beside optional properties; the finished value is validated"
            compiler.certificate.note(path, keyword, "check", note)
    return closed


def _sets(
    closed: Closed, names: list[str], low: int | None, high: int | None
) -> list[Closed] | None:
    """Closed objects of which one holds where ``low`` to ``high`` optional properties are there.

    None where they would be too many, or too large together.
    """
    required = set(closed.get("required", []))
    free = [name for name in names if name not in required]
    sizes = _sizes(low, high)
    count = sum(math.comb(len(free), size) for size in sizes)
    if count > _MOST_SETS or count * len(json.dumps(closed)) > _MOST_TEXT:
        return None
    found: list[Closed] = []
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
            found.append(one)
    return found


def _sizes(low: int | None, high: int | None) -> range:
    """How many optional properties are chosen: with one bound alone, as many as it says."""
    if low is None or high is None:
        size = low or high or 0
        return range(size, size + 1)
    return range(low, high + 1)
