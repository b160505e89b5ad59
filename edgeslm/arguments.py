"""Checks of the arguments that callers give: each returns the argument, or raises ArgumentError."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, TypeVar

from edgeslm.errors import ArgumentError

C = TypeVar("C")

#: what a number of the engines' libraries holds
MOST = 2**31 - 1
#: threads that llama.cpp can share its work between
MOST_THREADS = 512


def count(name: str, value: Any, *, least: int = 1, most: int | None = MOST) -> int:
    """A whole number from ``least`` to ``most``, where None is no bound; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentError(f"{name} must be a whole number, not {shown(value)}")
    whole = int(value)
    if whole < least:
        raise ArgumentError(f"{name} must be at least {least}, not {shown(whole)}")
    if most is not None and whole > most:
        raise ArgumentError(f"{name} must be at most {most}, not {shown(whole)}")
    return whole


def count_or_none(name: str, value: Any, *, least: int = 1, most: int | None = MOST) -> int | None:
    """As ``count``; None says that edgeslm chooses."""
    return None if value is None else count(name, value, least=least, most=most)


def number(name: str, value: Any, *, least: float) -> float:
    """A finite number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, Real) or not _finite(value):
        raise ArgumentError(f"{name} must be a finite number, not {shown(value)}")
    if value < least:
        raise ArgumentError(f"{name} must be at least {least:g}, not {shown(value)}")
    return float(value)


def share(name: str, value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    if not 0 < number(name, value, least=-math.inf) < 1:
        raise ArgumentError(f"{name} must be between 0 and 1, not {shown(value)}")
    return float(value)


def deadline(value: Any) -> float | None:
    """A number of milliseconds; None and infinity say that there is no deadline."""
    if value is None or (isinstance(value, float) and value == math.inf):
        return None
    return number("deadline_ms", value, least=0)


def choice(name: str, value: Any, allowed: Collection[C]) -> C:
    """One of a few values; a text may be of a class of its own, such as an enum of texts."""
    for one in allowed:
        same = isinstance(value, str) if isinstance(one, str) else type(value) is type(one)
        if same and value == one:
            return one
    listed = " or ".join(repr(one) for one in allowed)
    raise ArgumentError(f"{name} must be {listed}, not {shown(value)}")


def flag(name: str, value: Any) -> bool:
    """True or False."""
    return choice(name, value, (True, False))


def many(texts: Any) -> None:
    """Refuse one text, or no texts at all, where an iterable of texts is wanted."""
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        raise ArgumentError(
            f"map takes many texts, such as a list of them, not {shown(texts)}; one is answered "
            "by a call"
        )


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def shown(value: object) -> str:
    """A value as a message names it: of at most 60 characters, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a class of the caller's own may raise anything
        # Python spells no whole number of more than some thousand digits
        return "one that is too long" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:59]}…"
