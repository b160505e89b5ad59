"""The drafts of JSON Schema: their keywords, today's spelling for them, their metaschemas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urljoin


@dataclass(frozen=True, slots=True)
class Dialect:
    """One draft: ``number`` is 4, 6, 7, 2019 or 2020, ``uri`` its canonical ``$schema``."""

    number: int
    uri: str

    @property
    def name(self) -> str:
        """As people call it, such as "2020-12"."""
        return {2019: "2019-09", 2020: "2020-12"}.get(self.number, str(self.number))


_DRAFTS = {
    4: Dialect(4, "http://json-schema.org/draft-04/schema#"),
    6: Dialect(6, "http://json-schema.org/draft-06/schema#"),
    7: Dialect(7, "http://json-schema.org/draft-07/schema#"),
    2019: Dialect(2019, "https://json-schema.org/draft/2019-09/schema"),
    2020: Dialect(2020, "https://json-schema.org/draft/2020-12/schema"),
}
#: what a schema that names no draft is tried as: the first under which it is well-formed
GUESSES = (_DRAFTS[2020], _DRAFTS[7], _DRAFTS[4])

_NAMES = {
    "json-schema.org/draft/2020-12/schema": _DRAFTS[2020],
    "json-schema.org/draft/2019-09/schema": _DRAFTS[2019],
    "json-schema.org/draft-07/schema": _DRAFTS[7],
    "json-schema.org/draft-06/schema": _DRAFTS[6],
    "json-schema.org/draft-05/schema": _DRAFTS[4],  # a new text of the same draft
    "json-schema.org/draft-04/schema": _DRAFTS[4],
}
#: what was once defined to be "the newest draft", and so names none
_NAMELESS = ("", "json-schema.org/schema")

#: the first and the last draft that know a keyword, for those that not all drafts know
_SINCE = {
    "const": 6, "contains": 6, "propertyNames": 6,
    "if": 7, "then": 7, "else": 7,
    "$anchor": 2019, "$recursiveAnchor": 2019, "$recursiveRef": 2019,
    "dependentRequired": 2019, "dependentSchemas": 2019, "maxContains": 2019,
    "minContains": 2019, "unevaluatedItems": 2019, "unevaluatedProperties": 2019,
    "$dynamicAnchor": 2020, "$dynamicRef": 2020, "prefixItems": 2020,
}  # fmt: skip
_UNTIL = {"$recursiveAnchor": 2019, "$recursiveRef": 2019, "additionalItems": 2019}

#: what stays beside a ``$ref`` where a draft ignores its siblings
_BESIDE_REF = frozenset({"$ref", "$schema", "definitions", "$defs"})

#: where the schemas of JSON Schema itself are
_HOSTS = ("http://json-schema.org/", "https://json-schema.org/")
#: the first draft whose metaschema is made of vocabularies, and that has ``$defs``
_VOCABULARIES = 2019


def named(uri: str) -> tuple[Dialect, ...]:
    """The drafts that a ``$schema`` may mean; none where it names a foreign one."""
    bare = (
        uri.removeprefix("https://")
        .removeprefix("http://")
        .rstrip("#/")
        .replace("/hyper-schema", "/schema")
    )
    if bare in _NAMELESS:
        return GUESSES
    return (_NAMES[bare],) if bare in _NAMES else ()


def knows(number: int, keyword: str) -> bool:
    """Whether a draft gives a meaning to a keyword that some draft has."""
    return _SINCE.get(keyword, 0) <= number <= _UNTIL.get(keyword, 9999)


def ignores_beside_ref(number: int, node: dict[str, Any], keyword: str) -> bool:
    """Whether a draft ignores this keyword because it stands beside ``$ref``."""
    return number <= 7 and "$ref" in node and keyword not in _BESIDE_REF


def in_one_spelling(node: dict[str, Any], number: int) -> dict[str, Any]:
    """The keywords of one schema object that its draft gives a meaning to, spelled as today."""
    spelled = {
        keyword: value
        for keyword, value in node.items()
        if knows(number, keyword) and not ignores_beside_ref(number, node, keyword)
    }
    if number == 4:
        if isinstance(spelled.get("id"), str) and "$ref" not in spelled:
            spelled["$id"] = spelled["id"]
        for bound, exclusive in (
            ("minimum", "exclusiveMinimum"),
            ("maximum", "exclusiveMaximum"),
        ):
            if spelled.pop(exclusive, False) is True and bound in spelled:
                spelled[exclusive] = spelled.pop(bound)
    return spelled


def with_metaschemas(root: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The schema with what it refers to of its own draft's metaschema among its definitions.

    That of another draft would be read by the rules of this one, so it stays outside.
    """
    wanted = set(_own_references(root, dialect))
    if not wanted:
        return root
    known = {_base(node) for node in _objects(root)}  # a copy of the author's own is taken
    metaschemas: dict[str, Any] = {}
    while wanted := wanted - known - metaschemas.keys():
        uri = wanted.pop()
        metaschemas[uri] = dict(_registry().contents(uri))
        wanted.update(_own_references(metaschemas[uri], dialect))
    if not metaschemas:
        return root
    key = "$defs" if dialect.number >= _VOCABULARIES else "definitions"
    return {**root, key: {**metaschemas, **root.get(key, {})}}


def _own_references(document: dict[str, Any], dialect: Dialect) -> Iterator[str]:
    """What any ``$ref`` names of the draft's metaschema, or of its vocabularies."""
    base, vocabularies = _base(document), urljoin(dialect.uri, "meta/")
    for node in _objects(document):
        reference = node.get("$ref")
        if not isinstance(reference, str):
            continue
        uri = _joined(base, reference)
        if not uri.startswith(_HOSTS):
            continue
        is_vocabulary = dialect.number >= _VOCABULARIES and uri.startswith(vocabularies)
        if (is_vocabulary or dialect in named(uri)) and uri in _registry():
            yield uri


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            yield node


def _base(document: dict[str, Any]) -> str:
    identifier = document.get("$id", document.get("id"))
    return _joined("", identifier) if isinstance(identifier, str) else ""


def _joined(base: str, reference: str) -> str:
    try:
        return urldefrag(urljoin(base, reference)).url
    except ValueError:  # no URI; who resolves it says so
        return ""


def _registry() -> Any:
    from jsonschema_specifications import REGISTRY  # some 40 ms, for few schemas

    return REGISTRY
