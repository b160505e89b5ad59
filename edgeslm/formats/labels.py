"""Label sets: what the names in one must be, for those of a caller and of a card alike."""

from __future__ import annotations

from collections.abc import Iterable

from edgeslm.formats.text import fold


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names of which one could be taken for the other, in their order; None where none are.

    They are equal, or differ in case, white space, or how characters are composed alone, such as
    "é" as one code point and as two.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = fold(name)
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def named_apart(pair: tuple[str, str]) -> str:
    """Two such names for a message: with code points, where their characters look the same."""
    first, second = pair
    if first == second:
        return f"given twice: {first!r}"
    return f"two that read the same: {first!a} and {second!a}"
