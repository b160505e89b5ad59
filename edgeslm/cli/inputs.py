"""What there is to answer: texts, documents, lines of JSON and rows of tables, one at a time.

Everything is bounded, and what cannot be read is an error in its place.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from edgeslm.errors import InputError, MissingExtraError, unreadable
from edgeslm.formats.kinds import kind_of
from edgeslm.formats.text import MARKS, decoded

if TYPE_CHECKING:
    from edgeslm.documents.document import Document

#: the largest file, or line of a stream, that is read into memory
MAX_BYTES = 16 * 1024 * 1024
#: characters of a table's first line by which its columns are told apart
_HEADER_CHARACTERS = 64 * 1024

Form = Literal["whole", "lines", "table"]
_FORMS: Mapping[str, Form] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
}


@dataclass(frozen=True, slots=True)
class Input:
    """One input. ``place`` is for people; ``text`` is the error where there is none.

    ``size`` counts the bytes that were read for it. ``row`` has what its answer is to carry of
    the row that it comes from: its id, and the columns that are kept. ``document`` is what was
    read of a PDF or a picture, and ``data`` the bytes of it.
    """

    place: str
    text: str | InputError
    size: int
    row: Mapping[str, Any] = field(default_factory=dict)
    document: Document | None = None
    data: bytes = field(default=b"", repr=False)

    @property
    def source(self) -> str | Document:
        """What a model is asked about: the document, or else the text.

        Raises:
            InputError: there is none.
        """
        if isinstance(self.text, InputError):
            raise self.text
        return self.document or self.text


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be read: texts as they are, then files; ``-`` is stdin.

    ``lines`` reads all files as JSON lines. ``column`` is the column of a table, or the key of a
    line, that has the text; ``keep`` are others that an answer carries.
    """

    files: Sequence[str] = ()
    texts: Sequence[str] = ()
    lines: bool = False
    column: str | None = None
    keep: Sequence[str] = ()

    def form(self, file: str) -> Form:
        """How a file is read: by its name, unless it is said for all."""
        if self.lines:
            return "lines"
        named = _FORMS.get(Path(file).suffix.lower(), "whole")
        return "table" if named == "whole" and self.column is not None else named

    @property
    def several(self) -> bool:
        """Whether there may be more than one input."""
        lone = len(self.files) + len(self.texts) < 2
        return not lone or any(self.form(file) != "whole" for file in self.files)

    def total_bytes(self) -> int | None:
        """The size of all inputs together; None where one is a pipe or cannot be read."""
        try:
            stats = [
                os.fstat(standard_input().fileno()) if file == "-" else Path(file).stat()
                for file in self.files
            ]
        except (OSError, ValueError):
            return None
        if not all(stat.S_ISREG(status.st_mode) for status in stats):
            return None
        return sum(status.st_size for status in stats) + sum(map(_size, self.texts))

    def read(self) -> Iterator[Input]:
        """Each input, in order; one that cannot be read is an error in its place."""
        for number, text in enumerate(self.texts, 1):
            place = f"text {number}" if len(self.texts) > 1 else "text"
            yield Input(place, text, _size(text))
        for file in self.files:
            place = "stdin" if file == "-" else file
            try:
                with _opened(file) as (stream, kind):
                    if kind is not None and self.form(file) == "whole":
                        yield _document(file, stream, place, kind)
                    elif kind is not None:
                        yield Input(place, _foreign(kind), 0)
                    else:
                        yield from self._read(file, stream, place)
            except OSError as error:
                yield Input(place, InputError(f"cannot be read: {error.strerror or error}"), 0)

    def _read(self, file: str, stream: BinaryIO, place: str) -> Iterator[Input]:
        match self.form(file):
            case "whole":
                data = stream.read(MAX_BYTES + 1)
                yield Input(place, _whole(data, file), len(data))
            case "lines":
                yield from read_lines(stream, place, self.column or "text", self.keep)
            case "table":
                yield from read_table(stream, place, self.column or "text", self.keep)


def check_columns(source: Source) -> None:
    """Refuse what is asked of rows where no input has it, before there is a model to answer them.

    Only files are looked into, of lines the first ones; a pipe would lose what is read.

    Raises:
        InputError: no table has the columns, or no line the key.
    """
    wrong = [_lacks(source, file) for file in source.files]
    if wrong and not source.texts and all(wrong):
        raise InputError(f"{source.files[0]}: {wrong[0]}; name the texts' own with --column NAME")


def _lacks(source: Source, file: str) -> str:
    """What a file has not of what its rows are asked for, in words; else nothing."""
    form, column = source.form(file), source.column or "text"
    if form == "whole" or not Path(file).is_file():
        return ""
    if form == "table":
        header = columns_of(file)
        return _no_column(header, (column, *source.keep)) if header else ""
    keys = _keys_of(file)
    if not keys or any(column in row for row in keys):
        return ""
    return (
        f"no line has the key {json.dumps(column)}; the first has: {', '.join(keys[0]) or 'none'}"
    )


def _keys_of(file: str) -> list[list[str]]:
    """The keys of the first lines that are objects."""
    try:
        with _opened(file) as (stream, kind):
            head = b"" if kind is not None else stream.read(_HEADER_CHARACTERS)
    except OSError:
        return []
    rows = []
    for line in head.removeprefix(codecs.BOM_UTF8).splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(list(row))
    return rows


def _no_column(header: Sequence[str], names: Sequence[str]) -> str:
    """Which of the columns a table does not have once, in words; nothing where it has all."""
    missing = [name for name in names if header.count(name) != 1]
    if not missing:
        return ""
    twice = " once" if missing[0] in header else ""
    return f"has no column {missing[0]!r}{twice}; its columns: {', '.join(header) or 'none'}"


def columns_of(file: str) -> list[str]:
    """The columns of a table, for a message; none where it cannot be read."""
    try:
        with _opened(file) as (stream, kind):
            first = stream.readline(_HEADER_CHARACTERS).decode("utf-8-sig", "replace")
    except OSError:
        return []
    return [] if kind is not None or "\0" in first else next(_reader(iter(()), first), [])


def decode(data: bytes) -> str:
    """The text of a small file: UTF-8, or what its mark says.

    Raises:
        InputError: it is another kind of file, or not in this encoding; the message has no place.
    """
    kind = kind_of(data)
    if kind is not None:
        raise _foreign(kind)
    return decoded(data)


# --- opening --------------------------------------------------------------------


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, str | None]]:
    """A file's bytes as UTF-8, and what it is where that is not text."""
    if file == "-":
        yield _as_utf8(standard_input())
    else:
        with Path(file).open("rb") as stream:
            yield _as_utf8(stream)


def standard_input() -> BinaryIO:
    """The bytes of stdin. Raises OSError where its starter closed it."""
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer


def _as_utf8(stream: BinaryIO) -> tuple[BinaryIO, str | None]:
    if not hasattr(stream, "peek"):
        stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream)))
    head: bytes = stream.peek(16)  # type: ignore[attr-defined]  # a BufferedReader has it
    kind = kind_of(head)
    if kind is None:
        for mark, encoding in MARKS:
            if head.startswith(mark):
                recoded = _Recoded(stream, encoding)
                return cast(BinaryIO, io.BufferedReader(recoded)), None
    return stream, kind


class _Recoded(io.RawIOBase):
    """The bytes of a stream in another encoding, as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._stream.read(io.DEFAULT_BUFFER_SIZE)
            try:
                self._ready = self._decoder.decode(data, final=not data).encode()
            except UnicodeError as error:
                raise OSError(f"its mark says {self._encoding}, but it is not") from error
            if not data:
                break
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _foreign(kind: str) -> InputError:
    if "archive" in kind:
        return InputError(f"is {kind}, not text; unpack it first")
    return InputError(f"is {kind}, not text; take the text out of it first")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


# --- whole files ------------------------------------------------------------------


def _document(file: str, stream: BinaryIO, place: str, kind: str) -> Input:
    """A PDF or a picture, or the error of what is no document that can be read."""
    from edgeslm.documents.limits import MAX_BYTES as MOST
    from edgeslm.documents.read import Options, is_paged, read_bytes

    if not is_paged(kind):
        return Input(place, _foreign(kind), 0)
    data = stream.read(MOST + 1)
    try:
        document = read_bytes(data, Options(), name=Path(file).name)
    except InputError as error:
        return Input(place, error, len(data))
    except MissingExtraError as error:
        return Input(place, InputError(f"is {kind}, not text; {error}"), len(data))
    return Input(place, document.text, len(data), document=document, data=data)


def _whole(data: bytes, file: str) -> str | InputError:
    """A text, as it is; of a mail or a page of the web, what people see of it."""
    if len(data) > MAX_BYTES:
        return _too_long()
    from edgeslm.documents.read import Options, is_marked_up, read_bytes

    try:
        if is_marked_up(data, Path(file).name):
            return read_bytes(data, Options(), name=Path(file).name).text
        return decoded(data)
    except InputError as error:
        return error


def _too_long() -> InputError:
    return InputError(f"has more than {MAX_BYTES:,} bytes; split it")


# --- lines of JSON -----------------------------------------------------------------


def read_lines(
    stream: BinaryIO, place: str, key: str = "text", keep: Sequence[str] = ()
) -> Iterator[Input]:
    """Each line ``{"text": ...}`` as one input; blank lines are none.

    A line that is something else is an error in its place, and the next one follows.
    """
    number = 0
    while line := stream.readline(MAX_BYTES + 1):
        number += 1
        size = len(line)
        row: dict[str, Any] = {}
        if size > MAX_BYTES:
            size += _skip_line(stream, line)
            text: str | InputError = _too_long()
        elif not line.strip(b" \t\r\n\xef\xbb\xbf"):
            continue
        else:
            text, row = _of_line(line, key, keep)
        yield Input(f"{place}, line {number}", text, size, row)


def _skip_line(stream: BinaryIO, line: bytes) -> int:
    """Read to the end of a line that is too long; how many bytes that were."""
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = stream.readline(MAX_BYTES)
        skipped += len(line)
    return skipped


def _of_line(line: bytes, key: str, keep: Sequence[str]) -> tuple[str | InputError, dict[str, Any]]:
    wanted = f'write {{"{key}": "…"}}'
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return InputError(f"not UTF-8 at byte {error.start}"), {}
    except json.JSONDecodeError as error:
        return InputError(f"not JSON: {error.msg} at column {error.colno}; {wanted}"), {}
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, deep nesting
        return InputError(f"not JSON that can be read: {unreadable(error)}"), {}
    if not isinstance(value, dict):
        return InputError(f"no {json.dumps(key)} with a string in it; {wanted}"), {}
    row = {name: value[name] for name in ("id",) if name in value}
    row.update({name: value.get(name) for name in keep})
    text = value.get(key)
    if not isinstance(text, str):
        return InputError(f"no {json.dumps(key)} with a string in it; {wanted}"), row
    return text, row


# --- rows of tables ------------------------------------------------------------------


def read_table(
    stream: BinaryIO, place: str, column: str, keep: Sequence[str] = ()
) -> Iterator[Input]:
    """Each row of a table as one input: the cell under ``column``.

    The first line names the columns, and its most frequent one of tab, semicolon and comma
    separates them. Cells in double quotes may hold line breaks. Empty lines are none.
    """
    lines = _Lines(stream)
    try:
        first = next(lines, "")
    except InputError as error:
        yield Input(place, error, lines.take())
        return
    reader = _reader(lines, first)
    header = next(reader, [])
    if wrong := _no_column(header, (column, *keep)):
        yield Input(place, InputError(wrong), lines.take())
        return
    columns = {name: header.index(name) for name in dict.fromkeys(("id", *keep)) if name in header}
    while True:
        row: dict[str, Any] = {}
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if not cells:
                continue
            text: str | InputError = _cell(cells, header, column)
            if len(cells) == len(header):
                row = {name: cells[at] for name, at in columns.items()}
        except InputError as error:
            text = error
        except csv.Error as error:
            text = InputError(f"not a row of a table: {error}")
        yield Input(f"{place}, line {lines.number}", text, lines.take(), row)
        if lines.broken:
            return


def _cell(cells: list[str], header: list[str], column: str) -> str | InputError:
    if len(cells) != len(header):
        return InputError(f"has {len(cells)} cells, but the table has {len(header)} columns")
    if any("\udc80" <= c <= "\udcff" for cell in cells for c in cell):
        return InputError("not UTF-8; convert the table to UTF-8")
    text = cells[header.index(column)]
    return InputError("not text: it holds a zero byte") if "\0" in text else text


class _Lines(Iterator[str]):
    """The lines of a table, bounded; a byte that is no UTF-8 is a lone surrogate in them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._read = 0
        self.number = 0
        #: a line was too long to be read: what follows cannot be told apart
        self.broken = False

    def __next__(self) -> str:
        line = self._stream.readline(MAX_BYTES + 1)
        self._read += len(line)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_BYTES:
            self.broken = True
            raise _too_long()
        return line.removeprefix(codecs.BOM_UTF8 if self.number == 1 else b"").decode(
            "utf-8", "surrogateescape"
        )

    def take(self) -> int:
        """The bytes that were read since this was last asked."""
        read, self._read = self._read, 0
        return read


def _reader(lines: Iterator[str], first: str) -> Iterator[list[str]]:
    """The rows of a table whose first line was read already."""
    separator = max("\t;,", key=first.count)
    csv.field_size_limit(MAX_BYTES)

    def all_lines() -> Iterator[str]:
        yield first
        yield from lines

    return csv.reader(all_lines(), delimiter=separator, strict=True)
