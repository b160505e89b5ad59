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
from edgeslm.schema.answers import parse
from edgeslm.schema.check import Check, refers, unchecked
from edgeslm.schema.compiler import Compiler
from edgeslm.schema.document import Document, where
from edgeslm.schema.from_pydantic import has_decimals, json_schema
from edgeslm.schema.keywords import Constraint, How
from edgeslm.schema.looks import ClosedSchemas, Looks
from edgeslm.schema.recursion import ends

__all__ = ["Constraint", "How", "Schema", "certify", "compile_schema"]

#: characters of a closed schema beyond which its conditions are checked instead: the grammar
#: library takes some 6 us for each
_MOST_REWRITTEN = 150_000

#: looks of pydantic at the parts of one value, which nothing can stop: half a second
_MOST_TRIED = 4_000_000

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class Schema(Generic[T]):
    """A closed schema that the decoder can enforce in full.

    ``source`` is the schema as given, or as pydantic describes the class; ``closed`` is what
    the grammar is built from; ``certificate`` says how each keyword is enforced. ``asserted`` is
    what a finished value is held to beside the closed schema; None where that holds everything.
    """

    source: dict[str, Any]
    closed: dict[str, Any]
    certificate: tuple[Constraint, ...]
    model: type[BaseModel] | None = None
    asserted: dict[str, Any] | None = None

    def read(self, json_text: str) -> T:
        """The value of a finished text, validated in full: by the schema, then by pydantic.

        Returns:
            an instance of the pydantic class, with every digit of its decimals, or parsed JSON.

        Raises:
            OutputInvalidError: not JSON, a name given twice, or a rule is broken.
            OutputUncheckedError: that cannot be told in time, since many branches of the schema
                lead to one place of a deep value.
        """
        exact = parse(json_text, Decimal)
        for check in self._checks:
            check.require(exact, json_text)
        if self.model is None:
            value: T = parse(json_text, float)
            return value
        tried = self._tried
        if tried is not None and tried.count(exact, _MOST_TRIED) > _MOST_TRIED:
            raise unchecked(json_text)
        return self._instance(json_text, exact)

    @cached_property
    def _checks(self) -> tuple[Check, ...]:
        try:
            closed = Check(self.closed, lambda: ClosedSchemas(self.closed))
            if self.asserted is None:
                return (closed,)
            return closed, Check(self.asserted, lambda: Document(self.asserted))
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
        _ = self._checks

    @cached_property
    def _tried(self) -> Looks | None:
        """The branches of unions that pydantic tries, all of which it must compare."""
        assert self.model is not None
        described = json_schema(self.model, kept=True)
        return Looks(Document(described), tagged=True) if refers(described) else None

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
    asserted: dict[str, Any] | None = document.root
    if model is not None:
        # pydantic's description of a class is not all its own rule
        checked = any(constraint.how == "check" for constraint in constraints)
        asserted = Document(json_schema(model, kept=True)).root if checked else None
        note = f"{model.__name__} and its validators read the finished value"
        constraints += (Constraint("", "pydantic", "check", note),)
    compiled: Schema[Any] = Schema(document.root, closed, constraints, model, asserted)
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
