"""`edgeslm schema`: how each keyword of a JSON Schema is enforced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgeslm.cli.inputs import decode, standard_input
from edgeslm.cli.output import fail, for_people, print_line
from edgeslm.errors import InputError, SchemaError, unreadable
from edgeslm.formats.files import TooLargeError, read_all, read_small
from edgeslm.schema.document import MAX_BYTES, distinct


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
@click.option("--open", "open_objects", is_flag=True, help="Let objects have unnamed properties.")
def schema(file: str, as_json: bool, open_objects: bool) -> None:
    """Say how each keyword of a JSON Schema is enforced.

    \b
    edgeslm schema receipt.schema.json
    edgeslm schema - --json < receipt.schema.json

    \b
    mask     while decoding: no other token can be chosen
    rewrite  while decoding, through an equal or narrower form
    check    on the finished value
    refused  not at all; the exit code is 7 and nothing would be inferred
    """
    from edgeslm.decoding.grammar import check_grammar
    from edgeslm.schema.schema import certify, compile_schema

    source = read_schema(file)
    rows = [item.to_dict() for item in certify(source, close_objects=not open_objects)]
    refusal: SchemaError | None = None
    try:
        check_grammar(compile_schema(source, close_objects=not open_objects))
    except SchemaError as error:
        refusal = error
        if all(row["how"] != "refused" for row in rows):
            rows = [*_without(rows, error), _row(error)]
    if for_people(as_json):
        _table(rows)
    else:
        for row in rows:
            print_line(row)
    if refusal is not None:
        fail(refusal)


def read_schema(file: str) -> Any:
    """The JSON in a file, or on stdin for ``-``.

    Raises:
        InputError: no such file, or no text.
        SchemaError: not JSON, with line and column; or larger than a schema may be.
    """
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            data = read_all(standard_input(), MAX_BYTES)
        else:
            data = read_small(Path(file), MAX_BYTES)
    except TooLargeError as error:
        raise SchemaError(f"{name}: {error.strerror}") from error
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from error
    try:
        text = decode(data)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    try:
        return json.loads(text, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{name}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:  # a name given twice, thousands of digits
        raise SchemaError(f"{name}: {unreadable(error)}") from error


def _row(error: SchemaError) -> dict[str, str]:
    keyword = error.keyword or ""
    return {"path": error.path, "keyword": keyword, "how": "refused", "note": str(error)}


def _without(rows: list[dict[str, str]], error: SchemaError) -> list[dict[str, str]]:
    place = (error.path, error.keyword)
    return [row for row in rows if (row["path"], row["keyword"]) != place]


def _table(rows: list[dict[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgeslm.cli.console import Console

    colours = {"mask": "green", "rewrite": "cyan", "check": "yellow", "refused": "bold red"}
    table = Table()
    for column in ("path", "keyword", "how", "note"):
        table.add_column(column, overflow="fold")
    for row in rows:
        how = Text(row["how"], style=colours[row["how"]])
        table.add_row(Text(row["path"] or "(root)"), Text(row["keyword"]), how, Text(row["note"]))
    Console().print(table)
