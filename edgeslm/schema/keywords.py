"""Every keyword of JSON Schema that edgeslm knows, and the certificate of how each is enforced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from edgeslm.schema.document import Document, children, escape
from edgeslm.schema.drafts import ignores_beside_ref, knows

How = Literal["mask", "rewrite", "check", "refused"]
_SEVERITY: tuple[How, ...] = ("mask", "rewrite", "check", "refused")

#: keywords that say nothing about which values are valid
ANNOTATIONS = frozenset({
    "$anchor", "$comment", "$defs", "$dynamicAnchor", "$id", "$recursiveAnchor", "$schema",
    "$vocabulary", "contentEncoding", "contentMediaType", "contentSchema", "default",
    "definitions", "deprecated", "description", "discriminator", "examples", "id", "readOnly",
    "title", "writeOnly",
    # of editors, forms and code generators
    "defaultSnippets", "deprecationMessage", "doNotSuggest", "enumDescriptions", "enumNames",
    "errorMessage", "example", "externalDocs", "intellij", "markdownDescription",
    "markdownEnumDescriptions", "meta:enum", "options", "patternErrorMessage", "propertyOrder",
    "suggestSortText", "tsType", "xml",
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
    "$dynamicRef", "$recursiveRef", "contains", "dependencies", "dependentRequired",
    "dependentSchemas", "else", "if", "maxContains", "minContains", "not", "then",
    "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
})  # fmt: skip

_VALIDATED = "the finished value is validated"
_CHOICE = "becomes a choice between what may hold together"
_IN_PART = "the mask holds a part of it; the finished value is validated"
_HINTS = {
    "nullable": "spell it as type: [..., 'null']",
    "dependencies": "not a keyword since draft 2019-09: use dependentRequired or dependentSchemas",
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
    """Collects constraints; where a keyword is met twice, the weaker enforcement is kept.

    With ``strict``, a keyword without a meaning in the schema's draft is refused, since its
    author meant something by it; else it is an annotation, as the standard says. ``rewritten``
    tells the conditions that choices stand for.
    """

    def __init__(
        self, document: Document, strict: bool, rewritten: Callable[[str, str], bool]
    ) -> None:
        self._document = document
        self.budget = document.budget
        self._strict = strict
        self._rewritten = rewritten
        self._found: dict[tuple[str, str], Constraint] = {}
        self._surveyed: set[str] = set()

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        return tuple(self._found.values())

    @property
    def refused(self) -> Constraint | None:
        return next((item for item in self._found.values() if item.how == "refused"), None)

    def note(self, path: str, keyword: str, how: How, note: str) -> None:
        origin = self._document.origin(path)
        if origin is not None:
            if how in ("mask", "rewrite"):
                return
            path, keyword = origin
            note = _IN_PART if how == "check" else note
        old = self._found.get((path, keyword))
        if old is None or _SEVERITY.index(how) >= _SEVERITY.index(old.how):
            self._found[path, keyword] = Constraint(path, keyword, how, note)

    def survey(self, path: str) -> None:
        """List every keyword of the schema at ``path``, also those without a rule."""
        if self._document.origin(path) is not None:
            return
        node = self._document.given(path)
        if path in self._surveyed or not isinstance(node, dict):
            return
        self._surveyed.add(path)
        for keyword, value in node.items():
            how, note = self._judge(path, keyword, value, node)
            if how is not None:
                self.note(path, keyword, how, note)
            if how == "check":
                self.check(path, keyword)

    def check(self, path: str, keyword: str) -> None:
        """Leave a keyword, and all schemas in it, to the validator of the finished value."""
        self.note(path, keyword, "check", _VALIDATED)
        for child in children(path, self._document.at(path), (keyword,)):
            self._survey_checked(child)

    def leave(self, path: str, keyword: str) -> None:
        """Leave a condition, and all that depends on it, to the validator."""
        for part in ("if", "then", "else") if keyword == "if" else (keyword,):
            if part in self._document.at(path):
                self.check(path, part)

    def _judge(
        self, path: str, keyword: str, value: Any, node: dict[str, Any]
    ) -> tuple[How | None, str]:
        """How a keyword is enforced unless something special is noted; None for annotations."""
        idle = keyword == "uniqueItems" and value is False
        if keyword in ANNOTATIONS or keyword.startswith("x-") or idle:
            return None, ""
        reason = self._ignored(keyword, node)
        if reason:
            return ("refused", reason) if self._strict else ("rewrite", f"{reason}: an annotation")
        if keyword in ("$dynamicRef", "$recursiveRef") and "$ref" in self._document.at(path):
            return "rewrite", "leads to one place only: $ref"
        if keyword in _CHECK:
            held = self._rewritten(path, keyword)
            return ("rewrite", _CHOICE) if held else ("check", _VALIDATED)
        types = [value] if isinstance(value, str) else value
        if keyword == "type" and {"number", "integer"}.intersection(types):
            return "mask", "plain decimals: no exponent, no -0"
        return "mask", ""

    def _ignored(self, keyword: str, node: dict[str, Any]) -> str:
        """Why the schema's draft gives no meaning to a keyword; nothing where it does."""
        number = self._document.draft
        if ignores_beside_ref(number, node, keyword):
            return f"draft {number} ignores what stands beside $ref; put both under allOf"
        if not knows(number, keyword):
            return f"not a keyword of draft {number}"
        if keyword == "dependencies" and number > 7 and self._strict:
            return _HINTS[keyword]
        known = keyword in _MASK | _CHECK
        return "" if known else _HINTS.get(keyword, "unknown keyword")

    def _survey_checked(self, path: str) -> None:
        """List the keywords of a schema that the validator alone sees, and of all schemas in it."""
        pending = [path]
        while pending:
            place = pending.pop()
            node = self._document.at(place)
            if place in self._surveyed or not isinstance(node, dict):
                continue
            self._surveyed.add(place)
            given = self._document.given(place)
            for keyword, value in given.items():
                how, note = self._judge(place, keyword, value, given)
                if how == "refused":
                    self.note(place, keyword, how, note)
                elif how is not None and keyword in node:
                    self.note(place, keyword, "check", _VALIDATED)
            pending += children(place, node)
            if "$ref" in node:
                pending.append(self._document.target(place))


def property_path(path: str, keyword: str, name: str) -> str:
    return f"{path}/{keyword}/{escape(name)}"
