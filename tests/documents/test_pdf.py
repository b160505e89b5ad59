"""PDFs with a text layer: words and their places, whatever a page's turn, and what is refused."""

import random
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeslm import read_document
from edgeslm.documents import child, process
from edgeslm.documents.letters import Letter, words_of
from edgeslm.documents.limits import Limits
from edgeslm.documents.pdf import pdf_pages
from edgeslm.documents.raw import Reading
from edgeslm.errors import DocumentError, MachineError, MissingExtraError
from tests.helpers.pdf import PdfPage, pdf
from tests.helpers.soak import rounds

pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")

TABLE = [("Description", 50, 700), ("Qty", 300, 700), ("Price", 400, 700)]
TABLE += [("Steel screw (4x40)", 50, 680), ("2", 300, 680), ("12.50", 400, 680)]


def read(*pages, **options):
    return read_document(pdf(*pages), isolated=False, **options)


def word(document, text):
    (one,) = [word for word in document.words if word.text == text]
    return one


def test_a_text_layer_is_read_with_its_places():
    document = read_document(pdf(PdfPage(TABLE), PdfPage([("Last page", 50, 800)])))
    assert document.kind == "pdf"
    assert document.text == "Description  Qty  Price\nSteel screw (4x40)  2  12.50\nLast page"
    assert [(p.number, p.width, p.height, p.unit, p.source) for p in document.pages] == [
        (1, 595, 842, "pt", "text layer"), (2, 595, 842, "pt", "text layer"),
    ]  # fmt: skip
    price = word(document, "12.50")
    assert price.page == 1
    assert price.box.left == pytest.approx(400, abs=1)
    assert price.box.right == pytest.approx(425, abs=1)  # 4 digits of 556 and a point of 278
    assert price.box.top < 842 - 687 < 842 - 680 < price.box.bottom
    start = document.text.index("screw")
    (box,) = document.boxes((start, start + 13))
    assert (box[0], box[1].left) == (1, word(document, "screw").box.left)


TURNED = {
    0: ((50, 700), 0),
    90: ((595 - 700, 50), 90),
    180: ((595 - 50, 842 - 700), 180),
    270: ((700, 842 - 50), 270),
}


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_boxes_are_those_of_the_page_as_it_is_shown(turn):
    """A page that is turned and whose text is turned back is as one that is not turned."""
    wide, high = (595, 842) if turn % 180 == 0 else (842, 595)

    def place(x, y):  # from where it is seen, from the left lower corner, to where it is written
        return {
            0: (x, y), 90: (595 - y, x), 180: (595 - x, 842 - y), 270: (y, 842 - x),
        }[turn]  # fmt: skip

    texts = [(text, *place(x, y), 10, turn) for text, x, y in (("Sum", 60, 500), ("5.00", 200, 500),
                                                              ("Below", 60, 480))]  # fmt: skip
    document = read(PdfPage(texts, rotate=turn))
    assert document.text == "Sum  5.00\nBelow"
    assert (document.pages[0].width, document.pages[0].height) == (wide, high)
    for text, x, y in (("Sum", 60, 500), ("Below", 60, 480)):
        box = word(document, text).box
        assert box.left == pytest.approx(x, abs=1)
        assert box.top < high - y < box.bottom
        assert box.bottom - box.top < 15


def test_a_cropped_page_begins_where_it_is_shown():
    document = read(PdfPage([*TABLE, ("out", 10, 10)], crop=(40, 600, 500, 800)))
    assert document.text == "Description  Qty  Price\nSteel screw (4x40)  2  12.50"
    page = document.pages[0]
    assert (page.width, page.height) == (460, 200)
    assert word(document, "Description").box.left == pytest.approx(10, abs=1)
    assert all(w.box.left >= 0 and w.box.bottom <= 200 for w in document.words)


def test_text_that_runs_another_way_comes_behind_all_other():
    up = [("Copy of the original", 30, 300, 10, 90), ("second line", 45, 300, 10, 90)]
    document = read(PdfPage([*up, *TABLE]))
    assert document.text.splitlines()[-2:] == ["Copy of the original", "second line"]
    box = word(document, "original").box
    assert box.right - box.left < 15 < box.bottom - box.top


@pytest.mark.parametrize("isolated", [True, False])
def test_threads_read_at_the_same_time(isolated):
    data = [pdf(PdfPage([(f"page {n}", 50, 700)])) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda each: read_document(each, isolated=isolated).text, data)
        assert [*read] == [f"page {n}" for n in range(8)]


def test_the_order_of_the_file_does_not_matter():
    texts = [*TABLE]
    random.Random(1).shuffle(texts)
    assert read(PdfPage(texts)).text == read(PdfPage(TABLE)).text


def test_letters_that_are_placed_one_by_one_are_words():
    texts = [(letter, 50 + 6 * n, 700) for n, letter in enumerate("Bonus")]
    assert read(PdfPage([*texts, ("due", 100, 700)])).text == "Bonus  due"


def letters(text, angle=0.0):
    return [Letter(ord(c), 10.0 * n, 0, 10.0 * n + 9, 12, angle) for n, c in enumerate(text)]


def test_signs_that_stand_for_others_are_those():
    text = "o\ufb03ce re\x02 \x00a\ud800 \ud83d\ude00 \ud83d \ude00\ud800\ud83d\ude00"
    assert [w.text for w in words_of(letters(text))] == [
        "office", "re-", "a\ufffd", "😀", "\ufffd", "\ufffd\ufffd😀",
    ]  # fmt: skip


def test_links_change_nothing_and_notes_and_fields_are_read():
    shown = b"<</Type/XObject/Subtype/Form/BBox[0 0 200 20]/Resources<</Font<</F 3 0 R>>>>"
    link = b"<</Type/Annot/Subtype/Link/Rect[50 690 90 710]/Border[0 0 0]>>"
    look = b"BT /F 10 Tf 2 5 Td (Filled in) Tj ET"
    stream = shown + b"/Length %d>>stream\n%b\nendstream" % (len(look), look)
    field = (
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Filled in)/F 4/Rect[300 680 500 700]"
        b"/AP<</N 4 0 R>>>>"
    )
    page = PdfPage([("Name:", 50, 684)], annotations=(link, field), stream=None)
    data = pdf(PdfPage(stream=stream), page)
    lines = read_document(data, isolated=False, ocr="never").text.splitlines()
    assert lines[-1] == "Name:  Filled in"


# --- what is refused ----------------------------------------------------------------


def test_an_encrypted_file_needs_its_password():
    data = pdf(PdfPage([("Secret", 50, 700)]), password="pass")
    for password, says in ((None, "is encrypted; give its password="), ("x", "another password")):
        with pytest.raises(DocumentError, match=says) as raised:
            read_document(data, password=password)
        assert raised.value.reason == "encrypted"
    assert read_document(data, password="pass").text == "Secret"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7\n", "damaged"),
        (b"%PDF-1.7\n" + b"x" * 1000, "damaged"),
        (pdf(), "damaged"),
        (pdf(PdfPage()), "empty"),
    ],
)
def test_a_file_without_a_text_is_one_typed_error(data, reason):
    with pytest.raises(DocumentError) as raised:
        read_document(data)
    assert raised.value.reason in {reason, "empty"}


def test_a_file_that_only_asks_not_to_be_printed_needs_no_password():
    data = pdf(PdfPage([("For all", 50, 700)]), password="")
    assert read_document(data, isolated=False).text == "For all"


BLACK = (4, 4, bytes(48))


@pytest.mark.parametrize(
    ("page", "is_scan"),
    [
        (PdfPage([("Scanned by an app for free", 9, 9)], picture=BLACK), True),
        (PdfPage([("Scanned by an app for free", 9, 9)]), False),
        (PdfPage([("Over a picture", 9, 20 * n) for n in range(20)], picture=BLACK), False),
        (PdfPage([("Few", 9, 9)], picture=BLACK), True),
        (PdfPage([("Few", 9, 9)]), False),
        (PdfPage(content=b"0 0 9 9 re f"), True),
        (PdfPage(), False),
    ],
)
def test_a_page_is_read_by_ocr_where_its_text_layer_does_not_have_its_text(page, is_scan):
    (read,) = pdf_pages(pdf(page), Reading("pdf", Limits(), ocr_pixels=10_000))
    assert (read.picture is not None) is is_scan


def test_the_text_layer_is_kept_where_ocr_reads_less():
    pytest.importorskip("rapidocr", reason="the extra documents brings rapidocr")
    document = read(PdfPage([("Scanned by an app for free", 9, 9, 1)], picture=BLACK))
    assert document.pages[0].source == "text layer"
    assert document.text == "Scanned by an app for free"


def test_pages_have_a_limit():
    pages = [PdfPage([("x", 50, 700)])] * 3
    assert len(read(*pages, max_pages=3).pages) == 3
    with pytest.raises(DocumentError, match=r"has 3 pages, more than max_pages=2; split it"):
        read(*pages, max_pages=2)
    with pytest.raises(DocumentError, match="10,000 pages"):
        read_document(pdf(*[PdfPage([("x", 50, 700)])] * 10_000))


def test_a_file_that_lies_about_its_pages_has_those_that_are_there():
    data = pdf(PdfPage([("x", 50, 700)])).replace(b"/Count 1", b"/Count 999999999")
    assert read_document(data).text == "x"


def test_words_of_a_page_have_a_limit(monkeypatch):
    monkeypatch.setattr("edgeslm.documents.assemble.MAX_WORDS", 5)
    with pytest.raises(DocumentError, match="page 1 has 6 words"):
        read(PdfPage([(f"w{n}", 50, 700 - 20 * n) for n in range(6)]))


def zeros(count):
    """A stream of so many zeros that is packed twice."""
    packer = zlib.compressobj(9)
    packed = [packer.compress(bytes(1_000_000)) for _ in range(count // 1_000_000)]
    data = zlib.compress(b"".join([*packed, packer.flush()]), 9)
    head = b"<</Filter[/FlateDecode/FlateDecode]/Length %d>>" % len(data)
    return head + b"stream\n" + data + b"\nendstream"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process takes")
def test_a_bomb_ends_the_process_that_reads_it_and_no_other():
    data = pdf(PdfPage(stream=zeros(1_500_000_000)))
    assert len(data) < 10_000
    with pytest.raises(DocumentError, match="the process that read it ended with SIG") as raised:
        read_document(data)
    assert raised.value.reason == "damaged"


@pytest.mark.parametrize(
    "stream",
    [b"[" * 1_000_000, b"q " * 1_000_000, b"<<" * 1_000_000, b"BT " * 1_000_000, b"/P Do " * 1000],
)
def test_a_page_that_is_nested_without_an_end_is_read(stream):
    with pytest.raises(DocumentError, match="no text was read"):
        read_document(pdf(PdfPage(content=stream)), ocr="never")


@pytest.mark.parametrize("size", [(1e9, 1e9), (1e9, 0.001), (0, 0), (1, 1), (-5, -5)])
def test_a_page_of_any_size_is_drawn_with_a_bounded_number_of_pixels(size):
    page = PdfPage(content=b"0 0 9 9 re f", width=size[0], height=size[1])
    (drawn,) = pdf_pages(pdf(page), Reading("pdf", Limits(), ocr_pixels=1_000_000))
    assert 0 < drawn.picture.width * drawn.picture.height <= 1_100_000
    assert drawn.width > 0
    assert drawn.height > 0


def mutated(data, chance):
    data = bytearray(data)
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case _:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.randint(1, 40)]
    return bytes(data)


@pytest.mark.soak
def test_mutated_files_are_read_or_refused():
    whole = pdf(PdfPage(TABLE, rotate=90), PdfPage(TABLE, crop=(0, 0, 300, 800)))
    for seed in range(rounds(60)):
        data = b"%PDF-1.7" + mutated(whole, random.Random(seed))[8:]
        try:
            document = read_document(data, ocr="never")
        except DocumentError:
            continue
        for word in document.words:
            assert document.text[word.start : word.end] == word.text
            page = document.pages[word.page - 1]
            assert 0 <= word.box.left + word.box.right <= 2 * page.width


def test_a_reader_that_ends_or_hangs_is_one_typed_error(monkeypatch):
    data = pdf(PdfPage(TABLE))
    monkeypatch.setattr(process, "_CHILD", "edgeslm.no_such_module")
    with pytest.raises(DocumentError, match="the process that read it ended with code 1") as raised:
        read_document(data)
    assert raised.value.reason == "damaged"
    monkeypatch.undo()
    monkeypatch.setattr(process, "SECONDS", 0.01)
    with pytest.raises(DocumentError, match=r"more than 0\.01 seconds") as raised:
        read_document(data)
    assert raised.value.reason == "limit"


def test_a_missing_library_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None)
    with pytest.raises(MissingExtraError, match=r"pypdfium2.*edgeslm-core\[documents\]") as raised:
        read_document(pdf(PdfPage(TABLE)))
    assert raised.value.extra == "documents"


def test_an_error_of_the_child_is_that_of_the_parent(monkeypatch):
    def broken(*_):
        raise MachineError("cannot be loaded")

    monkeypatch.setattr(child, "pages_of", broken)
    assert issubclass(MissingExtraError, MachineError)
