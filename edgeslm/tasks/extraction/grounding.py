"""Grounded answers: a grammar whose strings, numbers and dates are those of one text."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

import jsonschema_rs

from edgeslm import arguments
from edgeslm.decoding.grammar import json_options
from edgeslm.errors import ArgumentError, InputError, SchemaError
from edgeslm.formats.card import Style
from edgeslm.schema.parts import for_mask
from edgeslm.schema.schema import Schema
from edgeslm.tasks.extraction.copied import FREE, OFFERED, copied, reached, target
from edgeslm.tasks.extraction.offered import Offered

#: all of an answer, none of it, these properties of its top level, or what is copied: dates,
#: times and numbers of which the text has some
Grounded = bool | Literal["auto"] | Collection[str]
#: the names of properties; None for all
Names = frozenset[str] | Literal["auto"] | None

_TRIMMED = "/([^ ](.*[^ ])?)?/"
_json = json.JSONEncoder(ensure_ascii=False).encode
_PLAIN = {"type", "minLength", "maxLength"}


def grounded_fields(schema: Schema[Any], grounded: Grounded) -> Names:
    """The names of the top-level properties that are grounded; None for the whole answer.

    ``"auto"`` stays as it is; a property of that name is ``["auto"]``.

    Raises:
        SchemaError: the answer's top level has no property of such a name.
    """
    if isinstance(grounded, bool):
        return None if grounded else frozenset()
    if grounded == "auto":
        return "auto"
    wrong = not isinstance(grounded, str | Collection) or isinstance(grounded, bytes | Mapping)
    if wrong or not all(isinstance(name, str) for name in grounded):
        raise ArgumentError(
            "grounded must be True, False, 'auto' or names of fields, not "
            f"{arguments.shown(grounded)}"
        )
    names = frozenset([grounded] if isinstance(grounded, str) else grounded)
    known = field_names(schema)
    unknown = sorted(map(repr, names.difference(known)))
    if unknown:
        raise SchemaError(
            f"grounded: the schema has no field {', '.join(unknown)} at its top level; it has "
            f"{', '.join(known)[:500] or 'none'}"
        )
    return names


def field_names(schema: Schema[Any]) -> list[str]:
    """The names of the properties that the answer's top level may have."""
    objects = _outermost(schema.closed, schema.closed)
    return list(dict.fromkeys(name for part in objects for name in part.get("properties", ())))


def value_types(schema: Schema[Any]) -> frozenset[str]:
    """The JSON types that an answer may have as a whole; none where that is not said."""
    kinds = {part.get("type", "") for part in _outermost(schema.closed, schema.closed)}
    return frozenset() if "" in kinds else frozenset(kinds)


def ground(
    schema: Schema[Any],
    text: str,
    style: Style,
    fields: frozenset[str] | None = None,
    check: Callable[[], object] = bool,
) -> str:
    """The grammar, in llguidance's form of Lark, of the values that stand in a text.

    Strings are runs of whole words of the text, where all white space is one space; a
    string with a pattern or format has at most `MAX_PATTERN_PARTS` words and marks, or is a
    number of the text in plain decimals. Numbers and dates are those that the text has in
    any spelling, times those of which it says the offset, too. Listed values, booleans and null
    are not grounded. Where ``fields`` is not None, top-level properties of other names are as the
    schema alone has them. ``check`` is called while the text is searched, and may raise.

    Raises:
        SchemaError: an object may hold names that the schema does not list.
        InputError: the text holds no value for a place that must have one.
    """
    root = schema.closed
    if fields is not None:
        root = _free_others(root, fields)
    return _Writer(root, Offered(text, check), style).grammar()


def ground_copied(
    schema: Schema[Any], text: str, style: Style, check: Callable[[], object] = bool
) -> str | None:
    """The grammar whose dates, times and numbers are those of a text, as far as it has some.

    A place for which the text offers no valid value of its kind is as the schema alone has it,
    and so are strings and objects of any names; None where that is all of the answer.
    """
    offered = Offered(text, check)
    marked = copied(schema.closed, offered)
    return None if marked is None else _Writer(marked, offered, style).grammar()


class _Writer:
    """Writes one grammar. A place that the text has nothing for is None, and left out."""

    def __init__(self, root: dict[str, Any], text: Offered, style: Style) -> None:
        self._root = root
        self._definitions = reached(root)
        self._text = text
        self._style = style
        self._leaves: dict[str, str | None] = {}
        self._lines: dict[str, str] = {}  # right side -> name
        self._possible: set[str] = set()

    def grammar(self) -> str:
        self._find_possible()
        if not self._can(self._root):
            raise InputError(
                f"the text holds nothing for {self._blame(self._root, '$')}, and a grounded "
                "answer takes values only from the text; allow null there, or answer without "
                "grounded"
            )
        lines = [f"start: {self._value(self._root)}"]
        for name, node in self._definitions.items():
            if name in self._possible:
                lines.append(f"{self._rule_of(name)}: {self._value(node)}")
        lines += [f"{name}: {right}" for right, name in self._lines.items()]
        return "\n".join(lines) + "\n"

    # --- what the text has something for --------------------------------------

    def _find_possible(self) -> None:
        """Definitions that some value of the text fits; those that need others come later."""
        grown = True
        while grown:
            fits = {name for name, node in self._definitions.items() if self._can(node)}
            grown = fits != self._possible
            self._possible = fits

    def _can(self, node: dict[str, Any] | bool) -> bool:
        if (
            isinstance(node, bool) or FREE in node or OFFERED in node
        ):  # False where there are to be no items
            return node is not False
        if "$ref" in node:
            return target(node) in self._possible
        if "anyOf" in node:
            return any(self._can(branch) for branch in node["anyOf"])
        if node.get("type") == "object":
            _refuse_open(node)
            return all(self._can(node["properties"][name]) for name in node.get("required", []))
        if node.get("type") == "array":
            needed, first = node.get("minItems", 0), node.get("prefixItems", [])
            items = [*first[:needed], *([node["items"]] if needed > len(first) else [])]
            return all(self._can(child) for child in items)
        return self._leaf(node) is not None

    def _blame(self, node: dict[str, Any], path: str) -> str:
        """The first place that keeps the whole from having a value."""
        if "$ref" in node:
            return self._blame(self._definitions[target(node)], path)
        for name in node.get("required", []):
            if not self._can(node["properties"][name]):
                return self._blame(node["properties"][name], f"{path}.{name}")
        return path

    # --- values ---------------------------------------------------------------

    def _value(self, node: dict[str, Any]) -> str:
        if FREE in node or OFFERED in node:
            return self._free(node[FREE]) if FREE in node else self._terminal(node[OFFERED])
        if "$ref" in node:
            return self._rule_of(target(node))
        if "anyOf" in node:
            return self._either([self._value(b) for b in node["anyOf"] if self._can(b)])
        if node.get("type") == "object":
            return self._object(node)
        if node.get("type") == "array":
            return self._array(node)
        leaf = self._leaf(node)
        assert leaf is not None
        return leaf

    def _free(self, node: dict[str, Any]) -> str:
        """A value by the schema alone, which the grammar library reads as it stands."""
        definitions = reached({**node, "$defs": self._root["$defs"]})
        whole = for_mask({**node, "$defs": definitions}) | json_options(self._style)
        return self._rule(f"%json {_json(whole)}")

    def _object(self, node: dict[str, Any]) -> str:
        """Members in order; ``rest`` are those to come, after none or some were written."""
        members = [
            (_literal(_json(name) + self._style.key_separator), child, name)
            for name, child in node["properties"].items()
            if self._can(child)
        ]
        comma = _literal(self._style.item_separator)
        after_none = after_some = '""'
        for key, child, name in reversed(members):
            member = f"{key} {self._value(child)}"
            none, some = f"{member} {after_some}", f"{comma} {member} {after_some}"
            if name not in node.get("required", []):
                none, some = self._either([none, after_none]), self._either([some, after_some])
            after_none, after_some = self._rule(none), self._rule(some)
        return self._rule(f'"{{" {after_none} "}}"')

    def _array(self, node: dict[str, Any]) -> str:
        needed: int = node.get("minItems", 0)
        limit: int | None = node.get("maxItems")
        first: list[str] = []
        for child in node.get("prefixItems", []):
            if not self._can(child):
                break
            first.append(self._value(child))
        comma = _literal(self._style.item_separator)
        rest = '""'
        whole = len(first) == len(node.get("prefixItems", []))
        if whole and self._can(node["items"]):
            item = self._value(node["items"])
            if not first and limit != 0:  # the first one has no comma
                first.append(item)
            low = max(0, needed - len(first))
            if limit is None or limit > len(first):
                high = "" if limit is None else limit - len(first)
                rest = self._rule(f"({comma} {item}){{{low},{high}}}")
        for i in reversed(range(len(first))):
            rest = self._rule(f"{comma} {first[i]} {rest}" if i else f"{first[i]} {rest}")
            rest = rest if i < needed else self._either([rest, '""'])
        return self._rule(f'"[" {rest} "]"')

    def _leaf(self, node: dict[str, Any]) -> str | None:
        key = json.dumps(node, sort_keys=True)
        if key not in self._leaves:
            if node.get("type") == "string" and not set(node) - _PLAIN:
                self._leaves[key] = self._run(node.get("minLength", 0), node.get("maxLength"))
            else:
                spelled = " | ".join(map(_literal, self._spellings(node)))
                self._leaves[key] = self._terminal(spelled) if spelled else None
        return self._leaves[key]

    def _spellings(self, node: dict[str, Any]) -> Iterator[str]:
        """The JSON texts that a leaf may have, but for strings that are any run of the text."""
        if "enum" in node:
            yield from (self._dump(value) for value in node["enum"])
            return
        kind = node["type"]
        if kind in ("boolean", "null"):
            yield from ("true", "false") if kind == "boolean" else ("null",)
            return
        valid = jsonschema_rs.validator_for(node, validate_formats=True).is_valid
        if kind == "string":
            kind = node.get("format")
            offered = self._text.formatted(kind)
            if kind != "date":
                offered = list(dict.fromkeys([*offered, *self._text.patterned]))
            yield from (_json(value) for value in offered if valid(value))
            return
        yield from self._text.numbers_for(node)

    def _run(self, low: int, high: int | None) -> str | None:
        """A string that is a run of whole parts of the text, within bounds on its characters."""
        if not self._text.has_run(low, high):
            return None
        rules = [self._terminal(self._text.any_run), _TRIMMED]
        if low or high is not None:
            rules.append(rf'/([^"\\]|\\.){{{low},{"" if high is None else high}}}/')
        return self._terminal(rf'"\"" ({" & ".join(rules)}) "\""')

    def _dump(self, value: Any) -> str:
        separators = (self._style.item_separator, self._style.key_separator)
        return json.dumps(value, ensure_ascii=False, separators=separators)

    # --- lines of the grammar -------------------------------------------------

    def _rule_of(self, definition: str) -> str:
        return f"def_{list(self._definitions).index(definition)}"

    def _either(self, choices: list[str]) -> str:
        return self._rule(" | ".join(dict.fromkeys(choices)))

    def _rule(self, right: str) -> str:
        if right.isidentifier():
            return right
        return self._lines.setdefault(right, f"rule_{len(self._lines)}")

    def _terminal(self, right: str) -> str:
        return self._lines.setdefault(right, f"TERM_{len(self._lines)}")


def _refuse_open(node: dict[str, Any]) -> None:
    if node.get("additionalProperties") is not False or "patternProperties" in node:
        raise SchemaError(
            "schema: an object with names that the schema does not list cannot be grounded; "
            'list its properties, and set "additionalProperties": false',
            keyword="additionalProperties",
        )


def _outermost(
    node: dict[str, Any], root: dict[str, Any], seen: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """The choices that a value has as a whole, behind references."""
    if "$ref" in node:
        name = target(node)
        if name not in seen:
            yield from _outermost(root["$defs"][name], root, seen | {name})
    elif "anyOf" in node:
        for branch in node["anyOf"]:
            yield from _outermost(branch, root, seen)
    else:
        yield node


def _free_others(root: dict[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    """The schema with the outermost objects' properties of other names marked as free."""
    choices = []
    for part in _outermost(root, root):
        properties = part.get("properties", {}).items()
        marked = {name: child if name in fields else {FREE: child} for name, child in properties}
        choices.append({**part, "properties": marked} if marked else part)
    whole = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {**whole, "$defs": root.get("$defs", {})}


def _literal(text: str) -> str:
    """A text as a string of the grammar, which escapes as JSON does."""
    return _json(text)
