"""Every keyword of JSON Schema that edgeslm knows, and the certificate of how each is enforced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgeslm.schema_source import Document, children, escape

How = Literal["mask", "rewrite", "check", "refused"]
_SEVERITY: tuple[How, ...] = ("mask", "rewrite", "check", "refused")

#: keywords that say nothing about which values are valid
ANNOTATIONS = frozenset({
    "$anchor", "$comment", "$defs", "$id", "$schema", "contentEncoding", "contentMediaType",
    "contentSchema", "default", "definitions", "deprecated", "description", "discriminator",
    "examples", "readOnly", "title", "writeOnly",
})  # fmt: skip

#: keyword -> the type of value it constrains
IMPLIES = {
    "minLength": "string", "maxLength": "string", "pattern": "string", "format": "string",
    "minimum": "number", "maximum": "number", "exclusiveMinimum": "number",
    "exclusiveMaximum": "number", "multipleOf": "number",
    "items": "array", "prefixItems": "array", "additionalItems": "array", "minItems": "array",
    "maxItems": "array", "uniqueItems": "array", "contains": "array",
    "properties": "object", "required": "object", "additionalProperties": "object",
    "patternProperties": "object", "minProperties": "object", "maxProperties": "object",
    "propertyNames": "object", "dependentRequired": "object",
}  # fmt: skip

_MASK = frozenset({
    *IMPLIES, "type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf",
}) - {"uniqueItems", "contains", "dependentRequired"}  # fmt: skip

#: keywords that only a finished value can be held against
_CHECK = frozenset({
    "contains", "dependencies", "dependentRequired", "dependentSchemas", "else", "if",
    "maxContains", "minContains", "not", "then", "unevaluatedItems", "unevaluatedProperties",
    "uniqueItems",
})  # fmt: skip

_DRAFT_7_ONLY = frozenset({"additionalItems", "dependencies"})
_SINCE_2019 = frozenset({
    "$anchor", "dependentRequired", "dependentSchemas", "maxContains", "minContains",
    "prefixItems", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip

_VALIDATED = "the finished value is validated"
_HINTS = {
    "nullable": "spell it as type: [..., 'null']",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """How one keyword of a schema is enforced.

    ``path`` is the JSON pointer of the schema that holds ``keyword``. ``how`` is ``mask``
    (while decoding), ``rewrite`` (while decoding, through an equal or narrower form),
    ``check`` (on the finished value) or ``refused``.
    """

    path: str
    keyword: str
    how: How
    note: str

    def to_dict(self) -> dict[str, str]:
        return {"path": self.path, "keyword": self.keyword, "how": self.how, "note": self.note}


class Certificate:
    """Collects constraints; where a keyword is met twice, the weaker enforcement is kept."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: dict[tuple[str, str], Constraint] = {}
        self._surveyed: set[str] = set()

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        return tuple(self._found.values())

    @property
    def refused(self) -> Constraint | None:
        return next((item for item in self._found.values() if item.how == "refused"), None)

    def note(self, path: str, keyword: str, how: How, note: str) -> None:
        old = self._found.get((path, keyword))
        if old is None or _SEVERITY.index(how) >= _SEVERITY.index(old.how):
            self._found[path, keyword] = Constraint(path, keyword, how, note)

    def survey(self, path: str) -> None:
        """List every keyword of the schema at ``path``; unknown ones are refused."""
        node = self._document.at(path)
        if path in self._surveyed or not isinstance(node, dict):
            return
        self._surveyed.add(path)
        for keyword, value in node.items():
            how, note = self._judge(keyword, value, node)
            if how is not None:
                self.note(path, keyword, how, note)
            if how == "check":
                self.check(path, keyword)

    def check(self, path: str, keyword: str) -> None:
        """Leave a keyword, and all schemas in it, to the validator of the finished value."""
        self.note(path, keyword, "check", _VALIDATED)
        for child in children(path, self._document.at(path), (keyword,)):
            self._survey_checked(child)

    def _judge(self, keyword: str, value: Any, node: dict[str, Any]) -> tuple[How | None, str]:
        """How a keyword is enforced unless something special is noted; None for annotations."""
        old = self._document.draft == 7
        idle = keyword == "uniqueItems" and value is False
        if keyword in ANNOTATIONS or keyword.startswith("x-") or idle:
            return None, ""
        if old and "$ref" in node and keyword != "$ref":
            return "refused", "draft 7 ignores what stands beside $ref; put both under allOf"
        if keyword in (_SINCE_2019 if old else _DRAFT_7_ONLY):
            return "refused", f"not a keyword of {'draft 7' if old else 'draft 2020-12'}"
        if keyword in _CHECK:
            return "check", _VALIDATED
        if keyword == "type" and {"number", "integer"}.intersection(
            [value] if isinstance(value, str) else value
        ):
            return "mask", "plain decimals: no exponent, no -0"
        known = keyword in _MASK
        return ("mask", "") if known else ("refused", _HINTS.get(keyword, "unknown keyword"))

    def _survey_checked(self, path: str) -> None:
        """The schemas that only the validator sees: nothing in them reaches the mask."""
        pending = [path]
        while pending:
            place = pending.pop()
            node = self._document.at(place)
            if place in self._surveyed or not isinstance(node, dict):
                continue
            self._surveyed.add(place)
            for keyword, value in node.items():
                how, note = self._judge(keyword, value, node)
                if how == "refused":
                    self.note(place, keyword, how, note)
                elif how is not None:
                    self.note(place, keyword, "check", _VALIDATED)
            pending += children(place, node)
            if "$ref" in node:
                pending.append(self._document.target(place))


def property_path(path: str, keyword: str, name: str) -> str:
    return f"{path}/{keyword}/{escape(name)}"
