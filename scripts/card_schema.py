"""Writes the keys and bounds of a card as JSON Schema, for loading encoders without pydantic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import SCHEMA_FILE

#: keywords that are for people
_WORDS = frozenset({"title", "description", "default", "discriminator"})


def schema() -> dict[str, Any]:
    """The schema of `Card` without what is for people."""
    card_schema: dict[str, Any] = _plain(Card.model_json_schema())
    return card_schema


def _plain(value: Any, *, names: bool = False) -> Any:
    """Without those keywords; ``names`` are keys of a card, not keywords."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _plain(item, names=key in {"properties", "$defs"} and not names)
        for key, item in value.items()
        if names or key not in _WORDS
    }


def write(path: Path = SCHEMA_FILE) -> Path:
    """Write the file that edgeslm ships."""
    path.write_text(json.dumps(schema(), separators=(",", ":")) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write())
