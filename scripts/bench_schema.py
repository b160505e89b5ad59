"""Writes the schema of bench files into docs/: `python -m scripts.bench_schema`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeslm.bench.report.schema import BenchReport
from edgeslm.formats.files import write_text

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "bench.md"
SCHEMA = DOCS / "bench.schema.json"
BEGIN = "<!-- begin: written by `python -m scripts.bench_schema` -->"
END = "<!-- end -->"


def schema_text() -> str:
    """The JSON Schema of a bench file, as docs/bench.schema.json holds it."""
    return json.dumps(BenchReport.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def tables() -> str:
    """The same for people: each object of a bench file with its keys."""
    schema = BenchReport.model_json_schema()
    return "\n\n".join([_table(schema), *(_table(part) for part in schema["$defs"].values())])


def page_with(text: str) -> str:
    """docs/bench.md with these tables in their place."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _table(part: dict[str, Any]) -> str:
    required = part.get("required", [])
    rows = [
        f"| `{name}` | {_type(value)} |{'' if name in required else ' may be absent'} |"
        for name, value in part["properties"].items()
    ]
    description = part["description"].replace("``", "`")
    return "\n".join(
        [
            f"### {part['title']}",
            "",
            description,
            "",
            "| Key | Value | |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def _type(value: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(_type(each) for each in value["anyOf"])
    if "enum" in value or "const" in value:
        return ", ".join(f"`{each}`" for each in value.get("enum", [value.get("const")]))
    if value["type"] == "array":
        return f"list of {_type(value['items'])}"
    if value["type"] == "object":
        return f"object of {_type(value['additionalProperties'])}"
    return str(value["type"])


if __name__ == "__main__":
    write_text(SCHEMA, schema_text())
    write_text(PAGE, page_with(tables()))
