"""JSON Schema's own schemas, for schemas that refer to them: `{"$ref": ".../draft-07/schema#"}`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

from edgeslm.schema.drafts import Dialect, named

_HOSTS = ("http://json-schema.org/", "https://json-schema.org/")
#: the first draft whose metaschema is made of vocabularies, and that has ``$defs``
_VOCABULARIES = 2019


def with_metaschemas(root: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The schema with what it refers to of its own draft's metaschema among its definitions.

    That of another draft would be read by the rules of this one, so it stays outside.
    """
    wanted = set(_own_references(root, dialect))
    if not wanted:
        return root
    known = {_base(node) for node in _objects(root)}  # a copy of the author's own is taken
    found: dict[str, Any] = {}
    while wanted := wanted - known - found.keys():
        uri = wanted.pop()
        found[uri] = dict(_registry().contents(uri))
        wanted.update(_own_references(found[uri], dialect))
    if not found:
        return root
    key = "$defs" if dialect.number >= _VOCABULARIES else "definitions"
    return {**root, key: {**found, **root.get(key, {})}}


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
