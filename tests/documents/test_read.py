"""read_document: what a file is, limits, errors that name the file, and places in the text."""

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeslm
from edgeslm import Document, read_document
from edgeslm.documents.assemble import of_pages
from edgeslm.documents.document import Box, Page, Word
from edgeslm.documents.layout import Piece
from edgeslm.errors import ArgumentError, DocumentError, InputError
from tests.test_repository import loaded_after


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"Hello\r\nyou\rall", "text", "Hello\nyou\nall"),
        ("\ufeffZoë".encode(), "text", "Zoë"),
        ("\ufeffZoë\r\n5".encode("utf-16-be"), "text", "Zoë\n5"),
        ("\ufeffZoë".encode("utf-32-le"), "text", "Zoë"),
        (b"<!DOCTYPE html><p>Hi", "html", "Hi"),
        (b"\n<!-- x -->\n<?xml version='1.0'?>\n<html><p>Hi", "html", "Hi"),
        (b"\xef\xbb\xbf <DIV>Hi</div>", "html", "Hi"),
        (b"<note>is XML</note>", "text", "<note>is XML</note>"),
        (b"From: a\nMIME-Version: 1.0\n\nHi", "mail", "From: a\nHi"),
        (b"BMW 3 is a car", "text", "BMW 3 is a car"),
    ],
)
def test_the_kind_is_told_by_content(data, kind, text, tmp_path):
    for source in (data, bytearray(data), memoryview(data)):
        document = read_document(source)
        assert (document.kind, document.text, str(document)) == (kind, text, text)
    for name in ("a.pdf", "a.jpg", "a"):
        (tmp_path / name).write_bytes(data)
        assert read_document(tmp_path / name) == read_document(str(tmp_path / name)) == document


def test_the_name_is_asked_where_a_text_may_be_two_things(tmp_path):
    for name, kind, text in (
        ("a.eml", "mail", "Subject: note\nwords"), ("a.txt", "text", "Subject: note\n\nwords"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(b"Subject: note\n\nwords")
        document = read_document(tmp_path / name)
        assert (document.kind, document.text) == (kind, text)
    (tmp_path / "a.html").write_bytes(b"words<br>more")
    assert read_document(tmp_path / "a.html").text == "words\nmore"


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"", "empty", "is an empty file"),
        (b" \n\t", "empty", "has no text in it"),
        (b"<html><script>x</script>", "empty", "has no text in it"),
        (b"PK\x03\x04....", "unsupported", "is a zip archive or an office document"),
        (b"GIF89a....", "unsupported", "is a GIF picture; what is read: PDF, JPEG"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "unsupported", "is an old office document"),
        (b"caf\xe9", "unsupported", "not UTF-8 at byte 3"),
        (b"a\0b", "unsupported", "a zero byte at 1"),
        (b"\xff\xfea", "unsupported", "not UTF-16 at byte 2"),
    ],
)
def test_what_cannot_be_read_is_one_typed_error(data, reason, says, tmp_path):
    with pytest.raises(DocumentError, match=says) as raised:
        read_document(data)
    assert raised.value.reason == reason
    assert raised.value.exit_code == InputError.exit_code
    assert raised.value.to_dict()["reason"] == reason
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(DocumentError) as named:
        read_document(file)
    assert str(named.value) == f"{file}: {raised.value}"
    assert named.value.reason == reason


def test_a_file_that_cannot_be_opened_is_the_same_error(tmp_path):
    for path in (tmp_path / "gone", tmp_path, "a\0b"):
        with pytest.raises(DocumentError, match="cannot be read") as raised:
            read_document(path)
        assert raised.value.reason == "unreadable"


def test_bytes_have_a_limit(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 11)
    for source in (file, file.read_bytes()):
        with pytest.raises(DocumentError, match=r"more than max_bytes=10 bytes.*allow more"):
            read_document(source, max_bytes=10)
        assert read_document(source, max_bytes=11).text == "x" * 11


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no endless file")
def test_an_endless_file_has_an_end():
    with pytest.raises(DocumentError, match="max_bytes"):
        read_document("/dev/zero", max_bytes=1_000_000)


def test_characters_have_a_limit(monkeypatch):
    monkeypatch.setattr("edgeslm.documents.limits.MAX_CHARACTERS", 10)
    assert read_document(b"x" * 10)
    with pytest.raises(DocumentError, match="more than 10 characters"):
        read_document(b"x" * 11)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ocr": "yes"}, "ocr must be"),
        ({"max_pages": 0}, "max_pages must be at least 1"),
        ({"max_bytes": 1.5}, "max_bytes must be a whole number"),
        ({"max_pixels": True}, "max_pixels must be a whole number"),
        ({"language": "-x"}, "language must be"),
        ({"language": "eng+"}, "language must be"),
        ({"password": b"x"}, "password must be a str"),
        ({"isolated": 1}, "isolated must be"),
    ],
)
def test_arguments_are_checked(arguments, says):
    with pytest.raises(ArgumentError, match=says):
        read_document(b"x", **arguments)


def test_only_a_path_or_bytes_is_a_source():
    for source in (None, 5, ["x"]):
        with pytest.raises(ArgumentError, match="path or the bytes"):
            read_document(source)
    assert os.fspath(Path("x")) == "x"


# --- places ------------------------------------------------------------------------


def piece(text, left, top, right, bottom):
    box = Box(left, top, right, bottom)
    return Piece(text, box, box)


@pytest.fixture
def document():
    page = Page(1, 100, 50, "pt", "text layer")
    other = Page(2, 100, 50, "px", "rapidocr")
    return of_pages(
        [
            (page, [piece("Sum", 0, 0, 10, 10), piece("5.00", 80, 0, 95, 10)]),
            (page, [piece("Bye", 0, 20, 10, 30)]),
            (other, [piece("End", 0, 0, 10, 10)]),
        ],
        "pdf",
    )


def test_a_text_has_lines_of_all_pages_and_words_their_places(document):
    assert document.text == "Sum  5.00\nBye\nEnd"
    assert [document.text[word.start : word.end] for word in document.words] == [
        "Sum", "5.00", "Bye", "End",
    ]  # fmt: skip
    assert document.words[1] == Word("5.00", 1, Box(80, 0, 95, 10), 5, 9)


@pytest.mark.parametrize(
    ("span", "boxes"),
    [
        ((5, 9), [(1, Box(80, 0, 95, 10))]),
        ((6, 7), [(1, Box(80, 0, 95, 10))]),
        ((0, 9), [(1, Box(0, 0, 95, 10))]),
        ((2, 11), [(1, Box(0, 0, 95, 10)), (1, Box(0, 20, 10, 30))]),
        ((10, 17), [(1, Box(0, 20, 10, 30)), (2, Box(0, 0, 10, 10))]),
        ((3, 5), []),
        ((4, 4), []),
        ((9, 10), []),
        ((100, 200), []),
    ],
)
def test_a_span_of_the_text_has_one_box_for_each_line(document, span, boxes):
    assert document.boxes(span) == boxes


def test_a_document_passes_between_processes(document):
    assert pickle.loads(pickle.dumps(document)) == document
    assert hash(document) == hash(pickle.loads(pickle.dumps(document)))


def test_a_document_cannot_be_changed(document):
    with pytest.raises(AttributeError):
        document.text = "x"


texts = st.text(st.characters(exclude_categories=["Zs", "Zl", "Zp", "Cc", "Cs"]), min_size=1)
places = st.tuples(st.floats(-50, 550), st.floats(-50, 550), st.floats(1, 80), st.floats(5, 20))


@given(st.lists(st.lists(st.tuples(texts, places), max_size=12), min_size=1, max_size=3), st.data())
@settings(max_examples=200, deadline=None)
def test_offsets_of_words_always_index_their_text(pages, data):
    made = [
        (
            Page(n, 500, 500, "pt", "text layer"),
            [piece(text, x, y, x + wide, y + high) for text, (x, y, wide, high) in words],
        )
        for n, words in enumerate(pages, 1)
    ]
    if not any(words for _, words in made):
        with pytest.raises(DocumentError, match="no text was read"):
            of_pages(made, "pdf")
        return
    document = of_pages(made, "pdf")
    assert [document.text[word.start : word.end] for word in document.words] == [
        word.text for word in document.words
    ]
    for word in document.words:
        assert 0 <= word.box.left <= word.box.right <= 500
        assert 0 <= word.box.top <= word.box.bottom <= 500
    starts = [word.start for word in document.words]
    assert starts == sorted(set(starts))
    start = data.draw(st.integers(0, len(document.text)))
    end = data.draw(st.integers(start, len(document.text)))
    covered = [w for w in document.words if w.start < end and start < w.end and start < end]
    boxes = document.boxes((start, end))
    for word in covered:
        assert any(
            page == word.page and box.left <= word.box.left and box.bottom >= word.box.bottom
            for page, box in boxes
        )
    assert len(boxes) <= len(covered)


def test_a_text_is_read_without_the_libraries_of_pictures():
    assert edgeslm.Document is Document
    reads = "import edgeslm; edgeslm.Document; edgeslm.read_document(b'<p>x')"
    heavy = {"numpy", "PIL", "pypdfium2", "rapidocr", "cv2", "onnxruntime", "pydantic"}
    assert loaded_after(reads) & heavy == set()
