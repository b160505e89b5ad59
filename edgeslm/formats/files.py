"""Files: read whole within a bound, hashed, and finished ones given their name in one step."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, Literal

from edgeslm.errors import EdgeslmError, PullError

#: kinds of model file, by their ending
Suffix = Literal[".gguf", ".onnx"]
SUFFIXES: tuple[Suffix, ...] = (".gguf", ".onnx")

#: called with what is being done, the bytes done, and the bytes in all (None: unknown)
Progress = Callable[[str, int, int | None], None]

CHUNK_BYTES = 1024 * 1024
#: room that is left free beside what a pull writes
SPARE_BYTES = 32 * 1024 * 1024


def silent(_what: str, _done: int, _total: int | None) -> None:
    """The progress callback of a caller who wants none."""


class TooLargeError(OSError):
    """There are more bytes than there may be. Callers who tell no causes apart see an OSError."""


def read_small(path: Path, limit: int) -> bytes:
    """The bytes of a file that has at most ``limit`` of them.

    Raises:
        TooLargeError: it has more.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return read_all(file, limit)


def read_all(stream: BinaryIO, limit: int) -> bytes:
    """The bytes that are left of a stream, such as stdin, which are at most ``limit``.

    Raises:
        TooLargeError: there are more.
        OSError: it cannot be read.
    """
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(errno.EFBIG, f"larger than the {limit:,} bytes it may have")
    return data


def require_room(folder: Path, needed: int) -> None:
    """Refuse what the disk cannot hold, before anything is written.

    Raises:
        PullError: fewer than ``needed`` bytes (and a little) are free; has both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise PullError(
            f"{folder}: {megabytes(needed)} needed, {megabytes(free)} free; "
            "make room, or set EDGESLM_HOME to a larger disk"
        )


def megabytes(count: int) -> str:
    """Bytes as people read them, in powers of ten."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of an open file in pieces of bounded size."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def file_sha256(path: Path, progress: Progress = silent) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    import hashlib  # it loads OpenSSL, which a load that hashes nothing does without

    total = path.stat().st_size
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        for chunk in chunks_of(file):
            digest.update(chunk)
            done += len(chunk)
            progress("verifying", done, total)
    return digest.hexdigest()


def publish(aside: Path, final: Path) -> None:
    """Give a finished file its final name; a power cut leaves the old or the new."""
    with aside.open("r+b") as file:
        os.fsync(file.fileno())
    _replace(aside, final)
    if sys.platform != "win32":  # Windows cannot open a folder, and journals the rename itself
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, aside first: at any moment there is the old file or the new.

    Raises:
        EdgeslmError: the folder is not there or cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        publish(part, path)
    except OSError as error:
        raise EdgeslmError(
            f"{path}: cannot be written ({error.strerror or error}); nothing was changed. Close "
            "what uses the file, or name one in a folder that is there"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _replace(aside: Path, final: Path) -> None:
    """Rename; on Windows a reader or virus scanner may hold the old file for a moment."""
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8):
        try:
            aside.replace(final)
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(pause)
        else:
            return
    aside.replace(final)
