"""The JSON Schema of a pydantic class, with decimals and times spelled in one canonical way."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from edgeslm.errors import SchemaError

_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_SUFFIX = {"aware": _OFFSET, "naive": "", None: f"{_OFFSET}?"}


class _Canonical(GenerateJsonSchema):
    """Decimals as plain numbers; times whose offset is as optional as pydantic takes it.

    JSON Schema's own formats ``time`` and ``date-time`` demand an offset, which the text
    that is extracted from rarely has: a model would have to invent it.
    """

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        rules: dict[str, Any] = {"type": "number"}
        for name, keyword in (
            ("ge", "minimum"), ("gt", "exclusiveMinimum"),
            ("le", "maximum"), ("lt", "exclusiveMaximum"), ("multiple_of", "multipleOf"),
        ):  # fmt: skip
            value = schema.get(name)
            if value is not None:
                rules[keyword] = _number(value)  # type: ignore[arg-type]  # a Decimal, by the names
        places = schema.get("decimal_places")
        if places is not None and "multipleOf" not in rules:
            rules["multipleOf"] = _number(Decimal(1).scaleb(-places))
        digits = schema.get("max_digits")
        if digits is None:
            return rules
        limit = _number(Decimal(1).scaleb(digits - (places or 0)))
        return {"allOf": [rules, {"exclusiveMinimum": -limit, "exclusiveMaximum": limit}]}

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        return _temporal(_TIME, schema)

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        return _temporal(f"{_DATE}T{_TIME}", schema)

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        return {"type": "string", "format": "date"}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "string", "format": "duration"}


class _Kept(_Canonical):
    """Without what pydantic says of a class and does not hold a value to: the elements of a set
    are made unique, and a callable may choose between branches that overlap."""

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        return _repeated(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        return _repeated(super().frozenset_schema(schema))

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        described = super().tagged_union_schema(schema)
        branches = described.pop("oneOf", None)
        return described if branches is None else {**described, "anyOf": branches}


def json_schema(model: type[BaseModel], *, kept: bool = False) -> dict[str, Any]:
    """The schema of the JSON that ``model`` validates, by alias.

    ``kept`` leaves out what pydantic does not hold a value to, so that what the author added, such
    as a format in ``json_schema_extra``, can be asserted in full.

    Raises:
        SchemaError: a field's type has no JSON Schema, such as an arbitrary class.
    """
    generator = _Kept if kept else _Canonical
    try:
        return model.model_json_schema(schema_generator=generator, mode="validation")
    except (PydanticUserError, TypeError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise SchemaError(
            f"{model.__name__}: pydantic cannot describe this class as JSON Schema: {first}",
            path="",
        ) from error


def has_decimals(model: type[BaseModel]) -> bool:
    """Whether a decimal is anywhere in the class, so that numbers must be read digit by digit."""
    has_any = False

    class _Watch(_Canonical):
        def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
            nonlocal has_any
            has_any = True
            return super().decimal_schema(schema)

    model.model_json_schema(schema_generator=_Watch, mode="validation")
    return has_any


def _repeated(described: JsonSchemaValue) -> JsonSchemaValue:
    return {key: value for key, value in described.items() if key != "uniqueItems"}


def _temporal(body: str, schema: Mapping[str, Any]) -> JsonSchemaValue:
    constraint = schema.get("tz_constraint")
    suffix = _SUFFIX.get(constraint, _OFFSET) if isinstance(constraint, str | None) else _OFFSET
    return {"type": "string", "pattern": f"^{body}{suffix}$"}


def _number(value: Decimal | float) -> int | float:
    whole = int(value)
    return whole if whole == value else float(value)
