"""A PDF -> its pages: the words of the text layer with their places, or a picture for OCR."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any, Final

from edgeslm.documents.letters import Letter, words_of
from edgeslm.documents.libraries import pdfium
from edgeslm.documents.limits import check_characters
from edgeslm.documents.raw import Picture, RawPage, Reading
from edgeslm.errors import DocumentError

#: dots an inch at which a page is drawn for OCR, where that is not too many pixels
_DOTS: Final = 300 / 72
#: a page with fewer letters and digits than this, and with more than text on it, is a picture
_FEW: Final = 20
#: and so is one with fewer than this, of which pictures cover this share: a scan with a stamp
_FEW_ON_SCAN: Final = 200
_SCAN: Final = 0.5
#: and so is one of whose characters this share has no meaning
_UNREADABLE: Final = 1 / 3
#: FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY
_ENCRYPTED: Final = {4, 5}


def pdf_pages(data: bytes, reading: Reading) -> Iterator[RawPage]:
    """The pages of a PDF.

    Raises:
        DocumentError: it is damaged or encrypted, or has too many pages or characters.
        MissingExtraError: pypdfium2 is not there.
    """
    library = pdfium()
    try:
        document = library.PdfDocument(data, password=reading.password)
    except library.PdfiumError as error:
        raise _refused(error, reading.password) from error
    try:
        count = len(document)
        if not count:
            raise DocumentError("a PDF without pages", reason="empty")
        reading.limits.check_pages(count)
        if document.get_formtype():
            document.init_forms()
        characters = 0
        for number in reading.numbers(count):
            try:
                page, read = _page(_opened(document, number - 1), reading)
            except library.PdfiumError as error:
                raise DocumentError(
                    f"page {number} is damaged: {error}", reason="damaged"
                ) from error
            characters += read
            check_characters(characters)
            yield page
    finally:
        document.close()


def _refused(error: Any, password: str | None) -> DocumentError:
    if getattr(error, "err_code", None) in _ENCRYPTED or "password" in str(error).lower():
        what = "is encrypted; give its password=" if password is None else "has another password"
        return DocumentError(what, reason="encrypted")
    return DocumentError(f"is damaged: {error}", reason="damaged")


def _page(page: Any, reading: Reading) -> tuple[RawPage, int]:
    """A page, and how many characters it has."""
    try:
        view = _View(page)
        if reading.drawn:
            return RawPage(view.width, view.height, "pt", picture=_picture(page, reading)), 0
        letters = [*_letters(page, view)]
        pieces = words_of(letters)
        picture = (
            _picture(page, reading) if reading.ocr_pixels and _is_picture(page, letters) else None
        )
        return RawPage(view.width, view.height, "pt", pieces, picture), len(letters)
    finally:
        page.close()


def _opened(document: Any, number: int) -> Any:
    """A page, with notes and what was filled into a form as parts of it, and so of its text."""
    page = document[number]
    raw = pdfium().raw
    if raw.FPDFPage_GetAnnotCount(page) > 0:
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
        page.close()
        page = document[number]
    return page


# --- text -------------------------------------------------------------------------


class _View:
    """A page as it is shown: cropped, turned, with (0, 0) in its left upper corner."""

    def __init__(self, page: Any) -> None:
        self._left, self._bottom, right, top = page.get_bbox()
        self._wide, self._high = abs(right - self._left), abs(top - self._bottom)
        self.turn: int = page.get_rotation()
        sizes = (self._wide, self._high)
        self.width, self.height = sizes if self.turn % 180 == 0 else sizes[::-1]

    def box(self, left: float, bottom: float, right: float, top: float) -> tuple[float, ...]:
        """A rectangle of the file's coordinates as left, top, right, bottom of the view."""
        left, right = left - self._left, right - self._left
        bottom, top = bottom - self._bottom, top - self._bottom
        match self.turn:
            case 90:
                return bottom, left, top, right
            case 180:
                return self._wide - right, bottom, self._wide - left, top
            case 270:
                return self._high - top, self._wide - right, self._high - bottom, self._wide - left
            case _:
                return left, self._high - top, right, self._high - bottom


def _letters(page: Any, view: _View) -> Iterator[Letter]:
    """The characters of a page that are within what is shown of it, in the file's order."""
    raw = pdfium().raw
    text = page.get_textpage()
    rectangle = raw.FS_RECTF()
    at = ctypes.byref(rectangle)
    count = text.count_chars()
    check_characters(count)
    for index in range(count):
        code = raw.FPDFText_GetUnicode(text, index)
        if not raw.FPDFText_GetLooseCharBox(text, index, at):
            continue
        clockwise = math.degrees(raw.FPDFText_GetCharAngle(text, index)) + view.turn
        left, top, right, bottom = view.box(
            rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
        )
        inside = 0 <= left + right <= 2 * view.width and 0 <= top + bottom <= 2 * view.height
        if inside:
            yield Letter(code, left, top, right, bottom, -clockwise)
    text.close()


# --- pictures ---------------------------------------------------------------------


def _is_picture(page: Any, letters: list[Letter]) -> bool:
    """Whether a page shows text that its text layer does not have."""
    codes = [letter.code for letter in letters if letter.code > 32]
    meaningless = sum(0xE000 <= code <= 0xF8FF or code == 0xFFFD for code in codes)
    if codes and meaningless > _UNREADABLE * len(codes):
        return True
    told = sum(chr(code).isalnum() for code in codes if code < 0x110000)
    if told >= _FEW_ON_SCAN:
        return False
    kinds = [*_kinds(page)]
    if told < _FEW and any(kind != pdfium().raw.FPDF_PAGEOBJ_TEXT for kind, _ in kinds):
        return True
    wide, high = page.get_size()
    shown = sum(area for kind, area in kinds if kind == pdfium().raw.FPDF_PAGEOBJ_IMAGE)
    return bool(shown > _SCAN * wide * high)


def _kinds(page: Any) -> Iterator[tuple[int, float]]:
    """The kind of each object of a page, and the area around it."""
    raw = pdfium().raw
    edges = [ctypes.c_float() for _ in range(4)]
    for index in range(raw.FPDFPage_CountObjects(page)):
        each = raw.FPDFPage_GetObject(page, index)
        area = 0.0
        if raw.FPDFPageObj_GetBounds(each, *map(ctypes.byref, edges)):
            left, bottom, right, top = (edge.value for edge in edges)
            area = (right - left) * (top - bottom)
        yield raw.FPDFPageObj_GetType(each), area


def _picture(page: Any, reading: Reading) -> Picture:
    width, height = page.get_size()
    scale = reading.scale(max(width, 1), max(height, 1), _DOTS)
    bitmap = page.render(scale=scale, rev_byteorder=True)
    wide, high, stride = bitmap.width, bitmap.height, bitmap.stride
    rows = bytes(bitmap.buffer)
    if stride != 3 * wide:
        rows = b"".join(rows[y * stride : y * stride + 3 * wide] for y in range(high))
    bitmap.close()
    return Picture(wide, high, rows)
