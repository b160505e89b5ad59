"""Which of a reader's fields a schema asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from edgeslm.errors import SchemaError
from edgeslm.formats.onnx.reader_spec import ReaderSpec
from edgeslm.tasks.extraction.leaves import segment

#: references that may lead to each other before they lead to a type
_MOST_REFERENCES: Final = 100


class Asked(NamedTuple):
    """Paths of the fields that are read, and of the places that no field is read for."""

    known: frozenset[str]
    unknown: tuple[str, ...]


def asked_of(schema: Mapping[str, Any], spec: ReaderSpec) -> Asked:
    """What a schema's properties ask a reader for.

    Raises:
        SchemaError: it has no properties, or references that lead nowhere.
    """
    tree: dict[str, Any] = {}
    for field in spec.fields:
        *above, name = field.names
        place = tree
        for step in above:
            place = place.setdefault(step, {})
        place[name] = field.path
    if not _properties(_resolved(schema, schema)):
        raise SchemaError("a record that is read is an object with named properties; name them")
    places = [*_asked(schema, schema, tree, "$")]
    known = frozenset(path for path, is_known in places if is_known)
    return Asked(known, tuple(path for path, is_known in places if not is_known))


def _asked(
    part: Any, root: Mapping[str, Any], tree: Mapping[str, Any], path: str
) -> Iterator[tuple[str, bool]]:
    for name, inner in _properties(_resolved(part, root)).items():
        place = path + segment(name)
        known = tree.get(name)
        if isinstance(known, str):
            yield known, True
        elif known is None or not _properties(_resolved(inner, root)):
            yield place, False
        else:
            yield from _asked(inner, root, known, place)


def _properties(part: Any) -> Mapping[str, Any]:
    own = part.get("properties") if isinstance(part, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def _resolved(part: Any, root: Mapping[str, Any]) -> Any:
    """A schema behind its references, and of a choice the one that is no null."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(part, Mapping):
            return part
        branches = part.get("anyOf", part.get("oneOf"))
        if isinstance(part.get("$ref"), str):
            part = _led_to(part["$ref"], root)
        elif isinstance(branches, list) and not _properties(part):
            others = [branch for branch in branches if branch != {"type": "null"}]
            if len(others) != 1:
                return part
            part = others[0]
        else:
            return part
    raise SchemaError("schema: its references lead to each other; let them lead to a type")


def _led_to(reference: str, root: Any) -> Any:
    place = root
    for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        place = place.get(step.replace("~1", "/").replace("~0", "~")) if _is_map(place) else None
    return place


def _is_map(place: Any) -> bool:
    return isinstance(place, Mapping)
