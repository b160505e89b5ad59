"""JSON Schema or pydantic model -> a closed schema that the decoder can enforce in full."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

import jsonschema_rs
from pydantic import BaseModel, ValidationError

from edgeslm.errors import OutputInvalidError, SchemaError
from edgeslm.schema_compile import Compiler
from edgeslm.schema_keywords import Constraint, How
from edgeslm.schema_pydantic import has_decimals, json_schema
from edgeslm.schema_source import Document, distinct, where

__all__ = ["Constraint", "How", "Schema", "certify", "compile_schema"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

#: bounds on what the grammar library has to go down, by recursion
_MAX_NESTING = 150
_MAX_DEFINITIONS = 2000


@dataclass(frozen=True, eq=False)
class Schema(Generic[T]):
    """A closed schema that the decoder can enforce in full.

    ``source`` is the schema as given, or as pydantic describes the class; ``closed`` is what
    the grammar is built from; ``certificate`` says how each keyword is enforced.
    ``patterns`` are the regular expressions of ``closed``, each as a schema of its own with the
    JSON pointer and keyword of its source: the grammar library tries them one by one.
    """

    source: dict[str, Any]
    closed: dict[str, Any]
    certificate: tuple[Constraint, ...]
    model: type[BaseModel] | None = None
    patterns: tuple[tuple[str, str, dict[str, Any]], ...] = field(default=(), repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of ``closed``; equal for equal grammars."""
        text = json.dumps(self.closed, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, json_text: str) -> T:
        """The value of a finished text, validated in full: by the schema, then by pydantic.

        Returns:
            an instance of the pydantic class, with every digit of its decimals, or parsed JSON.

        Raises:
            OutputInvalidError: not JSON, a name given twice, or a rule is broken.
        """
        exact = _parse(json_text, Decimal)
        for validator in self._validators:
            error = next(validator.iter_errors(exact), None)
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
        return tuple(
            jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
            for schema in schemas
        )

    @cached_property
    def _decimals(self) -> bool:
        return self.model is not None and has_decimals(self.model)

    def _instance(self, json_text: str, exact: Any) -> T:
        assert self.model is not None
        value: Any
        if self._decimals:
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
            first = error.errors(include_url=False)[0]
            place = ".".join(str(step) for step in first["loc"]) or "the value"
            raise OutputInvalidError(
                f"the answer breaks {self.model.__name__} at {place}: {first['msg']}",
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
    """Compile a pydantic class or a JSON Schema (2020-12 or draft 7), before any inference.

    With ``close_objects`` an object that names properties and does not speak of others has
    no others. Property order is kept.

    Raises:
        SchemaError: some keyword cannot be enforced, or no value can be valid; ``path`` is
            its JSON pointer and ``keyword`` its name.
    """
    model = schema if isinstance(schema, type) and issubclass(schema, BaseModel) else None
    document = Document(json_schema(model) if model else schema)
    compiler = Compiler(document, close_objects)
    closed = compiler.run()
    refused = compiler.certificate.refused
    if refused is not None:
        raise SchemaError(
            f"{where(refused.path, refused.keyword)}: {refused.note}",
            path=refused.path,
            keyword=refused.keyword or None,
        )
    _ends(closed)
    constraints = compiler.certificate.constraints
    if model is not None:
        note = f"{model.__name__} and its validators read the finished value"
        constraints += (Constraint("", "pydantic", "check", note),)
    return Schema(document.root, closed, constraints, model, tuple(compiler.patterns))


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
        compiler = Compiler(Document(json_schema(model) if model else schema), close_objects)
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


def _ends(closed: dict[str, Any]) -> None:
    """Refuse definitions that need themselves without end, or that nest too deep to compile."""
    definitions: dict[str, Any] = closed.get("$defs", {})
    if len(definitions) > _MAX_DEFINITIONS:
        raise SchemaError(f"schema: more than {_MAX_DEFINITIONS} definitions are in use", path="")
    finite: set[str] = set()
    grown = True
    while grown:
        grown = False
        for name, node in definitions.items():
            if name not in finite and _finite(node, finite):
                finite.add(name)
                grown = True
    endless = [name for name in definitions if name not in finite]
    if endless or not _finite(closed, finite):
        raise SchemaError(
            f"schema: {', '.join(endless)}: each value needs another one inside it, without end; "
            "make the property optional or allow null",
            path="",
            keyword="$ref",
        )
    if _nesting(closed) > _MAX_NESTING:
        raise SchemaError(f"schema: definitions nest more than {_MAX_NESTING} deep", path="")


def _nesting(closed: dict[str, Any]) -> int:
    """How deep a compiler that follows every definition once, as it meets it, goes down."""
    definitions: dict[str, Any] = closed.get("$defs", {})
    seen: set[str] = set()
    route = [_inside(closed)]
    deepest = 1
    while route:
        child = next(route[-1], None)
        if child is None:
            route.pop()
            continue
        name = child["$ref"].rpartition("/")[2] if "$ref" in child else None
        if name is not None:
            if name in seen:
                continue
            seen.add(name)
            child = definitions[name]
        route.append(_inside(child))
        deepest = max(deepest, len(route))
    return deepest


def _inside(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The closed schemas directly inside one."""
    found = [*node.get("anyOf", ()), *node.get("prefixItems", ())]
    found += [node[key] for key in ("items", "additionalProperties") if key in node]
    for key in ("properties", "patternProperties"):
        found += node.get(key, {}).values()
    if "$ref" in node:
        found.append({"$ref": node["$ref"]})
    return (child for child in found if isinstance(child, dict) and child is not node)


def _finite(node: Any, finite: set[str]) -> bool:
    """Whether some value of finite size is valid, given the definitions known to have one."""
    if not isinstance(node, dict):
        return node is not False
    if "$ref" in node:
        return node["$ref"].rpartition("/")[2] in finite
    if "anyOf" in node:
        return any(_finite(branch, finite) for branch in node["anyOf"])
    if node.get("type") == "object":
        needed = [node["properties"].get(name) for name in node.get("required", [])]
        return all(child is not None and _finite(child, finite) for child in needed)
    if node.get("type") == "array":
        count = node.get("minItems", 0)
        items = [*node.get("prefixItems", []), node["items"]]
        return all(_finite(child, finite) for child in items[:count])
    return True
