"""The ReaderSpec of a recipe: which leaves its schema has, and how each is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converters.errors import RecipeError
from converters.recipe.data import AnswerField
from converters.recipe.recipe import Recipe
from edgeslm.formats.card import ExtractTask
from edgeslm.formats.onnx.reader_spec import FieldSpec, Read, ReaderSpec
from edgeslm.tasks.extraction.leaves import segment

_ADVICE: Final = "use a language model for it (kind = 'causal')"
#: decimals of an amount that is written as text
_CENTS: Final = 2
#: objects within each other, and references before a type
_DEEPEST: Final = 40
_MOST_REFERENCES: Final = 40


def reader_spec(recipe: Recipe) -> ReaderSpec:
    """What a reader reads for a recipe's task; its transitions are not learned yet.

    Raises:
        RecipeError: the schema has a place that no reader can answer; names it.
    """
    task = recipe.task
    if not isinstance(task, ExtractTask):
        raise RecipeError(f"a reader takes an extract task, not {task.kind}")
    fields = tuple(_fields(task.json_schema, task.json_schema, "$", recipe.data.answer))
    if not fields:
        raise RecipeError(f"task.json_schema: it must have properties for a reader; {_ADVICE}")
    tags = 1 + 2 * sum(field.read == "text" for field in fields)
    zeros = (0.0,) * tags
    return ReaderSpec(recipe.reader.words, fields, (zeros,) * tags, zeros)


def _fields(
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    path: str,
    sources: Mapping[str, AnswerField],
) -> Iterator[FieldSpec]:
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        place = path + segment(name)
        if place.count(".") + place.count("['") > _DEEPEST:
            raise RecipeError(f"{place[:60]}: its references lead to each other; {_ADVICE}")
        resolved, nullable = _resolved(part, root, place)
        if resolved.get("type") == "object" or "properties" in resolved:
            if nullable:
                raise RecipeError(f"{place}: a reader makes no object that may be null; {_ADVICE}")
            if not resolved.get("properties"):
                raise RecipeError(f"{place}: a reader needs an object's properties; {_ADVICE}")
            yield from _fields(resolved, root, place, {})
        else:
            yield _field(resolved, place, nullable, sources.get(name))


def _resolved(
    part: Any, root: Mapping[str, Any], place: str, references: int = 0
) -> tuple[Mapping[str, Any], bool]:
    """A schema behind its references, without null, and whether that was allowed."""
    if references > _MOST_REFERENCES:
        raise RecipeError(f"{place}: its references lead to each other; {_ADVICE}")
    if not isinstance(part, Mapping):
        raise RecipeError(f"{place}: a reader needs a type; {_ADVICE}")
    reference = part.get("$ref")
    if isinstance(reference, str):
        *_, name = reference.split("/")
        definitions = root.get("$defs", root.get("definitions", {}))
        if name not in definitions:
            raise RecipeError(f"{place}: {reference!r} leads to no definition")
        return _resolved(definitions[name], root, place, references + 1)
    branches = part.get("anyOf", part.get("oneOf"))
    if isinstance(branches, list):
        kept = [branch for branch in branches if branch != {"type": "null"}]
        if len(kept) != 1:
            raise RecipeError(
                f"{place}: a reader takes one type or null, no other choice; {_ADVICE}"
            )
        inner, nullable = _resolved(kept[0], root, place, references + 1)
        return inner, nullable or len(kept) < len(branches)
    types = part.get("type")
    if isinstance(types, list):
        kept = [kind for kind in types if kind != "null"]
        if len(kept) != 1:
            raise RecipeError(
                f"{place}: a reader takes one type or null, no other choice; {_ADVICE}"
            )
        return {**part, "type": kept[0]}, len(kept) < len(types)
    return part, False


def _field(
    schema: Mapping[str, Any], place: str, nullable: bool, source: AnswerField | None
) -> FieldSpec:
    if any(isinstance(value, dict | list) for value in _values(schema)):
        raise RecipeError(
            f"{place}: a reader lists texts, numbers, true, false and null; {_ADVICE}"
        )
    if "enum" in schema or "const" in schema or schema.get("type") == "boolean":
        values = _listed(schema, nullable)
        return FieldSpec(place, "listed", values=values, nullable="null" in values)
    kind = schema.get("type")
    if kind in ("number", "integer"):
        return FieldSpec(place, "number", nullable=nullable)
    if kind != "string":
        raise RecipeError(f"{place}: a reader cannot answer the type {kind!r}; {_ADVICE}")
    if source is not None and source.as_ == "amount":
        return FieldSpec(place, "number", places=_CENTS, nullable=nullable)
    if source is not None and source.as_ == "date":
        return FieldSpec(place, "date", nullable=nullable)
    formats: dict[Any, Read] = {"date": "date", "time": "time"}
    return FieldSpec(place, formats.get(schema.get("format"), "text"), nullable=nullable)


def _listed(schema: Mapping[str, Any], nullable: bool) -> tuple[str, ...]:
    values = _values(schema) or [False, True]
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    return tuple(dict.fromkeys([*texts, *(["null"] if nullable else [])]))


def _values(schema: Mapping[str, Any]) -> Sequence[Any]:
    values: Sequence[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values
