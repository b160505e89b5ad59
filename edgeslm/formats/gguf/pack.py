"""Writes a card into a GGUF file, and holds card and file to each other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import struct
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from edgeslm.errors import CardError, EdgeslmError, unreadable
from edgeslm.formats.card import Card, ClassifyTask, TagTask
from edgeslm.formats.card_facts import CARD_KEY, MAX_CARD_BYTES
from edgeslm.formats.files import read_small
from edgeslm.formats.gguf.constants import MAGIC, STRING
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf
from edgeslm.schema.schema import compile_schema

_CHUNK = 4 * 1024 * 1024
_COUNTS = struct.Struct("<4sIQQ")  # magic, version, tensors, metadata entries


def read_card(path: Path | str) -> Card:
    """Read a card that is written as TOML.

    ``task.json_schema`` may be the name of a JSON file, relative to the TOML file.

    Raises:
        CardError: not readable, not TOML, too large, or not a card.
    """
    path = Path(path)
    data = _parsed(path, tomllib.loads)
    task = data.get("task")
    if isinstance(task, dict) and isinstance(task.get("json_schema"), str):
        task["json_schema"] = _parsed(path.parent / task["json_schema"], json.loads)
    return Card.from_dict(data, where=str(path))


def check_card(info: GGUFInfo) -> None:
    """Check that the file's card, if it has one, speaks of this file.

    Raises:
        CardError: malformed, or made for another chat template.
    """
    if info.card is not None:
        check_template(info.card, info.chat_template_sha256, info.path)


def check_template(card: Card, sha256: str | None, path: Path) -> None:
    """Check that a card was made for the chat template with this sha256.

    Raises:
        CardError: it was made for another; ``path`` is the file that has this one.
    """
    named = card.prompt.chat_template_sha256
    if named is not None and named != sha256:
        has = f"has one with sha256 {sha256}" if sha256 else "has no chat template"
        raise CardError(
            f"{path}: the card was made for a chat template with sha256 {named}, this file "
            f"{has}; use the file that the card was made for, or pack a card made for this one"
        )


def write_card(source: Path, card: Card, target: Path) -> None:
    """Copy a GGUF with this card in place of the one it had, if any; all else stays as it is.

    ``target`` may be ``source``. It gets its name only when it is written in full and
    read back; where it is a link, the link is replaced and what it points to stays. A
    card that names no chat template's hash gets this file's.

    Raises:
        ModelFileError: ``source`` is no model.
        CardError: the card names another chat template, or holds what JSON cannot.
        SchemaError: the card's schema cannot be enforced.
        EdgeslmError: no room, or not allowed to write.
    """
    info = read_gguf(source)
    text = _held_to(card, info)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        remove_leftovers(target)
        with source.open("rb") as reader, part.open("xb") as writer:
            header = _header(reader.read(info.layout.data), info, text)
            _check_space(target, len(header) + info.size - info.layout.data)
            writer.write(header)
            digest = _copy(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())
        shutil.copymode(source, part)
        _verify(part, info, header, digest)
        part.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise EdgeslmError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was changed. Close "
            "what uses the file, or write elsewhere with --out"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _parsed(path: Path, parse: Any) -> dict[str, Any]:
    try:
        data = parse(read_small(path, MAX_CARD_BYTES).decode())
    except OSError as error:
        raise CardError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, TOML or JSON, or nested too deep
        raise CardError(f"{path}: cannot be read: {unreadable(error)}") from error
    if not isinstance(data, dict):
        raise CardError(f"{path}: not an object")
    return data


def _held_to(card: Card, info: GGUFInfo) -> str:
    """The JSON to write, after the card's promises were checked against the file."""
    check_template(card, info.chat_template_sha256, info.path)
    if isinstance(card.task, TagTask):
        raise CardError(
            f"card {card.name}: a language model has no heads to tag with; only an .onnx has them"
        )
    if not isinstance(card.task, ClassifyTask):
        compile_schema(card.task.json_schema)
    prompt = card.prompt.model_copy(update={"chat_template_sha256": info.chat_template_sha256})
    card = card.model_copy(update={"prompt": prompt})
    try:
        text = card.to_json()
        kept = Card.from_json(text, where=f"card {card.name}") == card
    except ValueError as error:  # pydantic, on a value that it cannot spell as JSON
        raise CardError(
            f"card {card.name}: not all of it can be written as JSON: {error}"
        ) from error
    if not kept:
        raise CardError(
            f"card {card.name}: holds a value that JSON does not keep, such as a date or nan: "
            "write it as a string"
        )
    return text


def _header(raw: bytes, info: GGUFInfo, text: str) -> bytes:
    """Everything before the weights, with the card's entry new and all others as they were."""
    # The entries are copied as bytes: decoding and encoding them again, as gguf's writer does,
    # would have to guess each one's type and fails on tokens that are not UTF-8.
    layout = info.layout
    card = gguf_string(CARD_KEY) + struct.pack("<I", STRING) + gguf_string(text)
    entries = {key: raw[start:end] for key, (start, end) in layout.entries.items()}
    entries[CARD_KEY] = card
    header = _COUNTS.pack(MAGIC, info.version, len(info.tensors), len(entries))
    header += b"".join(entries.values()) + raw[slice(*layout.tensor_table)]
    return header + bytes(-len(header) % layout.alignment)


def gguf_string(text: str) -> bytes:
    """A string as GGUF stores it: its length in bytes, then UTF-8."""
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _copy(reader: BinaryIO, writer: BinaryIO) -> str:
    """Copy the rest of a file; returns the sha256 of what was copied."""
    digest = hashlib.sha256()
    while chunk := reader.read(_CHUNK):
        digest.update(chunk)
        writer.write(chunk)
    return digest.hexdigest()


def _verify(part: Path, before: GGUFInfo, header: bytes, digest: str) -> None:
    """Read the new file back: this header, the same tensors, the same weights."""
    after = read_gguf(part)
    with part.open("rb") as file:
        kept = file.read(len(header)) == header and after.tensors == before.tensors
        if not kept or hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise EdgeslmError(
                f"{before.path}: what was written reads back otherwise; nothing was changed. Check "
                "the disk, and that nothing else writes to the file"
            )


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise EdgeslmError(
            f"{target}: needs {needed / 1e6:.1f} MB of disk, {free / 1e6:.1f} MB are free in "
            f"{target.parent}; make room or write elsewhere with --out"
        )


def remove_leftovers(target: Path) -> None:
    """Delete what a killed process left beside the target: ``.NAME.PID.part``."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.part")
    for path in target.parent.iterdir():
        leftover = pattern.fullmatch(path.name)
        if leftover is None:
            continue
        pid = int(leftover[1])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename last through a power failure, where the system can."""
    if os.name == "posix":
        with contextlib.suppress(OSError):  # the file has its name; some file systems refuse this
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
