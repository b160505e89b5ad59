"""Moves the bytes of a pull into a file aside: bounded, counted, with room checked first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeslm.errors import PullError
from edgeslm.formats.files import Progress, chunks_of, require_room


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
