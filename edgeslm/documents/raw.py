"""What a reader of PDFs or pictures gives of a page, and how that passes between processes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Final, Literal

from edgeslm.documents.document import Box
from edgeslm.documents.layout import Piece
from edgeslm.documents.limits import Limits
from edgeslm.errors import DocumentError, MachineError

#: pixels of a picture that OCR is given at most: A4 at 300 dots an inch has 8.7 million
OCR_PIXELS: Final = 10_000_000
#: how many times longer than wide a picture of all these pixels may be
OCR_LONGEST: Final = 10
#: pixels of the longer side of a page that is drawn for people
DRAWN_SIDE: Final = 1400
#: bytes of a page's words as JSON
_MAX_LINE: Final = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """A page to be read by OCR: ``rgb`` has three bytes for each pixel."""

    width: int
    height: int
    rgb: bytes


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page: its size, the words of its text layer, and its picture if OCR is to read it."""

    width: float
    height: float
    unit: Literal["pt", "px"]
    pieces: list[Piece] = field(default_factory=list)
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader is asked: the kind, the limits, the password, and how large OCR wants a page.

    ``ocr_pixels`` is 0 where no OCR follows. ``drawn`` are the numbers of pages that are only
    drawn, for people; where there are none, all pages are read.
    """

    kind: Literal["pdf", "picture"]
    limits: Limits
    password: str | None = None
    ocr_pixels: int = OCR_PIXELS
    drawn: tuple[int, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    def numbers(self, count: int) -> list[int]:
        """The numbers of the pages that are asked for, of so many that there are."""
        return [n for n in range(1, count + 1) if not self.drawn or n in self.drawn]

    @classmethod
    def from_json(cls, line: bytes) -> Reading:
        told = json.loads(line)
        limits, drawn = Limits(**told["limits"]), tuple(told["drawn"])
        return cls(**{**told, "limits": limits, "drawn": drawn})

    def scale(self, width: float, height: float, most: float) -> float:
        """By how much a page of this size is multiplied for who sees it; ``most`` at most."""
        if self.drawn:
            return min(most, DRAWN_SIDE / max(width, height))
        side = math.sqrt(OCR_LONGEST * self.ocr_pixels)
        return min(most, math.sqrt(self.ocr_pixels / (width * height)), side / max(width, height))


# --- between processes ------------------------------------------------------------


def write_page(stream: BinaryIO, page: RawPage) -> None:
    """One line of JSON, and then the bytes of the picture."""
    told: dict[str, Any] = {
        "size": [page.width, page.height],
        "unit": page.unit,
        "pieces": [
            [piece.text, *piece.box, *(() if piece.level == piece.box else piece.level)]
            for piece in page.pieces
        ],
    }
    if page.picture is not None:
        told["picture"] = [page.picture.width, page.picture.height]
    _write_line(stream, told)
    if page.picture is not None:
        stream.write(page.picture.rgb)
    stream.flush()


def write_end(stream: BinaryIO, error: DocumentError | MachineError | None = None) -> None:
    """What follows the last page: that this is all, or what went wrong."""
    _write_line(stream, {"end": None if error is None else error.to_dict()})
    stream.flush()


def _write_line(stream: BinaryIO, told: dict[str, Any]) -> None:
    stream.write(json.dumps(told).encode() + b"\n")


def read_page(stream: BinaryIO) -> RawPage | None:
    """The next page; None where that was all.

    Raises:
        DocumentError, MachineError: the reader says so.
        ValueError, LookupError, TypeError: what comes is no page, since the reader ended.
    """
    told = json.loads(stream.readline(_MAX_LINE))
    if "end" in told:
        if told["end"] is not None:
            raise _error(told["end"])
        return None
    picture = None
    if "picture" in told:
        width, height = map(int, told["picture"])
        if not 0 < width * height <= OCR_PIXELS:
            raise ValueError("not the size of a picture")
        picture = Picture(width, height, stream.read(3 * width * height))
        if len(picture.rgb) < 3 * width * height:
            raise ValueError("the picture is cut off")
    size = told["size"]
    pieces = [*_pieces(told["pieces"])]
    return RawPage(float(size[0]), float(size[1]), told["unit"], pieces, picture)


def _pieces(rows: list[list[Any]]) -> Iterator[Piece]:
    for text, *numbers in rows:
        box = Box(*map(float, numbers[:4]))
        yield Piece(str(text), box, Box(*map(float, numbers[4:])) if numbers[4:] else box)


def _error(told: dict[str, Any]) -> DocumentError | MachineError:
    message = str(told["message"])
    if told["type"] == DocumentError.__name__:
        return DocumentError(message, reason=str(told["reason"]))
    return MachineError(message)
