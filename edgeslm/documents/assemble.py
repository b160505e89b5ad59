"""Pages and the words on them -> a Document: one text, and where each word stands in it."""

from __future__ import annotations

from collections.abc import Iterable

from edgeslm.documents.document import Box, Document, Kind, Page, Word
from edgeslm.documents.layout import Line, Piece, lines_of, separators
from edgeslm.documents.limits import MAX_WORDS, check_characters
from edgeslm.errors import DocumentError
from edgeslm.formats.text import is_blank


def of_text(text: str, kind: Kind, attachments: tuple[str, ...] = ()) -> Document:
    """A document without pages.

    Raises:
        DocumentError: it is too long, or has no text.
    """
    check_characters(len(text))
    if is_blank(text):
        raise DocumentError("has no text in it", reason="empty")
    return Document(text, kind, attachments=attachments)


def of_pages(pages: Iterable[tuple[Page, list[Piece]]], kind: Kind) -> Document:
    """A document of pages; each is asked for when the one before has its lines.

    Raises:
        DocumentError: the text is too long, or there is none.
    """
    read: list[Page] = []
    text = _Text()
    for page, pieces in pages:
        read.append(page)
        if len(pieces) > MAX_WORDS:
            raise DocumentError(
                f"page {page.number} has {len(pieces):,} words, more than {MAX_WORDS:,}",
                reason="limit",
            )
        for line in lines_of(pieces):
            text.add(line, page)
    if not text.words:
        counted = "its page" if len(read) == 1 else f"its {len(read):,} pages"
        raise DocumentError(f"no text was read on {counted}", reason="empty")
    return Document("".join(text.parts), kind, tuple(read), tuple(text.words))


def _inside(box: Box, page: Page) -> Box:
    """What of a box is on the page, which the edge of a letter or of an OCR's line may leave."""
    left, right = (min(max(x, 0.0), page.width) for x in (box.left, box.right))
    top, bottom = (min(max(y, 0.0), page.height) for y in (box.top, box.bottom))
    return Box(left, top, right, bottom)


class _Text:
    """A text that grows by lines, and the words in it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.words: list[Word] = []
        self._length = 0

    def add(self, line: Line, page: Page) -> None:
        if self.parts:
            self._append("\n")
        for piece, separator in zip(line, (*separators(line), ""), strict=True):
            start = self._length
            self._append(piece.text)
            box = _inside(piece.box, page)
            self.words.append(Word(piece.text, page.number, box, start, self._length))
            self._append(separator)
        check_characters(self._length)

    def _append(self, part: str) -> None:
        self.parts.append(part)
        self._length += len(part)
