"""Pictures: turned, of several pages, in all modes, limits by their header, and their OCR."""

import io
import random
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from edgeslm import read_document
from edgeslm.documents.limits import Limits
from edgeslm.documents.ocr.pieces import ReadLine, pieces_of
from edgeslm.documents.ocr.rapid import _model
from edgeslm.documents.pictures import picture_pages
from edgeslm.documents.process import isolated_pages
from edgeslm.documents.raw import OCR_LONGEST, OCR_PIXELS, Reading
from edgeslm.errors import DocumentError, MachineError, MissingExtraError
from tests.helpers.pdf import PdfPage, pdf
from tests.helpers.soak import rounds
from tests.test_no_network import GUARD, unshare

Image = pytest.importorskip("PIL.Image", reason="the extra documents brings Pillow")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFont = pytest.importorskip("PIL.ImageFont")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of files that are damaged

ROOT = Path(__file__).resolve().parents[2]
LINES = [("Corner Kiosk", ""), ("Newspaper", "2.40"), ("Coffee", "3.10"), ("TOTAL", "5.50")]


def drawn(size=(700, 400), mode="RGB", lines=LINES):
    """A picture of a receipt."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=36)
    for n, (left, right) in enumerate(lines):
        draw.text((30, 30 + 80 * n), left, "black", font)
        draw.text((480, 30 + 80 * n), right, "black", font)
    return image.convert(mode)


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pages(data, **limits):
    return [*picture_pages(data, Reading("picture", Limits(**limits)))]


# --- decoding -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_all_kinds_are_decoded(kind):
    (page,) = pages(saved(drawn((70, 40)), kind))
    assert (page.width, page.height, page.unit) == (70, 40, "px")
    assert len(page.picture.rgb) == 3 * 70 * 40


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F", "YCbCr"])
def test_all_modes_become_three_colours_on_white(mode):
    unseen = {"LA": (0, 0), "RGBA": (0, 0, 0, 0), "I;16": 65535}
    if mode in unseen:
        image = Image.new(mode, (20, 10), unseen[mode])
    else:
        image = Image.new("RGB", (20, 10), "white").convert(mode)
    (page,) = pages(saved(image, "TIFF"))
    assert min(page.picture.rgb) >= 254, mode


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photo_is_turned_as_its_camera_says(turn):
    image = Image.new("RGB", (30, 20))
    exif = Image.Exif()
    exif[0x0112] = turn
    (page,) = pages(saved(image, "JPEG", exif=exif))
    assert (page.width, page.height) == ((30, 20) if turn < 5 else (20, 30))
    assert (page.picture.width, page.picture.height) == (page.width, page.height)


def test_a_tiff_has_several_pages_which_have_a_limit():
    data = saved(drawn((40, 40)), "TIFF", save_all=True, append_images=[drawn((60, 20))] * 2)
    assert [(p.width, p.height) for p in pages(data)] == [(40, 40), (60, 20), (60, 20)]
    with pytest.raises(DocumentError, match="has 3 pages, more than max_pages=2"):
        pages(data, pages=2)


@pytest.mark.parametrize("turn", [1, 6])
def test_a_large_picture_is_made_smaller_and_keeps_its_size(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    (page,) = pages(saved(Image.new("L", (6000, 4000), 255), "JPEG", exif=exif))
    size = (6000, 4000) if turn == 1 else (4000, 6000)
    assert (page.width, page.height) == size
    small = page.picture
    assert OCR_PIXELS / 8 < small.width * small.height <= OCR_PIXELS
    assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.01)


@pytest.mark.parametrize("mode", ["1", "P", "L", "I;16"])
def test_a_picture_of_few_colours_is_made_smaller_without_leaving_pixels_out(mode):
    image = Image.new("L", (3000, 2000), 255)
    image.paste(0, (0, 0, 3000, 1000))
    lines = Image.eval(image, lambda value: value)
    for x in range(0, 3000, 4):  # a black line in four: a fourth of the light is gone
        lines.paste(0, (x, 1000, x + 1, 2000))
    if mode == "I;16":
        lines = lines.convert("I").point(lambda value: value * 257).convert("I;16")
    else:
        lines = lines.convert(mode)
    data = saved(lines, "TIFF")
    (page,) = [*picture_pages(data, Reading("picture", Limits(), ocr_pixels=300_000))]
    row = (page.picture.height * 3 // 4) * page.picture.width * 3
    below = page.picture.rgb[row : row + 3 * page.picture.width]
    assert sum(below) / len(below) == pytest.approx(191, abs=8)
    assert max(page.picture.rgb[: 3 * page.picture.width]) == 0


def test_the_limit_of_pixels_can_be_above_that_of_the_library():
    data = saved(Image.new("1", (14_000, 14_000), 1), "TIFF", compression="group4")
    with pytest.raises(DocumentError, match="max_pixels=100,000,000"):
        read_document(data)
    reading = Reading("picture", Limits(pixels=200_000_000), ocr_pixels=10_000)
    (page,) = isolated_pages(data, reading)
    assert (page.width, page.picture.width) == (14_000, 100)


@pytest.mark.parametrize("size", [(9000, 1), (9000, 40), (40, 9000)])
def test_a_long_picture_is_made_so_small_that_its_margin_fits(size):
    data = saved(Image.new("1", size, 1))
    (page,) = [*picture_pages(data, Reading("picture", Limits(), ocr_pixels=1_000_000))]
    assert (page.width, page.height) == size
    assert max(page.picture.width, page.picture.height) ** 2 / OCR_LONGEST <= 1_000_000


def png(width, height, data=b""):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body
            + struct.pack(">I", zlib.crc32(name + body))
        )  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(40_000, 25_000), (2**31 - 1, 2**31 - 1), (2**20, 1_000)])
def test_a_picture_of_a_billion_pixels_is_refused_by_its_header(size):
    for isolated in (True, False):
        with pytest.raises(DocumentError, match="max_pixels=100,000,000") as raised:
            read_document(png(*size), isolated=isolated)
        assert raised.value.reason == "limit"
    with pytest.raises(DocumentError, match="max_pixels=100;"):
        read_document(saved(drawn((20, 20))), max_pixels=100)


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0\x08\0\0\0", b"RIFF\0\0\0\0WEBP"),
        *(png(5, 5, b"x"), saved(drawn())[:500], saved(drawn(), "JPEG")[:300]),
        *(b"BM" + bytes(20), png(0, 5)),
    ],
)
def test_a_damaged_picture_is_one_typed_error(data):
    for isolated in (True, False):
        with pytest.raises(DocumentError) as raised:
            read_document(data, isolated=isolated)
        assert raised.value.reason == "damaged"


@pytest.mark.soak
def test_mutated_pictures_are_decoded_or_refused():
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        whole = saved(drawn((60, 40)), kind)
        for seed in range(rounds(300)):
            chance = random.Random(seed)
            data = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            with suppress(DocumentError):
                assert pages(bytes(data), pixels=1_000_000)


# --- words of lines -------------------------------------------------------------------


def line(text, left, top, right, bottom, fall=0.0):
    return ReadLine(
        text,
        ((left, top), (right, top + fall), (right, bottom + fall), (left, bottom)),
    )


def test_the_box_of_a_line_is_divided_among_its_words():
    first, second = pieces_of([line("ab cdef", 0, 10, 70, 20)], 2.0)
    assert (first.text, second.text) == ("ab", "cdef")
    assert first.box == pytest.approx((0, 20, 40, 40))
    assert second.box == pytest.approx((60, 20, 140, 40))
    assert first.level == first.box


def test_lines_that_lean_are_levelled():
    lines = [line("Coffee or tea", 0, 0, 300, 20, 15), line("3.10", 800, 40, 860, 60, 3)]
    *_, word, price = pieces_of(lines, 1.0)
    assert abs(word.level.top - price.level.top) < 6 < price.box.top - word.box.top
    assert pieces_of([], 1.0) == []


# --- OCR --------------------------------------------------------------------------------


@pytest.fixture
def rapid():
    return pytest.importorskip("rapidocr", reason="the extra documents brings rapidocr")


def test_a_picture_is_read_row_by_row(rapid):
    document = read_document(saved(drawn()))
    assert document.text == "Corner Kiosk\nNewspaper  2.40\nCoffee  3.10\nTOTAL  5.50"
    (page,) = document.pages
    assert (page.width, page.height, page.unit, page.source) == (700, 400, "px", "rapidocr")
    start = document.text.index("5.50")
    ((number, box),) = document.boxes((start, start + 4))
    assert number == 1
    assert 460 < box.left < 490 < box.right < 580
    assert 260 < box.top < 300 < box.bottom < 330


def test_a_picture_that_leans_is_read_row_by_row(rapid):
    image = drawn((900, 600)).rotate(2, expand=True, fillcolor="white")
    assert read_document(saved(image)).text == (
        "Corner Kiosk\nNewspaper  2.40\nCoffee  3.10\nTOTAL  5.50"
    )


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_picture_on_its_side_or_head_is_read_as_if_it_stood(rapid, turn):
    image = drawn().rotate(turn, expand=True)
    document = read_document(saved(image))
    assert document.text == "Corner Kiosk\nNewspaper  2.40\nCoffee  3.10\nTOTAL  5.50"
    left, top, right, bottom = document.words[-1].box  # where it is in the file
    assert right - left > bottom - top if turn == 180 else right - left < bottom - top
    x, y = {90: (290, 170), 180: (170, 110), 270: (110, 530)}[turn]
    assert left < x < right
    assert top < y < bottom


def test_one_line_on_its_head_does_not_turn_a_page():
    from edgeslm.documents.ocr.rapid import _stand_on_head

    class Crop:
        shape = (20, 100, 3)

    def share(count, of):
        told = [("180" if n < count else "0", 0.95) for n in range(of)]
        return _stand_on_head([Crop] * of, told)

    assert [share(0, 0), share(1, 1), share(3, 5), share(4, 5), share(2, 2)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert not _stand_on_head([Crop] * 2, [("180", 0.8)] * 2)


def test_a_page_without_a_text_layer_is_read_by_ocr(rapid):
    image = drawn((700, 400))
    scan = PdfPage(width=350, height=200, picture=(*image.size, image.tobytes()))
    typed = PdfPage([("This page has a text layer of its own", 50, 150)], width=350, height=200)
    document = read_document(pdf(scan, typed))
    assert document.text.splitlines() == [
        "Corner Kiosk", "Newspaper  2.40", "Coffee  3.10", "TOTAL  5.50",
        "This page has a text layer of its own",
    ]  # fmt: skip
    assert [page.source for page in document.pages] == ["rapidocr", "text layer"]
    (total,) = [word for word in document.words if word.text == "5.50"]
    assert 230 < total.box.left < 245 < total.box.right < 290
    assert read_document(pdf(scan, typed), ocr="never").text == typed.texts[0][0]


def test_a_blank_picture_has_no_text(rapid):
    with pytest.raises(DocumentError, match="no text was read on its page") as raised:
        read_document(saved(Image.new("RGB", (200, 100), "white")))
    assert raised.value.reason == "empty"


#: a library that is loaded asks whether this machine has IPv6: a socket, to which none connects
ASKS_FOR_NOTHING = GUARD.replace(
    'event.startswith("socket.")',
    'event.startswith("socket.") and event not in ("socket.__new__", "socket.bind")',
)
OFFLINE = """
import edgeslm, json
document = edgeslm.read_document(sys.argv[1])
print(json.dumps(document.text))
"""


def test_ocr_asks_nothing_of_the_network(rapid, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(saved(drawn()))
    child = subprocess.run(
        [sys.executable, "-c", ASKS_FOR_NOTHING + OFFLINE, str(file)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (child.returncode, child.stderr) == (0, "")
    assert "TOTAL" in child.stdout


def test_ocr_reads_where_there_is_no_network(rapid, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(saved(drawn()))
    child = subprocess.run(
        [*unshare(), sys.executable, "-c", "import sys\n" + OFFLINE, str(file)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (child.returncode, child.stderr) == (0, "")
    assert "TOTAL" in child.stdout


def test_a_wheel_without_a_model_is_named_and_none_is_downloaded(rapid, tmp_path):
    (tmp_path / "x_det_small.onnx").touch()
    assert _model(tmp_path, "Det").name == "x_det_small.onnx"
    with pytest.raises(MachineError, match="has 0 models for the step Rec"):
        _model(tmp_path, "Rec")


@pytest.mark.parametrize("size", [(1, 1), (20, 20)])
def test_a_picture_of_any_form_can_be_read(rapid, size):
    with pytest.raises(DocumentError, match="no text was read"):
        read_document(saved(Image.new("RGB", size, "white")))


def test_a_picture_is_nothing_without_ocr():
    with pytest.raises(DocumentError, match='ocr="never"'):
        read_document(saved(drawn()), ocr="never")


def test_a_missing_ocr_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "rapidocr" or None)
    with pytest.raises(MissingExtraError, match=r"needs rapidocr.*edgeslm-core\[documents\]"):
        read_document(saved(drawn()))


def test_a_missing_tesseract_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MachineError, match="apt install tesseract-ocr"):
        read_document(saved(drawn()), ocr="tesseract")


def test_tesseract_reads_a_picture():
    import shutil

    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed")
    document = read_document(saved(drawn()), ocr="tesseract")
    assert document.text == "Corner Kiosk\nNewspaper  2.40\nCoffee  3.10\nTOTAL  5.50"
    assert document.pages[0].source == "tesseract"
    with pytest.raises(MachineError, match="tesseract failed"):
        read_document(saved(drawn()), ocr="tesseract", language="nosuch")


def test_the_table_of_tesseract_is_read():
    from edgeslm.documents.ocr.tesseract import _lines

    head = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight"
    rows = [
        head + "\tconf\ttext",
        "4\t1\t1\t1\t1\t0\t0\t0\t500\t30\t-1\t",
        "5\t1\t1\t1\t1\t1\t0\t0\t60\t20\t96.1\tSum",
        "5\t1\t1\t1\t1\t2\t400\t10\t60\t20\t90\t5.00",
        "5\t1\t1\t1\t1\t3\t480\t10\t60\t20\t-1\tno",
        "5\t1\t1\t1\t1\t4\t490\t10\t60\t20\t90\t ",
        "cut off",
    ]
    first, last = _lines("\n".join(rows))
    assert (first.text, last.text) == ("Sum", "5.00")
    slope = (first.corners[1][1] - first.corners[0][1]) / 60
    assert slope == pytest.approx(10 / 400)
