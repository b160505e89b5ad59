"""Rows of files become examples, or go to review with the reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from converters.data.fields import Template, lookup, normalise
from converters.data.rows import Row
from converters.data.sources import Source, read_sources
from converters.errors import DataError, RecipeError
from converters.recipe.data import AnswerField, Data
from converters.recipe.recipe import Recipe
from edgeslm.errors import OutputInvalidError
from edgeslm.formats.card import ClassifyTask, ExtractTask, GenerateTask, TagTask
from edgeslm.formats.files import Progress
from edgeslm.formats.text import fold
from edgeslm.schema.schema import compile_schema

#: why a row is in the review file; all but suspects were dropped
Why = Literal[
    "no input",
    "no group",
    "no label",
    "label not in the set",
    "low confidence",
    "answer does not fit",
    "contradictory",
    "near-duplicate",
    "suspect",
]

_PROGRESS_EVERY = 1000
_MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A row for a person to look at. ``row`` is it as the file has it, or as it was read."""

    id: str
    why: Why
    detail: str
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A usable row; ``key`` decides its part: its input, or the value of split.group."""

    row: Row
    key: str


@dataclass(slots=True)
class Filtered:
    """What came of the rows of all files, in their order."""

    read: int = 0
    examples: list[Example] = field(default_factory=list)
    reviewed: list[Reviewed] = field(default_factory=list)


class _UnusableError(Exception):
    """A row that goes to review."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why: Why = why


def read_examples(recipe: Recipe, folder: Path, progress: Progress) -> Filtered:
    """Read the recipe's files from ``folder`` and keep what can be used.

    A row keeps its own ``id`` unless an earlier row has it; else it is FILE:LINE.

    Raises:
        DataError: a file cannot be read, no row is usable, answers of more than half of the
            rows do not fit the schema, or a label differs from one of the task in case only.
        RecipeError: the template is malformed, or answer fields are not the schema's.
        SchemaError: the schema cannot be enforced.
    """
    read = _reader(recipe)
    result = Filtered()
    taken: set[str] = set()
    for file in recipe.data.files:
        for source in read_sources(file, folder):
            name = _name(source, taken)
            taken.add(name)
            try:
                result.examples.append(read(source, name))
            except _UnusableError as error:
                result.reviewed.append(Reviewed(name, error.why, str(error), source.values))
            result.read += 1
            if result.read % _PROGRESS_EVERY == 0:
                progress("reading rows", result.read, None)
    progress("reading rows", result.read, None)
    _require_usable(result)
    return result


def _name(source: Source, taken: set[str]) -> str:
    own = source.values.get("id")
    name = str(own) if isinstance(own, str | int) else ""
    return name if 0 < len(name) <= _MAX_ID and name not in taken else source.place


def _require_usable(result: Filtered) -> None:
    first = {reviewed.why: reviewed for reviewed in reversed(result.reviewed)}
    counts = Counter(reviewed.why for reviewed in result.reviewed)
    unfit = counts["answer does not fit"]
    if unfit > len(result.examples):
        row = first["answer does not fit"]
        raise DataError(
            f"row {row.id}: {row.detail}; answers of {unfit} of "
            f"{unfit + len(result.examples)} rows do not fit the task; "
            "correct data.answer or the schema"
        )
    if not result.examples:
        example = f"; the first, row {result.reviewed[0].id}: " if result.reviewed else ""
        detail = result.reviewed[0].detail if result.reviewed else ""
        raise DataError(f"none of {result.read} rows can be used{example}{detail}")


# --- one row ------------------------------------------------------------------


def _reader(recipe: Recipe) -> Callable[[Source, str], Example]:
    data = recipe.data
    template = Template.parse(data.input)
    answer = _answer_reader(recipe)

    def read(source: Source, name: str) -> Example:
        _require_confidence(source, data)
        try:
            parts = template.fill(source.values)
        except ValueError as error:
            raise _UnusableError("no input", str(error)) from error
        truth = answer(source)
        category = truth if isinstance(truth, str) else None
        text = "".join(parts)
        return Example(Row(name, text, truth, category, parts), _key(source, data, text))

    return read


def _require_confidence(source: Source, data: Data) -> None:
    if data.confidence is None:
        return
    value = lookup(source.values, data.confidence)
    try:
        # CSV has numbers as text
        confidence = float(value) if isinstance(value, str | int | float) else float("nan")
    except (ValueError, OverflowError):
        confidence = float("nan")
    if not 0 <= confidence <= 1:
        raise _UnusableError(
            "low confidence", f"{data.confidence} is {value!r}, not a number from 0 to 1"
        )
    if confidence < data.min_confidence:
        raise _UnusableError("low confidence", f"{confidence:g} is below {data.min_confidence:g}")


def _key(source: Source, data: Data, text: str) -> str:
    if data.split.group is None:
        return text
    value = lookup(source.values, data.split.group)
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise _UnusableError("no group", f"{data.split.group} has no value")
    return str(value)


def _answer_reader(recipe: Recipe) -> Callable[[Source], Any]:
    if isinstance(recipe.task, ClassifyTask):
        names = [label.name for label in recipe.task.labels]
        path = recipe.data.label or ""
        label = _label_reader(names, path)
        return lambda source: label(source, lookup(source.values, path))
    if isinstance(recipe.task, TagTask):
        return _tag_reader(recipe.task, recipe.data)
    return _Answers(recipe.task, recipe.data)


def _tag_reader(task: TagTask, data: Data) -> Callable[[Source], dict[str, Any]]:
    """Each head's label; of a multi-label head a list, also where a row has one label or none."""
    heads = {head.name: (head, data.answer[head.name].source) for head in task.heads}
    labels = {
        name: _label_reader([label.name for label in head.labels], path)
        for name, (head, path) in heads.items()
    }

    def read(source: Source) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for name, (head, path) in heads.items():
            value = lookup(source.values, path)
            if head.multi_label:
                values = value if isinstance(value, list) else [value] * (value not in (None, ""))
                answer[name] = sorted({labels[name](source, item) for item in values})
            else:
                answer[name] = labels[name](source, value)
        return answer

    return read


def _label_reader(labels: Sequence[str], path: str) -> Callable[[Source, Any], str]:
    names = set(labels)
    folded = {fold(name): name for name in names}

    def read(source: Source, value: Any) -> str:
        if isinstance(value, bool):
            value = str(value).lower()
        if not isinstance(value, str | int) or not str(value).strip():
            raise _UnusableError("no label", f"{path} is {value!r}")
        label = str(value).strip()
        if label in names:
            return label
        twin = folded.get(fold(label))
        if twin is not None:
            raise DataError(
                f"{source.place}: the label {label!r} differs from the task's {twin!r} in case, "
                "or the form of a character, only; spell it one way in the data and the recipe"
            )
        raise _UnusableError("label not in the set", f"{label!r} is no label of the task")

    return read


class _Answers:
    """Reads and checks the answers of an extraction."""

    def __init__(self, task: ExtractTask | GenerateTask, data: Data) -> None:
        self._fields = _in_schema_order(task.json_schema, data.answer)
        self._schema = compile_schema(task.json_schema)

    def __call__(self, source: Source) -> dict[str, Any]:
        answer = {}
        for name, spec in self._fields.items():
            try:
                answer[name] = normalise(lookup(source.values, spec.source), spec)
            except ValueError as error:
                raise _UnusableError("answer does not fit", f"at /{name}: {error}") from error
        try:
            self._schema.read(json.dumps(answer, ensure_ascii=False))
        except OutputInvalidError as error:
            raise _UnusableError("answer does not fit", str(error)) from error
        return answer


def _in_schema_order(
    schema: dict[str, Any], fields: dict[str, AnswerField]
) -> dict[str, AnswerField]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise RecipeError("task.json_schema: must be an object schema with its own properties")
    odd = sorted(set(properties) ^ set(fields))
    if odd:
        raise RecipeError(
            f"data.answer.{odd[0]}: data.answer must name each property of task.json_schema "
            "and no other"
        )
    return {name: fields[name] for name in properties}
