"""The child process that opens PDFs and pictures, which come from anywhere.

A fault of a library that a file hits on purpose ends this process, which has little memory and
time and knows nothing but the file. It reads one line of JSON and the file from stdin, and writes
the pages to stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeslm.documents.raw import RawPage, Reading

#: bytes that reading may take beside the libraries and the file
_MEMORY = 2 * 1024**3
#: seconds of a processor for all pages
_SECONDS = 600


def pages_of(data: bytes, reading: Reading) -> Iterator[RawPage]:
    """The pages of a PDF or picture, one by one, in whatever process this runs.

    Raises:
        DocumentError: it cannot be read, or is too large.
        MachineError: the library cannot be loaded.
    """
    if reading.kind == "pdf":
        from edgeslm.documents.pdf import pdf_pages

        return pdf_pages(data, reading)
    from edgeslm.documents.pictures import picture_pages

    return picture_pages(data, reading)


def _own_limit_alone() -> None:
    """Let our limit on pixels be the only one. In other processes, Pillow has its own as well."""
    from edgeslm.documents.libraries import pillow

    pillow().MAX_IMAGE_PIXELS = None


def _limit(size: int) -> None:
    from edgeslm.children import limit_memory

    limit_memory(_MEMORY + 4 * size)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))


def main() -> None:
    from edgeslm.documents.raw import Reading, write_end, write_page
    from edgeslm.errors import DocumentError, MachineError

    # what a library prints is no page
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    reading = Reading.from_json(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    _limit(len(data))
    try:
        if reading.kind == "picture":
            _own_limit_alone()
        for page in pages_of(data, reading):
            write_page(out, page)
    except (DocumentError, MachineError) as error:
        write_end(out, error)
    except MemoryError:
        write_end(out, DocumentError("takes too much memory", reason="limit"))
    else:
        write_end(out)


if __name__ == "__main__":
    main()
