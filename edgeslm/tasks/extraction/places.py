"""Places on pages: an extraction from a document says where each value stands on its pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from edgeslm.documents.document import Document
from edgeslm.errors import EdgeslmError
from edgeslm.results import Extraction, Field, PageBox

T = TypeVar("T")


def with_boxes(extraction: Extraction[T], document: Document) -> Extraction[T]:
    """The extraction with the boxes of each field that stands in the document's text."""
    if not document.pages:
        return extraction
    fields = {path: _with_boxes(field, document) for path, field in extraction.fields.items()}
    return replace(extraction, fields=fields)


def _with_boxes(field: Field, document: Document) -> Field:
    if field.span is None:
        return field
    boxes = tuple(PageBox(page, *box) for page, box in document.boxes(field.span))
    return replace(field, boxes=boxes)


class Taken:
    """Texts and documents on their way through a ``map``, whose answers come in their order."""

    def __init__(self, texts: Iterable[str | Document]) -> None:
        self._texts = texts
        self._waiting: deque[str | Document] = deque()

    def __iter__(self) -> Iterator[str]:
        """The text of each."""
        for text in self._texts:
            self._waiting.append(text)
            yield text.text if isinstance(text, Document) else text

    def placed(
        self, answers: Generator[Extraction[T] | EdgeslmError, None, None]
    ) -> Generator[Extraction[T] | EdgeslmError, None, None]:
        """The answers with the boxes of those from documents."""
        try:
            for answer in answers:
                source = self._waiting.popleft()
                if isinstance(source, Document) and isinstance(answer, Extraction):
                    yield with_boxes(answer, source)
                else:
                    yield answer
        finally:
            answers.close()
