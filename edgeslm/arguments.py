"""Checks of the arguments that callers give: each returns the argument, or raises ArgumentError."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, TypeVar

from edgeslm.errors import ArgumentError

C = TypeVar("C")


def count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number from ``least`` on; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentError(f"{name} must be a whole number, not {_shown(value)}")
    whole = int(value)
    if whole < least:
        raise ArgumentError(f"{name} must be at least {least}, not {whole}")
    return whole


def count_or_none(name: str, value: Any, *, least: int = 1) -> int | None:
    """As ``count``; None says that edgeslm chooses."""
    return None if value is None else count(name, value, least=least)


def number(name: str, value: Any, *, least: float) -> float:
    """A finite number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, Real) or not _finite(value):
        raise ArgumentError(f"{name} must be a finite number, not {_shown(value)}")
    if value < least:
        raise ArgumentError(f"{name} must be at least {least:g}, not {value}")
    return float(value)


def share(name: str, value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    if not 0 < number(name, value, least=-math.inf) < 1:
        raise ArgumentError(f"{name} must be between 0 and 1, not {value}")
    return float(value)


def deadline(value: Any) -> float | None:
    """A number of milliseconds; None and infinity say that there is no deadline."""
    if value is None or (isinstance(value, float) and value == math.inf):
        return None
    return number("deadline_ms", value, least=0)


def choice(name: str, value: Any, allowed: Collection[C]) -> C:
    """One of a few values."""
    for one in allowed:
        if type(value) is type(one) and value == one:
            return one
    listed = " or ".join(repr(one) for one in allowed)
    raise ArgumentError(f"{name} must be {listed}, not {_shown(value)}")


def flag(name: str, value: Any) -> bool:
    """True or False."""
    return choice(name, value, (True, False))


def many(texts: Any) -> None:
    """Refuse one text, or no texts at all, where an iterable of texts is wanted."""
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        raise ArgumentError(
            f"map takes many texts, such as a list of them, not {_shown(texts)}; one is answered "
            "by a call"
        )


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
