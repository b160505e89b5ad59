"""Label sets: no two names in one may read the same, whether a caller's or a card's."""

from __future__ import annotations

from collections.abc import Iterable

from edgeslm.formats.text import fold


def doubled(names: Iterable[str]) -> str | None:
    """What is wrong where one label could be taken for another; None where none could.

    They are equal, or differ in case, white space, or how characters are composed alone, such as
    "é" as one code point and as two; such are named with their code points.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = fold(name)
        if key in seen and seen[key] == name:
            return f"label given twice: {name!r}"
        if key in seen:
            return f"labels that read the same: {seen[key]!a} and {name!a}"
        seen[key] = name
    return None
