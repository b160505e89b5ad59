"""Files of examples: JSON lines, CSV and chat messages, also gzipped, read in bounded lines."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from converters.errors import DataError
from converters.recipe.data import DataFile
from edgeslm.schema.document import distinct

#: a longer line is refused; texts for small models are far below it
MAX_LINE_BYTES = 4 * 1024 * 1024
#: rows are held in memory, so this much is read from one file, unpacked
MAX_FILE_BYTES = 2 * 1024 * 1024 * 1024

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class Source:
    """One row as its file has it. ``place`` is FILE:LINE."""

    place: str
    values: dict[str, Any]


def read_sources(file: DataFile, folder: Path) -> Iterator[Source]:
    """The rows of one file of examples, in its order.

    A row of chat messages is one question and its answer. It gains ``text``, what the user
    said, and ``answer``, what the assistant said: parsed where that is a JSON object, else
    text. A system message is passed over: the recipe has the prompt.

    Raises:
        DataError: the file is missing, damaged or of an unknown kind, or a line is too long or
            cannot be read; names file and line.
    """
    kind = _format(file)
    lines = _lines(folder / file.path, file.path)
    if kind == "csv":
        yield from _csv_rows(lines, file.path)
        return
    for number, line in lines:
        if line.strip():
            place = f"{file.path}, line {number}"
            values = _json_object(line, place)
            if kind == "messages" or isinstance(values.get("messages"), list):
                values |= _chat(values.get("messages"), place)
            yield Source(f"{file.path}:{number}", values)


def _format(file: DataFile) -> str:
    if file.format != "auto":
        return file.format
    suffix = Path(file.path.lower().removesuffix(".gz")).suffix
    if suffix not in _FORMATS:
        raise DataError(
            f"{file.path}: unknown kind of file; name it .jsonl or .csv (.gz may follow), "
            "or set format in data.files"
        )
    return _FORMATS[suffix]


# --- lines --------------------------------------------------------------------


def _lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """(number, text) of each line, without a byte order mark; text is UTF-8."""
    number = total = 0
    try:
        with _open(path) as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                total += len(raw)
                if len(raw) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{name}, line {number}: over the {MAX_LINE_BYTES} bytes allowed; "
                        "write one row a line"
                    )
                if total > MAX_FILE_BYTES:
                    raise DataError(
                        f"{name}: over the {MAX_FILE_BYTES} bytes allowed; use fewer rows"
                    )
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file; download it from the url in the recipe, "
            "or name the folder that has it with --data"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, line {number}: not UTF-8; save the file as UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}, after line {number}: damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")
    return path.open("rb")


# --- rows ---------------------------------------------------------------------


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        values = json.loads(line, object_pairs_hook=distinct, parse_constant=_no_constant)
        if "\\u" in line:
            # half of a surrogate pair is no text, and could not be written out again
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{place}: a row must be a JSON object, not {type(values).__name__}")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _csv_rows(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Source]:
    reader = csv.reader((line for _, line in lines), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        twice = next((column for column in header if header.count(column) > 1), None)
        if not header or twice is not None:
            what = "no columns" if not header else f"column {twice!r} is there twice"
            raise DataError(f"{name}, line 1: {what}; the first line must name the columns")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{name}, line {reader.line_num}: {len(cells)} cells, "
                    f"but line 1 names {len(header)} columns"
                )
            yield Source(f"{name}:{reader.line_num}", dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: not CSV: {error}") from error


def _chat(messages: Any, place: str) -> dict[str, Any]:
    """``text`` and ``answer`` of a chat of one question and its answer."""
    said: dict[str, list[str]] = {"system": [], "user": [], "assistant": []}
    for message in messages if isinstance(messages, list) else ():
        role, content = (
            (message.get("role"), message.get("content")) if isinstance(message, dict) else (0, 0)
        )
        if role not in said or not isinstance(content, str):
            raise DataError(f"{place}: a message must have role and content, both text")
        said[role].append(content)
    if (len(said["user"]), len(said["assistant"])) != (1, 1):
        raise DataError(
            f"{place}: messages must be one of the user and one of the assistant; "
            "write one row for each turn"
        )
    return {"text": said["user"][0], "answer": _spoken(said["assistant"][0])}


def _spoken(content: str) -> Any:
    """An assistant's words, parsed where they are a JSON object."""
    try:
        value = json.loads(content, object_pairs_hook=distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return content
    return value if isinstance(value, dict) else content
