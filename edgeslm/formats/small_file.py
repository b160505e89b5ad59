"""Reads small files whole; one that is larger than it may be is refused, not held in memory"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO


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
