"""`read_document`: a file of any kind that is known -> its text, and where each word stands."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from edgeslm import arguments
from edgeslm.documents import libraries
from edgeslm.documents.assemble import of_pages, of_text
from edgeslm.documents.child import pages_of
from edgeslm.documents.document import Document, Kind, Page, Reader
from edgeslm.documents.html import read_html
from edgeslm.documents.layout import Piece
from edgeslm.documents.limits import MAX_BYTES, MAX_PAGES, MAX_PIXELS, Limits
from edgeslm.documents.mail import is_mail, read_mail
from edgeslm.documents.ocr import rapid, tesseract
from edgeslm.documents.ocr.pieces import pieces_of
from edgeslm.documents.plain import read_plain
from edgeslm.documents.process import isolated_pages
from edgeslm.documents.raw import OCR_PIXELS, Picture, RawPage, Reading
from edgeslm.errors import ArgumentError, DocumentError
from edgeslm.formats.files import TooLargeError, read_small
from edgeslm.formats.kinds import kind_of

Ocr = Literal["auto", "rapidocr", "tesseract", "never"]
OCR: Final[tuple[Ocr, ...]] = ("auto", "rapidocr", "tesseract", "never")

#: what is read, for messages
READ: Final = "PDF, JPEG, PNG, TIFF, WebP, BMP, mail (.eml), HTML, plain text"
_PDF: Final = "a PDF document"
_PICTURES: Final = {f"a {kind} picture" for kind in ("PNG", "JPEG", "TIFF", "WebP", "BMP")}
#: bytes within which a PDF may begin, behind what something put before it
_PDF_WITHIN: Final = 1024
_HTML: Final = re.compile(
    rb"\s*(?:<!--.{0,1000}?-->\s*|<\?xml.{0,200}?\?>\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|title|meta|style|table|div|p|h1)\b",
    re.I | re.S,
)
_HTML_NAMES: Final = (".html", ".htm", ".xhtml")
_MAIL_NAMES: Final = (".eml",)

#: pdfium is for one thread of a process
_here: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Options:
    """How a document is read; see `read_document`."""

    ocr: Ocr = "auto"
    language: str = "eng"
    password: str | None = None
    limits: Limits = field(default_factory=Limits)
    isolated: bool = True


def read_document(
    source: str | os.PathLike[str] | bytes,
    *,
    ocr: Ocr = "auto",
    language: str = "eng",
    password: str | None = None,
    max_pages: int = MAX_PAGES,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    isolated: bool = True,
) -> Document:
    """Read a PDF, a picture, a mail, a page of the web or plain text: its text in reading order.

    What it is shows in its first bytes, whatever its name. PDFs and pictures need the extra
    ``documents`` (``pip install "edgeslm-core[documents]"``). Nothing is asked of the network.

    Args:
        source: the path of a file, or the bytes of one.
        ocr: what reads pictures, and pages of a PDF that have no text layer: RapidOCR
            (``"auto"``, ``"rapidocr"``), the program Tesseract where that is installed, or
            nothing. Pages that have a text layer are never read by OCR.
        language: names of Tesseract's languages, such as ``"deu+eng"``; RapidOCR needs none.
        password: of an encrypted PDF.
        max_pages: pages that a PDF or a TIFF may have.
        max_bytes: bytes that the file may have.
        max_pixels: pixels that one page of a picture may have.
        isolated: open PDFs and pictures in a process of their own, so that a hostile file ends
            that one. False is for files that you trust.

    Raises:
        DocumentError: the document is damaged, encrypted, empty, too large, or of no known kind.
        MissingExtraError: a library of the extra ``documents`` is needed and not there.
        MachineError: Tesseract is asked for and not there, or a library cannot be loaded.
        ArgumentError: an argument has no meaning.
    """
    options = Options(
        arguments.choice("ocr", ocr, OCR),
        tesseract.check_language(language),
        _password(password),
        Limits(
            arguments.count("max_bytes", max_bytes),
            arguments.count("max_pages", max_pages),
            arguments.count("max_pixels", max_pixels),
        ),
        arguments.flag("isolated", isolated),
    )
    if isinstance(source, bytes | bytearray | memoryview):
        return read_bytes(bytes(source), options)
    if not isinstance(source, str | os.PathLike):
        raise ArgumentError(
            f"read_document takes a path or the bytes of a file, not {type(source).__name__}"
        )
    path = Path(source)
    try:
        return read_bytes(_bytes_of(path, options.limits), options, name=path.name)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}", reason=error.reason) from error


def _password(password: object) -> str | None:
    if password is not None and not isinstance(password, str):
        raise ArgumentError(f"password must be a str, not {type(password).__name__}")
    return password


def _bytes_of(path: Path, limits: Limits) -> bytes:
    try:
        return read_small(path, limits.bytes)
    except TooLargeError as error:
        raise too_large(limits) from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise DocumentError(f"cannot be read: {said}", reason="unreadable") from error


def too_large(limits: Limits) -> DocumentError:
    """The error of a file with too many bytes."""
    return DocumentError(
        f"has more than max_bytes={limits.bytes:,} bytes; split it, or allow more", reason="limit"
    )


def read_bytes(data: bytes, options: Options, *, name: str = "") -> Document:
    """Read the bytes of a file; its name is asked where they leave a choice of texts.

    Raises:
        DocumentError, MachineError: as `read_document`; messages have no place.
    """
    if len(data) > options.limits.bytes:
        raise too_large(options.limits)
    if not data:
        raise DocumentError("is an empty file", reason="empty")
    match _kind(data, name):
        case "mail":
            text, attachments = read_mail(data)
            return of_text(text, "mail", attachments)
        case "html":
            return of_text(read_html(data), "html")
        case "text":
            return of_text(read_plain(data), "text")
        case kind:
            return _read_pages(data, kind, options)


def _kind(data: bytes, name: str) -> Kind:
    """What this is; raises DocumentError where it is nothing that is read."""
    told = kind_of(data[:_PDF_WITHIN])
    if told == _PDF or _is_late_pdf(data):
        return "pdf"
    if told in _PICTURES:
        return "picture"
    if told is not None:
        unpack = "; unpack it first" if "archive" in told else ""
        raise DocumentError(f"is {told}{unpack}; what is read: {READ}", reason="unsupported")
    return _kind_of_text(data, name)


def _kind_of_text(data: bytes, name: str) -> Literal["mail", "html", "text"]:
    name = name.lower()
    if is_mail(data, named=name.endswith(_MAIL_NAMES)):
        return "mail"
    begins_as_html = _HTML.match(data[:4096].removeprefix(b"\xef\xbb\xbf"))
    if begins_as_html or (name.endswith(_HTML_NAMES) and b"<" in data):
        return "html"
    return "text"


def is_paged(kind: str) -> bool:
    """Whether a kind of file, as `edgeslm.formats.kinds.kind_of` names it, is read page by page."""
    return kind == _PDF or kind in _PICTURES


def is_marked_up(data: bytes, name: str) -> bool:
    """Whether this is a mail or a page of the web, of which people see another text."""
    return _kind_of_text(data, name) != "text"


def _is_late_pdf(data: bytes) -> bool:
    """Whether a PDF begins behind something else, as viewers allow."""
    return b"%PDF-" in data[:_PDF_WITHIN] and b"startxref" in data[-_PDF_WITHIN:]


# --- pages ------------------------------------------------------------------------


def _read_pages(data: bytes, kind: Literal["pdf", "picture"], options: Options) -> Document:
    if kind == "picture" and options.ocr == "never":
        raise DocumentError('is a picture, which ocr="never" does not read', reason="empty")
    libraries.require("pypdfium2" if kind == "pdf" else "PIL.Image")
    if kind == "picture":
        _require_ocr(options)
    pixels = {"tesseract": OCR_PIXELS, "never": 0}.get(options.ocr, rapid.PIXELS)
    reading = Reading(kind, options.limits, options.password, pixels)
    if options.isolated:
        return of_pages(_with_words(isolated_pages(data, reading), options), kind)
    with _here:
        return of_pages(_with_words(pages_of(data, reading), options), kind)


def _require_ocr(options: Options) -> None:
    if options.ocr == "tesseract":
        tesseract.require_tesseract()
    else:
        libraries.require("rapidocr")


def _with_words(pages: Iterator[RawPage], options: Options) -> Iterator[tuple[Page, list[Piece]]]:
    """Each page and its words, of the text layer or read by OCR."""
    for number, page in enumerate(pages, 1):
        source: Reader = "text layer"
        pieces = page.pieces
        if page.picture is not None:
            seen, by = _ocr(page.picture, page.width / page.picture.width, options)
            if _letters(seen) >= _letters(pieces):
                pieces, source = seen, by
        yield Page(number, page.width, page.height, page.unit, source), pieces


def _letters(pieces: list[Piece]) -> int:
    return sum(letter.isalnum() for piece in pieces for letter in piece.text)


def _ocr(picture: Picture, scale: float, options: Options) -> tuple[list[Piece], Reader]:
    if options.ocr == "tesseract":
        return pieces_of(tesseract.read_picture(picture, options.language), scale), "tesseract"
    libraries.require("rapidocr")
    return pieces_of(rapid.read_picture(picture), scale), "rapidocr"
