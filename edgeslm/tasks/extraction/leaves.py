"""Leaves of an answer: their RFC 9535 paths, their places in its JSON text, their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_NAME = re.compile(r"[A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff][\w\u0080-\ud7ff\ue000-\U0010ffff]*\Z")
#: a step of a path, whose group is the number of an item
_STEP = re.compile(r"\['(?:[^'\\]|\\.)*'\]|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without children in a JSON text: RFC 9535 path, place and value."""

    path: str
    start: int
    end: int
    value: Any


def leaves(text: str) -> list[Leaf]:
    """All leaves of a JSON text in order; an empty array or object is a leaf, too."""
    collected: list[Leaf] = []
    _scan(text, _skip(text, 0), "$", collected)
    return collected


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _scan(text: str, at: int, path: str, collected: list[Leaf]) -> int:
    """Walk the value that begins at ``at``; the place behind it."""
    if text[at] == "{":
        return _scan_members(text, at, path, collected)
    if text[at] == "[":
        return _scan_elements(text, at, path, collected)
    value, end = json.JSONDecoder(parse_float=Decimal).raw_decode(text, at)
    collected.append(Leaf(path, at, end, value))
    return end


def _scan_members(text: str, start: int, path: str, collected: list[Leaf]) -> int:
    at = _skip(text, start + 1)
    if text[at] == "}":
        collected.append(Leaf(path, start, at + 1, {}))
        return at + 1
    while True:
        name, at = json.decoder.scanstring(text, at + 1)  # type: ignore[attr-defined]  # typeshed omits it
        at = _skip(text, _skip(text, at) + 1)
        at = _skip(text, _scan(text, at, path + segment(name), collected))
        if text[at] == "}":
            return at + 1
        at = _skip(text, at + 1)


def _scan_elements(text: str, start: int, path: str, collected: list[Leaf]) -> int:
    at = _skip(text, start + 1)
    if text[at] == "]":
        collected.append(Leaf(path, start, at + 1, []))
        return at + 1
    index = 0
    while True:
        at = _skip(text, _scan(text, at, f"{path}[{index}]", collected))
        if text[at] == "]":
            return at + 1
        at = _skip(text, at + 1)
        index += 1


def segment(name: str) -> str:
    """The step of a path to the member of this name."""
    if _NAME.match(name):
        return f".{name}"
    quoted = json.dumps(name, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"['{quoted}']"


def field_of(path: str) -> str:
    """The field that a leaf is a value of: ``$.items[*].price`` of ``$.items[0].price``."""
    return _STEP.sub(lambda step: step[0] if step[1] is None else "[*]", path)


def byte_places(text: str) -> list[int]:
    """Where each character begins among the bytes of a text, and where the text ends."""
    places = [0]
    for character in text:
        places.append(places[-1] + len(character.encode()))
    return places


def field_values(answer: Any, field: str = "$") -> Iterator[tuple[str, Any]]:
    """Each leaf of an answer as Python has it, with its field; what is empty has none."""
    if isinstance(answer, Mapping):
        for name, value in answer.items():
            yield from field_values(value, field + segment(str(name)))
    elif isinstance(answer, list | tuple):
        for value in answer:
            yield from field_values(value, field + "[*]")
    elif answer is not None or field != "$":
        yield field, answer
