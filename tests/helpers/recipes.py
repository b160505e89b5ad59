"""Recipes and data files made up for tests of the training side."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.recipe.recipe import Recipe


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_sorted_words(
    path: Path, count: int, words: Sequence[str], labels: Sequence[str], *, length: int
) -> list[dict[str, Any]]:
    """Rows of drawn words, each with its label somewhere among them."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        text, label = draw.choices(words, k=length), labels[number % len(labels)]
        text.insert(draw.randrange(length + 1), label)
        rows.append({"text": " ".join(text), "label": label})
    write_jsonl(path, rows)
    return rows


def recipe(task: dict[str, Any], *files: str, **data: Any) -> Recipe:
    """A recipe over ``files``; ``data`` are further keys of its data table."""
    listed = [{"path": name, "url": "https://example.org", "licence": "MIT"} for name in files]
    return Recipe.model_validate(
        {
            "name": "made-up",
            "licence": "Apache-2.0",
            "base": "smollm2-135m",
            "task": task,
            "data": {"files": listed, **data},
            "examples": [{"input": "a", "expected": _expected(task)}],
        }
    )


def _expected(task: dict[str, Any]) -> Any:
    """An answer that the task can give."""
    if "labels" in task:
        label = task["labels"][0]
        return label if isinstance(label, str) else label["name"]
    return {head["name"]: head["labels"][0] for head in task.get("heads", [])} or "a"


def classify(*files: str, labels: list[str], **data: Any) -> Recipe:
    data.setdefault("label", "label")
    return recipe({"kind": "classify", "labels": labels}, *files, **data)


BILL_SCHEMA = {
    "type": "object",
    "properties": {
        "shop": {"type": ["string", "null"], "maxLength": 40},
        "date": {"type": ["string", "null"], "format": "date"},
        "total": {"type": ["string", "null"], "pattern": r"^-?[0-9]+\.[0-9]{2}$"},
    },
    "required": ["shop", "date", "total"],
    "additionalProperties": False,
}


def extract(*files: str, **data: Any) -> Recipe:
    """Shop, date and total; the answer's fields are given in another order than the schema's."""
    data.setdefault(
        "answer",
        {
            "total": {"source": "key.total", "as": "amount"},
            "shop": {"source": "key.shop"},
            "date": {"source": "key.date", "as": "date"},
        },
    )
    return recipe({"kind": "extract", "json_schema": BILL_SCHEMA}, *files, **data)
