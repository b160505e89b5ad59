"""JSON Schema's own schemas, for schemas that refer to them: `{"$ref": ".../draft-07/schema#"}`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

from edgeslm.schema_dialect import Dialect, named

_HOSTS = ("http://json-schema.org/", "https://json-schema.org/")
#: the first draft whose metaschema is made of vocabularies, and that has ``$defs``
_VOCABULARIES = 2019


def with_metaschemas(root: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The schema with what it refers to of its own draft's metaschema among its definitions.

    That of another draft would be read by the rules of this one, so it stays outside.
    """
    found: dict[str, Any] = {}
    pending, known = [root], {_base(node) for node in _objects(root)}
    while pending:
        for uri in _references(pending.pop()):
            if uri not in known and _is_own(uri, dialect):
                known.add(uri)
                found[uri] = dict(_registry().contents(uri))
                pending.append(found[uri])
    if not found:
        return root
    key = "$defs" if dialect.number >= _VOCABULARIES else "definitions"
    return {**root, key: {**found, **root.get(key, {})}}


def _is_own(uri: str, dialect: Dialect) -> bool:
    """Whether this is the draft's metaschema, or one of the vocabularies that it is made of."""
    vocabularies = urljoin(dialect.uri, "meta/")
    vocabulary = dialect.number >= _VOCABULARIES and uri.startswith(vocabularies)
    return (vocabulary or dialect in named(uri)) and uri in _registry()


def _references(document: dict[str, Any]) -> Iterator[str]:
    """The documents on json-schema.org that any ``$ref`` in it names, without fragments."""
    base = _base(document)
    for node in _objects(document):
        reference = node.get("$ref")
        if isinstance(reference, str):
            uri = _joined(base, reference)
            if uri.startswith(_HOSTS):
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
