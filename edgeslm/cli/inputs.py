"""What there is to answer: whole files or lines of JSON, read one at a time and bounded."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeslm.errors import InputError

#: the largest file, or line of a stream, that is read into memory
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Input:
    """One input. ``place`` is for people; ``text`` is the error where there is none.

    ``size`` counts the bytes that were read for it.
    """

    place: str
    text: str | InputError
    size: int


def read_files(files: Sequence[str]) -> Iterator[Input]:
    """Each file as one input; ``-`` is stdin. A file that cannot be read is an error in its place.

    UTF-8, with or without a byte order mark, at most MAX_BYTES.
    """
    for file in files:
        place = _place(file)
        try:
            with _open(file) as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            yield Input(place, _unreadable(error), 0)
        else:
            yield Input(place, _whole(data), len(data))


def read_lines(files: Sequence[str]) -> Iterator[Input]:
    """Each line ``{"text": ...}`` of the files as one input; ``-`` is stdin.

    A line that is something else is an error in its place, and the next one follows.
    """
    for file in files:
        place = _place(file)
        try:
            with _open(file) as stream:
                yield from _lines(stream, place)
        except OSError as error:
            yield Input(place, _unreadable(error), 0)


def total_bytes(files: Sequence[str]) -> int | None:
    """The size of all inputs together; None where one is a pipe or cannot be read."""
    try:
        found = [
            os.fstat(sys.stdin.fileno()) if file == "-" else Path(file).stat() for file in files
        ]
    except OSError:
        return None
    if not all(stat.S_ISREG(status.st_mode) for status in found):
        return None
    return sum(status.st_size for status in found)


def _place(file: str) -> str:
    return "stdin" if file == "-" else file


@contextmanager
def _open(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb") as stream:
            yield stream


def _unreadable(error: OSError) -> InputError:
    return InputError(f"cannot be read: {error.strerror or error}")


def _whole(data: bytes) -> str | InputError:
    if len(data) > MAX_BYTES:
        return InputError(f"has more than {MAX_BYTES:,} bytes; split it")
    if b"\0" in data:
        return InputError(f"not text: a zero byte at {data.index(0)}; convert it to UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return InputError(f"not UTF-8 at byte {error.start}; convert it to UTF-8 text")


def _lines(stream: BinaryIO, place: str) -> Iterator[Input]:
    number = 0
    while line := stream.readline(MAX_BYTES + 1):
        number += 1
        size = len(line)
        if size > MAX_BYTES:
            size += _skip_line(stream, line)
            text: str | InputError = InputError(f"has more than {MAX_BYTES:,} bytes; split it")
        else:
            text = _text_of(line)
        yield Input(f"{place}, line {number}", text, size)


def _skip_line(stream: BinaryIO, line: bytes) -> int:
    """Read to the end of a line that is too long; how many bytes that were."""
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = stream.readline(MAX_BYTES)
        skipped += len(line)
    return skipped


def _text_of(line: bytes) -> str | InputError:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return InputError(f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return InputError(f'not JSON: {error.msg} at column {error.colno}; write {{"text": "…"}}')
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, deep nesting
        return InputError(f"not JSON that can be read: {error}")
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        return InputError('no "text" with a string in it; write {"text": "…"}')
    return text
