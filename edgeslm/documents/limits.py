"""What a document may have: bytes, pages, pixels, characters; more is an error that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgeslm.errors import DocumentError

#: bytes of a file
MAX_BYTES: Final = 64_000_000
#: pages of a PDF or of a picture of several
MAX_PAGES: Final = 200
#: pixels of one page of a picture; a PDF's page is drawn with no more than OCR reads
MAX_PIXELS: Final = 100_000_000
#: characters of all text
MAX_CHARACTERS: Final = 10_000_000
#: words of one page
MAX_WORDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a caller may move."""

    bytes: int = MAX_BYTES
    pages: int = MAX_PAGES
    pixels: int = MAX_PIXELS

    def check_pages(self, count: int) -> None:
        """Raises DocumentError where there are more pages than there may be."""
        if count > self.pages:
            raise DocumentError(
                f"has {count:,} pages, more than max_pages={self.pages:,}; split it, or allow more",
                reason="limit",
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raises DocumentError where a page has more pixels than it may have."""
        if width * height > self.pixels:
            raise DocumentError(
                f"a page of {width:,} x {height:,} pixels has more than max_pixels="
                f"{self.pixels:,}; make it smaller, or allow more",
                reason="limit",
            )


def check_characters(count: int) -> None:
    """Raises DocumentError where a text is longer than it may be."""
    if count > MAX_CHARACTERS:
        raise DocumentError(
            f"has more than {MAX_CHARACTERS:,} characters of text; split it", reason="limit"
        )
