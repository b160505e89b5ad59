"""ExtractionPlan: what of a card, a schema and a prompt holds for an extractor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from edgeslm.errors import CardError, SchemaError
from edgeslm.formats.card import (
    Card,
    ExtractTask,
    FieldCalibration,
    GenerateTask,
    PromptSpec,
    Style,
)
from edgeslm.schema.schema import Schema, compile_schema
from edgeslm.tasks.extraction.grounding import Grounded, Names, field_names, grounded_fields
from edgeslm.tasks.extraction.prompt import default_prompt

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T")

#: tokens of an answer, if neither the card nor the caller says otherwise
DEFAULT_MAX_TOKENS = 512

_UNTRAINED: Final = (
    "to read values with it all the same, say so: extractor(schema, untrained=True), or "
    "--untrained on the command line"
)


@dataclass(frozen=True, slots=True)
class ExtractionPlan(Generic[T]):
    """What an extractor is made of.

    ``grounded`` are the names of the fields that take their values from the text, None for all,
    "auto" for dates, times and numbers of which the text has some.
    ``calibration`` is that of the card where answers are decoded as those it was fitted on.
    ``reads`` is False for a task that writes text of its own.
    """

    schema: Schema[T]
    prompt: PromptSpec
    style: Style = field(default_factory=Style)
    max_tokens: int = DEFAULT_MAX_TOKENS
    grounded: Names = "auto"
    calibration: Mapping[str, FieldCalibration] = field(default_factory=dict)
    reads: bool = True

    @classmethod
    def of(
        cls,
        card: Card | None,
        schema: type[BaseModel] | dict[str, Any] | None = None,
        prompt: PromptSpec | None = None,
        grounded: Grounded | None = None,
        *,
        untrained: bool = False,
        called: str | None = None,
    ) -> ExtractionPlan[Any]:
        """The plan for these; None is for what the card says, or for the default without one.

        ``untrained`` lets a schema be read by a model whose card is for another task. ``called``
        is what messages call the model; None is its card's name.

        Raises:
            CardError: no schema was given, and the card has none.
            SchemaError: the schema cannot be enforced; or the card is for another task; or it
                grounds fields that a given schema with others of its own does not have, and
                ``grounded`` does not say what holds instead.
        """
        task = None if card is None else card.task
        if card is None or not isinstance(task, ExtractTask | GenerateTask):
            if schema is None:
                raise CardError(_no_schema(card, called))
            if card is not None and not untrained:
                raise SchemaError(f"{_other_task(card, called)}; {_UNTRAINED}")
            compiled = _compiled(schema)
            return cls(
                compiled,
                prompt or default_prompt(compiled.source),
                grounded=grounded_fields(compiled, "auto" if grounded is None else grounded),
            )
        compiled = _compiled(task.json_schema if schema is None else schema)
        own: Grounded = task.grounded if isinstance(task, ExtractTask) else False
        if schema is not None and grounded is None:
            own = _own_names(compiled, own, task.json_schema)
        fields = grounded_fields(compiled, own if grounded is None else grounded)
        is_own = schema is None and prompt is None
        fitted = {} if card.calibration is None else card.calibration.fields
        return cls(
            compiled,
            prompt or card.prompt,
            task.style,
            task.max_tokens,
            fields,
            fitted if is_own and fields == grounded_fields(compiled, own) else {},
            isinstance(task, ExtractTask),
        )


def _no_schema(card: Card | None, called: str | None) -> str:
    if card is not None:
        return _other_task(card, called)
    return (
        "this model has no card with a schema; give one: extractor(schema), or --schema FILE on "
        "the command line"
    )


def _other_task(card: Card, called: str | None) -> str:
    """What a specialist that does not extract was trained for, and how it is asked."""
    kind = card.task.kind
    method = "tagger()" if kind == "tag" else "classifier()"
    return (
        f"{called or card.name} was trained to {kind}, not to extract; use {method}, or "
        f"`edgeslm {kind}` on the command line"
    )


def _compiled(schema: object) -> Schema[Any]:
    if not isinstance(schema, dict | type):
        raise SchemaError(
            f"a schema must be a pydantic class or a dict, not {type(schema).__name__}"
        )
    return compile_schema(schema)


def _own_names(schema: Schema[Any], grounded: Grounded, own: dict[str, Any]) -> Grounded:
    """What a card's grounding is for another schema. One that has some fields of the card's ``own``
    alone asks for less, so those that it lacks are not missed.

    Raises:
        SchemaError: it has other fields, and lacks some that the card takes from the text.
    """
    fields = field_names(schema)
    if isinstance(grounded, tuple) and fields and set(fields) <= set(field_names(_compiled(own))):
        return tuple(name for name in grounded if name in fields)
    try:
        grounded_fields(schema, grounded)
    except SchemaError as error:
        raise SchemaError(
            f"the card takes fields from the text that this schema does not have ({error}); say "
            "which of its own are, with extractor(schema, grounded=…), or --grounded or --free on "
            "the command line"
        ) from error
    return grounded
