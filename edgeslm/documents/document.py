"""A document that was read: its text, its pages, and where on them each word stands."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["pdf", "picture", "mail", "html", "text"]
Reader = Literal["text layer", "rapidocr", "tesseract"]


class Box(NamedTuple):
    """A rectangle on a page, in the page's unit; the page's left upper corner is (0, 0)."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Page:
    """A page as people see it, turned and cropped. ``number`` counts from 1.

    ``unit`` is that of its size and of all boxes on it: points for a PDF, pixels for a picture.
    ``source`` is where its words come from: the text layer, or the OCR that read its picture.
    """

    number: int
    width: float
    height: float
    unit: Literal["pt", "px"]
    source: Reader


@dataclass(frozen=True, slots=True)
class Word:
    """A word on a page; ``start`` and ``end`` are half-open code-point offsets into the text."""

    text: str
    page: int
    box: Box
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """What `edgeslm.read_document` read. ``str(document)`` is its text.

    ``text`` has the lines of all pages in reading order, joined by newlines. ``kind`` is what the
    document is. ``pages`` and ``words`` are those of a PDF or a picture: each page has its number
    (from 1), width, height, unit (points or pixels) and source (text layer or the OCR that read
    it), each word its text, page, box and place in the text. A mail, a page of the web and plain
    text have none. ``attachments`` are the names of a mail's attachments, which are not read.
    """

    text: str
    kind: Kind
    pages: tuple[Page, ...] = ()
    words: tuple[Word, ...] = ()
    attachments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text

    def boxes(self, span: tuple[int, int]) -> list[tuple[int, Box]]:
        """The page and box of what a span of the text covers, one for each line that it touches.

        A word that the span covers in part counts whole. Empty where the document has no pages.
        """
        return [
            (line[0].page, around([word.box for word in line]))
            for line in self._lines(self._within(span))
        ]

    def _within(self, span: tuple[int, int]) -> tuple[Word, ...]:
        """The words that a span touches."""
        start, end = span
        if start >= end:
            return ()
        first = bisect_right(self.words, start, key=lambda word: word.end)
        return self.words[first : bisect_left(self.words, end, key=lambda word: word.start)]

    def _lines(self, words: tuple[Word, ...]) -> Iterator[list[Word]]:
        """Words that follow one another, by their lines."""
        line: list[Word] = []
        for word in words:
            if line and "\n" in self.text[line[-1].end : word.start]:
                yield line
                line = []
            line.append(word)
        if line:
            yield line


def around(boxes: list[Box]) -> Box:
    """The smallest box that holds all of them."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))
