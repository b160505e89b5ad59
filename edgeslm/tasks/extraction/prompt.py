"""The prompt for a model that was not trained for a schema: it names the fields wanted"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from edgeslm.errors import SchemaError
from edgeslm.formats.card import PromptSpec


def default_prompt(schema: dict[str, Any]) -> PromptSpec:
    """A prompt for a model that was not trained for the task: names the fields wanted.

    Raises:
        SchemaError: the fields' names and descriptions are too long for a prompt.
    """
    names = [_describe(name, rule) for name, rule in _properties(schema).items()]
    wanted = "\n".join(["the following fields from the text as JSON:", *names])
    try:
        return PromptSpec(
            user=f"Extract {wanted if names else 'what the text says as JSON.'}\n\n"
            "Text:\n{{ text }}\n\nJSON:"
        )
    except ValidationError as error:
        raise SchemaError(
            f"the schema's {len(names)} fields and their descriptions have {len(wanted):,} "
            "characters, too many for a prompt; give a prompt that does not list them"
        ) from error


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _describe(name: str, rule: Any) -> str:
    rule = rule if isinstance(rule, dict) else {}
    kind = rule.get("format") or rule.get("type") or ""
    words = f"- {name}" + (f" ({kind})" if isinstance(kind, str) and kind else "")
    if isinstance(rule.get("description"), str):
        words += f": {rule['description']}"
    return without_code(words)


def without_code(words: str) -> str:
    """Braces pulled apart, so that no schema or label can pose as template code."""
    for mark in ("{{", "{%", "{#"):
        words = words.replace(mark, " ".join(mark))
    return words
