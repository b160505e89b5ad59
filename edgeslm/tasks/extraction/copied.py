"""Which places of a schema are copied from a text: dates, times and numbers that it offers."""

from __future__ import annotations

import json
from typing import Any, Final

import jsonschema_rs

from edgeslm.tasks.extraction.offered import Offered

#: the keyword, of the grounding alone, around a schema whose values need not stand in the text
FREE: Final = "x-free"
#: the same instead of a schema: its values, as a terminal of the grammar
OFFERED: Final = "x-offered"

#: what tells the name of a definition with marks from the one without
_MARKED: Final = "~copied"
_PLAIN: Final = {"type", "format", "allOf"}
_NUMBERS: Final = ("number", "integer")
_DATE: Final = "/[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])/"
#: of a text without times; an offset would be made up, too
_TIME: Final = "/([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z/"
#: strings that tell a pattern of decimals from others: it allows one of these, and no word
_DECIMALS: Final = ("12.50", "1.5", "0.125")
_WORDS: Final = ("a", "A", "EUR 12.50", "v1.5", "")
_json = json.JSONEncoder(ensure_ascii=False).encode


def copied(closed: dict[str, Any], offered: Offered) -> dict[str, Any] | None:
    """The schema with the values that a text offers in the places that are copied, and with all
    else marked as free; None where there is no such place."""
    return _Marker(closed, offered).root()


class _Marker:
    def __init__(self, closed: dict[str, Any], offered: Offered) -> None:
        self._closed = closed
        self._offered = offered
        self._leaves: dict[str, str | None] = {}
        self._definitions = reached(closed)
        #: definitions that hold a copied place
        self._holding: set[str] = set()

    def root(self) -> dict[str, Any] | None:
        grown = True
        while grown:
            holding = {name for name, node in self._definitions.items() if self._holds(node)}
            grown = holding != self._holding
            self._holding = holding
        whole = {key: value for key, value in self._closed.items() if key != "$defs"}
        if not self._holds(whole):
            return None
        marked = {name + _MARKED: self._mark(self._definitions[name]) for name in self._holding}
        return {**self._mark(whole), "$defs": {**self._closed.get("$defs", {}), **marked}}

    def _holds(self, node: Any) -> bool:
        if not isinstance(node, dict) or "enum" in node or "const" in node:
            return False
        if "$ref" in node:
            return target(node) in self._holding
        if "anyOf" in node:
            return any(map(self._holds, node["anyOf"]))
        if node.get("type") == "object":  # names that are not known are not written here
            is_open = node.get("additionalProperties") is not False or "patternProperties" in node
            return not is_open and any(map(self._holds, node["properties"].values()))
        if node.get("type") == "array":
            return any(map(self._holds, [*node.get("prefixItems", []), node.get("items")]))
        return self._leaf(node) is not None

    def _mark(self, node: Any) -> Any:
        if not self._holds(node):
            return node if node is False else {FREE: node if isinstance(node, dict) else {}}
        if "$ref" in node:
            return {"$ref": f"#/$defs/{target(node)}{_MARKED}"}
        if "anyOf" in node:
            return {"anyOf": [self._mark(branch) for branch in self._branches(node["anyOf"])]}
        whole: dict[str, Any] = {OFFERED: self._leaf(node)}
        if node["type"] == "object":
            marked = {name: self._mark(child) for name, child in node["properties"].items()}
            whole = {**node, "properties": marked}
        elif node["type"] == "array":
            whole = {**node, "items": self._mark(node.get("items", True))}
            if "prefixItems" in node:
                whole["prefixItems"] = [self._mark(child) for child in node["prefixItems"]]
        return whole

    def _branches(self, branches: list[Any]) -> list[Any]:
        """The choices without those of a kind of which another choice is copied: where the text
        has positive numbers alone, there is no free negative one."""
        kinds = {_kind(branch) for branch in branches if self._holds(branch)} - {None}
        return [branch for branch in branches if self._holds(branch) or _kind(branch) not in kinds]

    def _leaf(self, node: dict[str, Any]) -> str | None:
        key = json.dumps(node, sort_keys=True)
        if key not in self._leaves:
            self._leaves[key] = self._terminal(node)
        return self._leaves[key]

    def _terminal(self, node: dict[str, Any]) -> str | None:
        """The values that the text offers for a leaf; None where it is not copied."""
        if node.get("type") in _NUMBERS:
            return _either(list(map(_json, self._offered.numbers_for(node))))
        if node.get("type") != "string":
            return None
        if "format" in node:
            return self._moment(node)
        valid = jsonschema_rs.validator_for(node).is_valid
        if not any(map(valid, _DECIMALS)) or any(map(valid, _WORDS)):
            return None
        return _either([_json(_json(value)) for value in self._offered.decimals if valid(value)])

    def _moment(self, node: dict[str, Any]) -> str | None:
        """The dates or times of the text; a part that it has none of is free, but for the offset
        of a time: Z stands for one that the text does not say."""
        kind = node["format"]
        sample = {"date": "{}", "time": "{}", "date-time": "{}T00:00:00Z"}.get(kind)
        if sample is None or set(node) - _PLAIN:
            return None
        valid = jsonschema_rs.validator_for(node, validate_formats=True).is_valid
        moments = self._offered.times if kind == "time" else self._offered.dates
        first = _either([_json(value) for value in moments if valid(sample.format(value))])
        if kind != "date-time":
            return first and _quoted(first)
        times = _either(list(map(_json, self._offered.times)))
        if not first and not times:
            return None
        return _quoted(first or _DATE, '"T"', times or _TIME)


def _kind(node: Any) -> str | None:
    """What numbers of any bounds share, and strings of one format."""
    if not isinstance(node, dict) or "enum" in node or "const" in node:
        return None
    kind: str | None = node.get("format")
    return "number" if node.get("type") in _NUMBERS else kind


def reached(closed: dict[str, Any]) -> dict[str, Any]:
    """The definitions in use, by name."""
    definitions: dict[str, Any] = {}
    pending: list[Any] = [{key: value for key, value in closed.items() if key != "$defs"}]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict) and "enum" not in node and FREE not in node:
            pending += node.values()
            if isinstance(node.get("$ref"), str) and target(node) not in definitions:
                definitions[target(node)] = closed["$defs"][target(node)]
                pending.append(definitions[target(node)])
    return definitions


def target(node: dict[str, Any]) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _either(spelled: list[str]) -> str | None:
    """One of several texts, each as a string of the grammar."""
    return " | ".join(spelled) or None


def _quoted(*parts: str) -> str:
    """A string of JSON that is these parts one after the other."""
    return " ".join([r'"\""', *(f"({part})" for part in parts), r'"\""'])
