"""Pages of a document as pictures for people to look at, drawn where the document is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from edgeslm.documents import libraries
from edgeslm.documents.document import Document
from edgeslm.documents.limits import Limits
from edgeslm.documents.pictures import jpeg
from edgeslm.documents.process import isolated_pages
from edgeslm.documents.raw import Reading


def draw_pages(
    data: bytes, document: Document, numbers: Sequence[int], *, limits: Limits | None = None
) -> Iterator[tuple[int, bytes]]:
    """The number and the picture (a JPEG) of each of these pages of a PDF or a picture.

    ``data`` are the bytes that ``document`` was read from; a process of its own opens them.

    Raises:
        DocumentError: a page cannot be drawn.
        MissingExtraError, MachineError: a library is not there, or cannot be loaded.
    """
    known = {page.number for page in document.pages}
    drawn = tuple(sorted(known.intersection(numbers)))
    if not drawn:
        return
    libraries.require("PIL.Image")
    # others have no pages
    kind: Literal["pdf", "picture"] = "pdf" if document.kind == "pdf" else "picture"
    reading = Reading(kind, limits or Limits(), drawn=drawn)
    for number, page in zip(drawn, isolated_pages(data, reading), strict=True):
        assert page.picture is not None  # each page that is drawn has one
        yield number, jpeg(page.picture)
