"""Check: a finished value is held to a schema, within bounds whatever the two are."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from edgeslm.children import run_child
from edgeslm.errors import MachineError, OutputInvalidError, OutputUncheckedError
from edgeslm.schema.looks import Looks, Schemas
from edgeslm.schema.regex import validator

#: looks, beside some for each part of a value, up to which the place of a fault is searched:
#: each collects what is wrong in every branch, and takes some 50 us
_MOST_SEARCHED = 2_000
_SEARCHED_PER_PART = 20
#: looks up to which a value is judged in this process, which nothing can stop: half a second
_MOST_HERE = 4_000_000
#: seconds that another process gets to judge a value
_SECONDS = 2.0


class Check:
    """Holds values to one schema."""

    def __init__(self, schema: dict[str, Any], schemas: Callable[[], Schemas]) -> None:
        """``schemas`` gives the schemas of ``schema`` by their place.

        Raises:
            jsonschema_rs.ValidationError: its patterns are too large.
        """
        self._schema = schema
        self._validator = validator(schema)
        self._schemas = schemas

    @cached_property
    def _looks(self) -> Looks | None:
        return Looks(self._schemas()) if refers(self._schema) else None

    def require(self, value: Any, text: str) -> None:
        """Refuse a value that breaks the schema; ``text`` is its JSON.

        Raises:
            OutputInvalidError: it does.
            OutputUncheckedError: that cannot be told in time.
        """
        looks = 0 if self._looks is None else self._looks.count(value, _MOST_HERE)
        is_here = looks <= _MOST_HERE
        if self._validator.is_valid(value) if is_here else self._judged_apart(text):
            return
        is_searched = looks <= _MOST_SEARCHED + _SEARCHED_PER_PART * text.count(",")
        fault = self._fault(value) if is_searched else None
        where = fault or ", in a place that would take long to search"
        raise OutputInvalidError(f"the answer breaks the schema{where}", json=text)

    def _fault(self, value: Any) -> str | None:
        """Where a value breaks the schema, and how; None where it is nested too deep to tell."""
        try:
            error = next(self._validator.iter_errors(value))
        except ValueError:  # more than 255 levels
            return None
        place = "".join(f"/{step}" for step in error.instance_path) or "the value"
        return f" at {place}: {error.message[:300]}"

    def _judged_apart(self, text: str) -> bool:
        """Whether the value of a text is valid, from a process that can be stopped."""
        asked = json.dumps({"schema": self._schema, "answer": text}).encode()
        try:
            child = run_child("edgeslm.schema.verdict", input=asked, timeout=_SECONDS)
        except (MachineError, TimeoutError) as error:
            raise unchecked(text) from error
        verdict = child.stdout.strip()
        if verdict not in (b"valid", b"invalid"):
            raise unchecked(text)
        return verdict == b"valid"


def refers(schema: dict[str, Any]) -> bool:
    """Whether a schema has references; without, each of its schemas looks at a value once."""
    text = json.dumps(schema)
    return any(f'"{keyword}"' in text for keyword in ("$ref", "$dynamicRef", "$recursiveRef"))


def unchecked(text: str) -> OutputUncheckedError:
    """An answer that cannot be checked in time."""
    return OutputUncheckedError(
        "the answer cannot be checked in time: it nests deep, and at each level several branches "
        "of the schema lead to the same place; tell the branches apart by a constant (in pydantic: "
        "a discriminator), or ask for less nesting",
        json=text,
    )
