"""CardFacts: what an encoder's card says to whoever loads it, checked without pydantic's start-up.

Importing pydantic and building the validator of `Card` take longer than everything else that
edgeslm adds to loading an encoder. `read_facts` knows the cards that the converters write: what
it takes, `Card` takes too, and understands alike. Of all else it says nothing: `Card` decides.
Keys and bounds are not written here a second time: card.schema.json is made from `Card`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from edgeslm.formats.labels import doubled

#: the version of this format; a loader refuses a higher one
CARD_FORMAT: Final = 1
#: the metadata key that holds the card
CARD_KEY: Final = "edgeslm.card"
#: a card larger than this is refused before it is parsed
MAX_CARD_BYTES: Final = 4 * 1024 * 1024
MAX_LABELS: Final = 4096
#: label sets that one pass of an encoder may answer
MAX_HEADS: Final = 32

# Named tuples, since a dataclass takes eight times as long to make.


class LabelSet(NamedTuple):
    """One head's labels by name. A classifier's only set has no name of its own."""

    labels: tuple[str, ...]
    name: str = ""
    multi_label: bool = False
    threshold: float = 0.5


class Bounds(NamedTuple):
    """What a label is chosen by; the fields of a card's calibration that have these names."""

    temperature: float = 1.0
    threshold: float | None = None
    reject: Literal["probability", "energy"] = "probability"
    energy: float | None = None


class CardFacts(NamedTuple):
    """What answering needs of a card. ``heads`` are empty where the task is no encoder's."""

    name: str
    kind: Literal["extract", "classify", "tag", "generate"]
    heads: tuple[LabelSet, ...]
    out_of_scope: str | None
    bounds: Bounds


def read_facts(text: str) -> CardFacts | None:
    """The facts of a card's JSON; None where only `Card` can say whether it is one."""
    if len(text) > MAX_CARD_BYTES or "\\u" in text:  # an escape may be half of a character
        return None
    try:
        card = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
        return facts_of(card) if _is_card(card) else None
    except (ValueError, RecursionError):  # no JSON, or so deep that nobody meant it
        return None


def facts_of(card: Mapping[str, Any]) -> CardFacts:
    """The facts of a valid card in JSON's types."""
    task, calibration = card["task"], card.get("calibration") or {}
    sets = [task] if task["kind"] == "classify" else task.get("heads", ())
    return CardFacts(
        name=card["name"],
        kind=task["kind"],
        heads=tuple(
            LabelSet(tuple(map(_name, head["labels"])), **_some(head, _OF_HEAD)) for head in sets
        ),
        out_of_scope=task.get("out_of_scope"),
        bounds=Bounds(**_some(calibration, _OF_CALIBRATION)),
    )


_OF_HEAD: Final = ("name", "multi_label", "threshold")
_OF_CALIBRATION: Final = ("temperature", "threshold", "reject", "energy")


def _some(members: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: members[key] for key in keys if key in members}


def _name(label: Any) -> str:
    name: str = label if isinstance(label, str) else label["name"]
    return name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    return members


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


# --- what is known to be valid --------------------------------------------------

_Schema = Mapping[str, Any]

#: keys and bounds of a card, which `python -m scripts.card_schema` writes from `Card`
SCHEMA_FILE: Final = Path(__file__).with_name("card.schema.json")
#: far from where a float ends: what is larger, `Card` decides on
_HUGE: Final = 1e100
_LARGE: Final = 2**53
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _is_card(candidate: Any) -> bool:
    """Whether this is an encoder's card. Keys and bounds come from `Card` itself; what its
    validators demand of several keys together is here once more."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    if not _fits(candidate, schema, schema["$defs"]):
        return False
    task, calibration = candidate["task"], candidate.get("calibration") or {}
    if task.get("kind") not in ("classify", "tag") or calibration.get("fields"):
        return False  # the cards of language models
    heads = [task] if task["kind"] == "classify" else task["heads"]
    out_of_scope = task.get("out_of_scope")
    return (
        all(_are_distinct(head["labels"]) for head in heads)
        and len({head.get("name") for head in heads}) == len(heads)
        and (out_of_scope is None or out_of_scope in map(_name, heads[0]["labels"]))
        and (calibration.get("reject") != "energy" or calibration.get("energy") is not None)
        and all(value in (None, "{{ text }}") for value in candidate.get("prompt", {}).values())
    )


def _are_distinct(labels: list[dict[str, Any]]) -> bool:
    verbalizers = {label.get("verbalizer") or label["name"] for label in labels}
    return len(verbalizers) == len(labels) and doubled(label["name"] for label in labels) is None


def _fits(value: Any, schema: _Schema, known: _Schema) -> bool:
    """Whether a JSON value fits a schema; ``known`` are the schemas that it refers to by name."""
    if "$ref" in schema:
        return _fits(value, known[schema["$ref"].removeprefix("#/$defs/")], known)
    branches = schema.get("anyOf") or schema.get("oneOf")  # a card's exclude each other by kind
    if branches is not None:
        return any(_fits(value, branch, known) for branch in branches)
    kind = type(value)
    const = schema.get("const", value)
    fits = _CHECKS.get(kind)
    return (
        (kind is type(const) and value == const)
        and ("enum" not in schema or value in schema["enum"])
        and ("type" not in schema or kind in _TYPES[schema["type"]])
        and (fits is None or fits(value, schema, known))
    )


def _object_fits(value: dict[str, Any], schema: _Schema, known: _Schema) -> bool:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    return (
        _counts(len(value), schema, "Properties")
        and all(name in value for name in schema.get("required", ()))
        and all(
            _fits(item, properties[name], known)
            if name in properties
            else others is not False and _fits(item, {} if others is True else others, known)
            for name, item in value.items()
        )
    )


def _array_fits(value: list[Any], schema: _Schema, known: _Schema) -> bool:
    first, others = schema.get("prefixItems", []), schema.get("items", {})
    return _counts(len(value), schema, "Items") and all(
        _fits(item, first[at] if at < len(first) else others, known)
        for at, item in enumerate(value)
    )


def _text_fits(value: str, schema: _Schema, _known: _Schema) -> bool:
    pattern = schema.get("pattern")
    return _counts(len(value), schema, "Length") and (
        pattern is None or re.fullmatch(pattern, value, re.ASCII) is not None
    )


def _number_fits(value: float, schema: _Schema, _known: _Schema) -> bool:
    most = _LARGE if type(value) is int else _HUGE
    return (
        schema.get("minimum", -most) <= value <= schema.get("maximum", most)
        and value > schema.get("exclusiveMinimum", -math.inf)
        and -most <= value <= most
    )


def _counts(count: int, schema: _Schema, of: str) -> bool:
    least: int = schema.get(f"min{of}", 0)
    most: int = schema.get(f"max{of}", count)
    return least <= count <= most


_CHECKS: Final[dict[type, Callable[[Any, _Schema, _Schema], bool]]] = {
    dict: _object_fits,
    list: _array_fits,
    str: _text_fits,
    int: _number_fits,
    float: _number_fits,
}
