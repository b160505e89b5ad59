"""Moving bytes into a file aside: bounded, with room checked first, hashed, synced, renamed."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Literal

from edgeslm.errors import PullError

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


def append(
    target: Path,
    chunks: Iterable[bytes],
    *,
    start: int,
    limit: int,
    total: int | None,
    what: str,
    progress: Progress,
) -> None:
    """Write chunks to ``target`` from byte ``start`` on (what lies behind it is cut off).

    Raises:
        PullError: more than ``limit`` bytes came; ``target`` is gone.
    """
    done = start
    with target.open("r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        progress(what, done, total)
        for chunk in chunks:
            done += len(chunk)
            if done > limit:
                break
            file.write(chunk)
            progress(what, done, total)
        else:
            return
    target.unlink()
    raise PullError(f"more bytes came than the {limit} that were expected; they were discarded")


def copy_file(source: Path, target: Path, *, limit: int, progress: Progress) -> None:
    """Copy a local file, from a stick for example.

    Raises:
        PullError: no such file, none that can be read, too large, or no room.
    """
    if not source.is_file():
        raise PullError(f"{source}: no such file")
    size = source.stat().st_size
    if size > limit:
        raise PullError(f"{source}: has {size} bytes, {limit} were expected")
    require_room(target.parent, size)
    with source.open("rb") as file:
        append(
            target,
            chunks_of(file),
            start=0,
            limit=limit,
            total=size,
            what="copying",
            progress=progress,
        )


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
