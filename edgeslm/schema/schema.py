"""JSON Schema or pydantic model -> a closed schema that the decoder can enforce in full."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

import jsonschema_rs
from pydantic import BaseModel, ValidationError

from edgeslm.errors import EmptySchemaError, OutputInvalidError, SchemaError, first_fault
from edgeslm.schema.compiler import Compiler
from edgeslm.schema.document import Document, distinct, where
from edgeslm.schema.from_pydantic import has_decimals, json_schema
from edgeslm.schema.keywords import Constraint, How
from edgeslm.schema.recursion import ends
from edgeslm.schema.regex import validator

__all__ = ["Constraint", "How", "Schema", "certify", "compile_schema"]

#: characters of a closed schema beyond which its conditions are checked instead: the grammar
#: library takes some 6 us for each
_MOST_REWRITTEN = 150_000

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class Schema(Generic[T]):
    """A closed schema that the decoder can enforce in full.

    ``source`` is the schema as given, or as pydantic describes the class; ``closed`` is what
    the grammar is built from; ``certificate`` says how each keyword is enforced.
    """

    source: dict[str, Any]
    closed: dict[str, Any]
    certificate: tuple[Constraint, ...]
    model: type[BaseModel] | None = None

    def read(self, json_text: str) -> T:
        """The value of a finished text, validated in full: by the schema, then by pydantic.

        Returns:
            an instance of the pydantic class, with every digit of its decimals, or parsed JSON.

        Raises:
            OutputInvalidError: not JSON, a name given twice, or a rule is broken.
        """
        exact = _parse(json_text, Decimal)
        for check in self._validators:
            error = next(check.iter_errors(exact), None)
            if error is not None:
                place = "".join(f"/{step}" for step in error.instance_path) or "the value"
                raise OutputInvalidError(
                    f"the answer breaks the schema at {place}: {error.message[:300]}",
                    json=json_text,
                )
        if self.model is None:
            value: T = _parse(json_text, float)
            return value
        return self._instance(json_text, exact)

    @cached_property
    def _validators(self) -> tuple[Any, ...]:
        # pydantic's description of a class is not its own rule: pydantic has the last word there
        schemas = [self.closed] if self.model is not None else [self.closed, self.source]
        try:
            return tuple(map(validator, schemas))
        except jsonschema_rs.ValidationError as error:
            raise SchemaError(
                f"schema: its patterns must compile to less than 1 MB, also where several hold "
                f"at one place: {error.message[:200]}",
                path="",
            ) from None

    def prepare(self) -> None:
        """Make what reads values, so that a schema it cannot hold is refused before inference.

        Raises:
            SchemaError: patterns that are too large together.
        """
        _ = self._validators

    @cached_property
    def keeps_decimals(self) -> bool:
        """Whether a value has every digit of its decimals; else they are the nearest doubles."""
        return self.model is not None and has_decimals(self.model)

    def _instance(self, json_text: str, exact: Any) -> T:
        assert self.model is not None
        value: Any
        if self.keeps_decimals:
            # pydantic reads JSON numbers through doubles, where 1284.50 and long decimals lose
            # digits; a strict class takes dates and such from JSON only, so it gets both chances
            try:
                value = self.model.model_validate(exact)
            except ValidationError:
                pass
            else:
                return value  # type: ignore[no-any-return]  # T is the class that the schema is of
        try:
            value = self.model.model_validate_json(json_text)
        except ValidationError as error:
            raise OutputInvalidError(
                f"the answer breaks {self.model.__name__} at "
                f"{first_fault(error, whole='the value')}",
                json=json_text,
            ) from error
        return value  # type: ignore[no-any-return]


@overload
def compile_schema(schema: type[M], *, close_objects: bool = True) -> Schema[M]: ...
@overload
def compile_schema(schema: dict[str, Any], *, close_objects: bool = True) -> Schema[Any]: ...
def compile_schema(
    schema: type[BaseModel] | dict[str, Any], *, close_objects: bool = True
) -> Schema[Any]:
    """Compile a pydantic class or a JSON Schema (draft 4 to 2020-12), before any inference.

    With ``close_objects`` the schema is read as a description of what to extract: an object
    that names properties and does not speak of others has no others, a keyword such as
    ``minimum`` implies its type, numbers are short, and what has no meaning is refused. Without
    it the schema means what the standard says. Property order is kept.

    Raises:
        EmptySchemaError: no value is valid.
        SchemaError: some keyword cannot be enforced, or no value can be valid; ``path`` is
            its JSON pointer and ``keyword`` its name.
    """
    model = schema if isinstance(schema, type) and issubclass(schema, BaseModel) else None
    document = Document(json_schema(model) if model else schema)
    closed, constraints = _compiled(document, close_objects)
    if model is not None:
        note = f"{model.__name__} and its validators read the finished value"
        constraints += (Constraint("", "pydantic", "check", note),)
    compiled: Schema[Any] = Schema(document.root, closed, constraints, model)
    compiled.prepare()
    return compiled


def _compiled(
    document: Document, close_objects: bool
) -> tuple[dict[str, Any], tuple[Constraint, ...]]:
    """The closed schema and its certificate; conditions are rewritten if that leads to both."""
    compiler = Compiler(document, close_objects, rewrite=True)
    try:
        closed, constraints = _finished(compiler, close_objects)
    except SchemaError:
        if not compiler.rewrites.used:
            raise
    else:
        if not compiler.rewrites.used or len(json.dumps(closed)) <= _MOST_REWRITTEN:
            return closed, constraints
    return _finished(Compiler(document, close_objects, rewrite=False), close_objects)


def _finished(
    compiler: Compiler, close_objects: bool
) -> tuple[dict[str, Any], tuple[Constraint, ...]]:
    closed = compiler.run()
    refused = compiler.certificate.refused
    if refused is not None:
        kind = EmptySchemaError if compiler.empty else SchemaError
        raise kind(
            f"{where(refused.path, refused.keyword)}: {refused.note}",
            path=refused.path,
            keyword=refused.keyword or None,
        )
    return ends(closed, strict=close_objects), compiler.certificate.constraints


def certify(
    schema: type[BaseModel] | dict[str, Any], *, close_objects: bool = True
) -> tuple[Constraint, ...]:
    """How each keyword is enforced; what would be refused is listed so, not raised.

    Raises:
        SchemaError: the schema cannot be walked at all: malformed, too large, too deep,
            of an unknown draft, or with a reference that leads nowhere.
    """
    try:
        return compile_schema(schema, close_objects=close_objects).certificate
    except SchemaError as error:
        model = schema if isinstance(schema, type) and issubclass(schema, BaseModel) else None
        document = Document(json_schema(model) if model else schema)
        compiler = Compiler(document, close_objects, rewrite=False)
        compiler.run()
        if compiler.certificate.refused is None:
            compiler.certificate.note(error.path, error.keyword or "", "refused", str(error))
        return compiler.certificate.constraints


def _parse(text: str, number: type[Decimal | float]) -> Any:
    try:
        return json.loads(
            text, parse_float=number, parse_constant=_no_constant, object_pairs_hook=distinct
        )
    except (ValueError, RecursionError) as error:
        raise OutputInvalidError(f"the answer is not JSON: {error}", json=text) from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
