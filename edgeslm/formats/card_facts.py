"""CardFacts: what an encoder's card says to whoever loads it, checked without pydantic's start-up.

Importing pydantic and building the validator of `Card` take longer than everything else that
edgeslm adds to loading an encoder. `read_facts` knows the cards that the converters write: what
it takes, `Card` takes too, and understands alike. Of all else it says nothing: `Card` decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

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
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return facts_of(found) if _is_card(found) else None


def facts_of(card: Mapping[str, Any]) -> CardFacts:
    """The facts of a valid card in JSON's types."""
    task, calibration = card["task"], card.get("calibration") or {}
    sets = [task] if task["kind"] == "classify" else task.get("heads", ())
    return CardFacts(
        name=card["name"],
        kind=task["kind"],
        heads=tuple(
            LabelSet(tuple(map(_name, found["labels"])), **_some(found, _OF_HEAD)) for found in sets
        ),
        out_of_scope=task.get("out_of_scope"),
        bounds=Bounds(**_some(calibration, _OF_CALIBRATION)),
    )


_OF_HEAD: Final = ("name", "multi_label", "threshold")
_OF_CALIBRATION: Final = ("temperature", "threshold", "reject", "energy")


def _some(found: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: found[key] for key in keys if key in found}


def _name(label: Any) -> str:
    name: str = label if isinstance(label, str) else label["name"]
    return name


def _verbalizer(label: Any) -> str:
    return _name(label) if isinstance(label, str) else label.get("verbalizer") or label["name"]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


# --- what is known to be valid; `Card` has the same rules, and some that allow more ---------------

Check = Callable[[Any], bool]

#: far from where a float ends: what is larger, `Card` decides on
_HUGE: Final = 1e100
_LARGE: Final = 2**53


def _is(value: object) -> Check:
    return lambda found: type(found) is type(value) and found == value


def _text(least: int, most: int) -> Check:
    return lambda found: type(found) is str and least <= len(found) <= most


def _matching(pattern: str) -> Check:
    fits = re.compile(pattern, re.ASCII).fullmatch
    return lambda found: type(found) is str and fits(found) is not None


def _number(least: float = -_HUGE, most: float = _HUGE) -> Check:
    return lambda found: type(found) in (int, float) and least <= found <= most


def _count(least: int) -> Check:
    return lambda found: type(found) is int and least <= found <= _LARGE


def _maybe(check: Check) -> Check:
    return lambda found: found is None or check(found)


def _many(check: Check, least: int = 0, most: int = _LARGE) -> Check:
    return lambda found: (
        type(found) is list and least <= len(found) <= most and all(map(check, found))
    )


def _table(check: Check) -> Check:
    return lambda found: type(found) is dict and all(map(check, found.values()))


def _closed(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    known = {**required, **optional}
    return lambda found: (
        type(found) is dict
        and found.keys() <= known.keys()
        and required.keys() <= found.keys()
        and all(known[key](value) for key, value in found.items())
    )


def _distinct(values: Iterable[str]) -> bool:
    listed = list(values)
    return len(set(listed)) == len(listed)


_ANY: Final = _text(0, MAX_CARD_BYTES)
_SHORT: Final = _text(1, 200)
_SHARE: Final = _number(0, 1)
_SHA256: Final = _matching(r"[0-9a-f]{64}")
_LABEL: Final = _closed(
    {"name": _SHORT}, {"verbalizer": _maybe(_SHORT), "description": _maybe(_text(0, 2000))}
)
_LABELS: Final = _many(lambda found: _SHORT(found) or _LABEL(found), 2, MAX_LABELS)


def _are_labels(found: Any) -> bool:
    return _LABELS(found) and _distinct(map(_name, found)) and _distinct(map(_verbalizer, found))


_HEAD: Final = _closed(
    {"name": _SHORT, "labels": _are_labels},
    {"multi_label": lambda found: type(found) is bool, "threshold": _SHARE},
)
_TAG: Final = _closed({"kind": _is("tag"), "heads": _many(_HEAD, 1, MAX_HEADS)}, {})
_CLASSIFY: Final = _closed(
    {"kind": _is("classify"), "labels": _are_labels}, {"out_of_scope": _maybe(_SHORT)}
)


def _is_task(found: Any) -> bool:
    if _CLASSIFY(found):
        return found.get("out_of_scope") in {None, *map(_name, found["labels"])}
    return _TAG(found) and _distinct(head["name"] for head in found["heads"])


_CALIBRATION: Final = _closed(
    {},
    {
        "temperature": _number(1 / _HUGE, 100),
        "threshold": _maybe(_SHARE),
        "reject": lambda found: found in ("probability", "energy"),
        "energy": _maybe(_number()),
        "fields": _is({}),
        "fitted_on_sha256": _maybe(_SHA256),
        "n": _maybe(_count(1)),
        "ece_before": _maybe(_SHARE),
        "ece_after": _maybe(_SHARE),
    },
)


def _is_calibration(found: Any) -> bool:
    return _CALIBRATION(found) and (
        found.get("reject") != "energy" or found.get("energy") is not None
    )


_SCORE: Final = _closed(
    {"metric": _SHORT, "value": _SHARE, "n": _count(1), "gold": _SHORT},
    {
        "interval": _maybe(_many(_number(), 2, 2)),
        "gold_sha256": _maybe(_SHA256),
        "by_category": _table(
            _closed({"n": _count(0), "value": _SHARE}, {"lower": _maybe(_SHARE)})
        ),
        "baselines": _table(_number()),
    },
)
_PROVENANCE: Final = _closed(
    {},
    {
        "base": _maybe(_ANY),
        **dict.fromkeys(
            ("base_sha256", "adapter_sha256", "recipe_sha256", "data_sha256"), _maybe(_SHA256)
        ),
        "tools": _table(_ANY),
        "sources": _many(_ANY),
    },
)
#: a label, or a label or several for each head
_ANSWER: Final = _table(lambda found: _ANY(found) or _many(_ANY)(found))
_EXAMPLE: Final = _closed(
    {"input": _text(1, 65536), "expected": lambda found: _ANY(found) or _ANSWER(found)}, {}
)
#: the one that every encoder's card has, since it reads the text alone
_PROMPT: Final = _closed(
    {}, {"system": _is(None), "user": _is("{{ text }}"), "chat_template_sha256": _is(None)}
)
_is_card: Final = _closed(
    {
        "name": _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
        "licence": _SHORT,
        "task": _is_task,
    },
    {
        "format": _is(CARD_FORMAT),
        "version": _SHORT,
        "description": _text(0, 2000),
        "prompt": _PROMPT,
        "calibration": _maybe(_is_calibration),
        "scores": _many(_SCORE),
        "proven_as": _is(["file"]),  # no encoder has adapters
        "provenance": _PROVENANCE,
        "examples": _many(_EXAMPLE, 0, 100),
    },
)
