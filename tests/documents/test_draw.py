"""Pages as pictures for people: the right ones, of bounded size, in the shape of their page"""

import io

import pytest

from edgeslm.documents.document import Document, Page
from edgeslm.documents.draw import draw_pages
from edgeslm.documents.raw import DRAWN_SIDE
from edgeslm.documents.read import read_document
from edgeslm.errors import DocumentError
from tests.helpers.pdf import PdfPage, pdf

pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")
Image = pytest.importorskip("PIL.Image", reason="the extra documents brings Pillow")


def sizes(data, document, numbers):
    drawn = draw_pages(data, document, numbers)
    return [(number, Image.open(io.BytesIO(jpeg)).size) for number, jpeg in drawn]


def test_the_pages_that_are_asked_for_are_drawn_in_their_shape():
    pages = [PdfPage([(f"page {n}", 50, 200)], width=400, height=300) for n in range(3)]
    pages.append(PdfPage([("turned", 50, 200)], width=400, height=300, rotate=90))
    data = pdf(*pages)
    drawn = sizes(data, read_document(data), [4, 2, 99])
    assert drawn == [(2, (DRAWN_SIDE, 1050)), (4, (1050, DRAWN_SIDE))]


@pytest.mark.parametrize(
    ("size", "drawn"),
    [((2800, 700), (1400, 350)), ((300, 100), (300, 100)), ((9000, 2), (1400, 1))],
)
def test_a_picture_is_made_smaller_and_never_larger(size, drawn):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    document = Document("x", "picture", (Page(1, *size, "px", "rapidocr"),))
    assert sizes(file.getvalue(), document, [1]) == [(1, drawn)]


def test_what_cannot_be_drawn_is_an_error_and_what_has_no_pages_draws_nothing():
    document = Document("x", "pdf", (Page(1, 10, 10, "pt", "text layer"),))
    with pytest.raises(DocumentError, match="is damaged"):
        sizes(b"%PDF-1.7", document, [1])
    assert sizes(b"text", Document("text", "text"), [1]) == []
