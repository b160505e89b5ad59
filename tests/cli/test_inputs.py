"""What is read as a text: lines, tables, UTF-16, and what is refused by its first bytes."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.cli import inputs
from edgeslm.cli.inputs import Source
from edgeslm.errors import DocumentError, InputError
from edgeslm.formats.kinds import kind_of, kind_of_file
from tests.helpers.pdf import PdfPage, pdf


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(*files, **how):
    return list(Source(files, **how).read())


def texts(items):
    return [str(item.text) if isinstance(item.text, InputError) else item.text for item in items]


# --- lines ----------------------------------------------------------------------


def test_blank_lines_are_none_and_lines_keep_their_numbers(folder):
    Path("a.jsonl").write_bytes(b'\n{"text": "one"}\n  \r\n\n{"text": "two"}\n\n')
    items = read("a.jsonl")
    assert texts(items) == ["one", "two"]
    assert [item.place for item in items] == ["a.jsonl, line 2", "a.jsonl, line 5"]


def test_a_line_gives_its_id_and_what_is_kept(folder):
    rows = [
        {"id": 7, "text": "one", "lang": "de", "more": 1},
        {"text": "two"},
        {"id": "x", "lang": "en"},
    ]
    Path("a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = read("a.ndjson", keep=("lang",))
    assert [item.row for item in items] == [
        {"id": 7, "lang": "de"},
        {"lang": None},
        {"id": "x", "lang": "en"},
    ]
    assert isinstance(items[2].text, InputError)


def test_the_key_of_the_text_can_be_named(folder):
    Path("a.jsonl").write_text('{"body": "hi"}\n{"text": "no"}\n')
    one, other = read("a.jsonl", column="body")
    assert one.text == "hi"
    assert 'no "body" with a string in it' in str(other.text)


# --- tables ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t")])
def test_a_table_gives_one_text_for_each_row(folder, name, separator):
    with Path(name).open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows(
            [["id", "body", "who"], ["1", "a, b; c\nd", "Zoë"], [], ["2", 'say "hi"', ""]]
        )
    items = read(name, column="body", keep=("who",))
    assert texts(items) == ["a, b; c\nd", 'say "hi"']
    assert [item.row for item in items] == [{"id": "1", "who": "Zoë"}, {"id": "2", "who": ""}]


def test_rows_that_are_none_are_errors_in_their_place(folder):
    data = b'id,text\n1,one\n2\n3,a,b\n4,\xff\n5,"x"y\n6,six\n'
    Path("t.csv").write_bytes(data)
    items = read("t.csv", column="text")
    said = texts(items)
    assert (said[0], said[-1]) == ("one", "six")
    assert "has 1 cells, but the table has 2 columns" in said[1]
    assert "has 3 cells" in said[2]
    assert "not UTF-8" in said[3]
    assert "not a row of a table" in said[4]
    assert [item.place for item in items[:3]] == [f"t.csv, line {n}" for n in (2, 3, 4)]
    assert items[3].row == {"id": "4"}


@pytest.mark.parametrize(
    ("header", "column", "keep", "says"),
    [
        ("id,body", "text", (), "has no column 'text'; its columns: id, body"),
        ("id,text", "text", ("who",), "has no column 'who'"),
        ("text,text", "text", (), "has no column 'text' once"),
        ("", "text", (), "its columns: none"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    folder, header, column, keep, says
):
    Path("t.csv").write_text(header + "\nx,y\n")
    (item,) = read("t.csv", column=column, keep=keep)
    assert says in str(item.text)


FILES = {
    "t.csv": "id,body\n1,hi\n",
    "u.csv": "id,text\n1,hi\n",
    "l.jsonl": '\n{"id": 1, "body": "hi"}\n{"id": 2}\n',
    "some.jsonl": '{"id": 1}\n{"id": 2, "text": "hi"}\n',
    "broken.jsonl": '{"id"\n[1]\n',
    "empty.csv": "",
}


@pytest.mark.parametrize(
    ("files", "column", "keep", "says"),
    [
        (
            ["t.csv"],
            "text",
            (),
            r"^t.csv: has no column 'text'; its columns: id, body; name .*--column",
        ),
        (["t.csv"], "body", ("who",), "^t.csv: has no column 'who'"),
        (
            ["l.jsonl"],
            "text",
            (),
            '^l.jsonl: no line has the key "text"; the first has: id, body; name',
        ),
        (["l.jsonl"], None, (), 'no line has the key "text"'),
        (["l.jsonl", "t.csv"], "text", (), "^l.jsonl: no line"),
    ],
)
def test_what_no_row_has_is_said_once_before_there_is_a_model(folder, files, column, keep, says):
    for name, text in FILES.items():
        Path(name).write_text(text)
    with pytest.raises(InputError, match=says):
        inputs.check_columns(Source(files, column=column, keep=keep))


@pytest.mark.parametrize(
    ("files", "texts", "column"),
    [
        (["t.csv"], (), "body"),
        (["t.csv", "u.csv"], (), "text"),  # one can be answered
        (["t.csv"], ("hi",), "text"),
        (["some.jsonl"], (), "text"),
        (["broken.jsonl"], (), "text"),  # each line says what is wrong
        (["empty.csv"], (), "text"),
        (["gone.csv"], (), "text"),
        (["-"], (), "text"),
        ([], ("hi",), None),
    ],
)
def test_what_some_row_may_have_is_read(folder, files, texts, column):
    for name, text in FILES.items():
        Path(name).write_text(text)
    inputs.check_columns(Source(files, texts, column=column))


def test_columns_are_told_for_a_message(folder):
    Path("t.csv").write_text("id;text;who\n1;a;b\n")
    assert inputs.columns_of("t.csv") == ["id", "text", "who"]
    Path("t.csv").write_bytes(b"%PDF-1.7")
    assert inputs.columns_of("t.csv") == inputs.columns_of("gone.csv") == []


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
                      min_size=2, max_size=2)),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_what_a_writer_of_tables_wrote_is_read_as_it_was(rows):
    written = io.StringIO()
    csv.writer(written).writerows([["id", "text"], *rows])
    items = list(inputs.read_table(io.BytesIO(written.getvalue().encode()), "t", "text"))
    assert [(item.row["id"], item.text) for item in items] == [tuple(row) for row in rows]


@given(st.binary(max_size=300), st.integers(20, 60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_a_table_are_inputs_or_errors(data, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "MAX_BYTES", limit)
        items = list(inputs.read_table(io.BytesIO(b"id,text\n" + data), "t", "text"))
    assert all(isinstance(item.text, str | InputError) for item in items)
    assert sum(item.size for item in items) <= len(data) + 8


# --- encodings and other files ----------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_utf_16_and_32_are_decoded_by_their_mark(folder, encoding):
    mark = "\ufeff" if encoding.endswith("be") else ""
    Path("a.txt").write_bytes(f"{mark}Café 😀".encode(encoding))
    Path("a.jsonl").write_bytes(f'{mark}{{"text": "é"}}\n{{"text": "ü"}}\n'.encode(encoding))
    Path("t.csv").write_bytes(f"{mark}id,text\n1,é\n".encode(encoding))
    assert texts(read("a.txt")) == ["Café 😀"]
    assert texts(read("a.jsonl")) == ["é", "ü"]
    assert texts(read("t.csv", column="text")) == ["é"]


def test_small_files_are_decoded_in_the_same_way(folder):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert inputs.decode("é\n😀".encode(encoding)) == "é\n😀"
    for data, says in (
        (b"\xff\xfea", "not UTF-16 at byte"),
        (b"a\xe9", "not UTF-8 at byte 1"),
        (b"%PDF-1.7", "is a PDF document"),
    ):
        with pytest.raises(InputError, match=says):
            inputs.decode(data)


def test_what_only_looks_like_utf_16_is_an_error(folder):
    Path("cut.txt").write_bytes("\ufeffabc".encode("utf-16-le")[:-1])
    Path("bare.txt").write_bytes("plain".encode("utf-16-le"))
    cut, bare = texts(read("cut.txt", "bare.txt"))
    assert "its mark says utf-16, but it is not" in cut
    assert "is it UTF-16 without a mark?" in bare


KINDS = {
    "a.pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "take the text out of it"),
    "a.png": (b"\x89PNG\r\n\x1a\n\0\0", "a PNG picture", "take the text out of it"),
    "a.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture", "take the text out of it"),
    "a.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture", "take the text out of it"),
    "a.heic": (b"\0\0\0\x18ftypheic", "a picture or film", "take the text out of it"),
    "a.gz": (b"\x1f\x8b\x08\0", "a gzip archive", "unpack it first"),
    "a.rtf": (b"{\\rtf1\\ansi hello}", "an RTF document", "take the text out of it"),
    "a.gguf": (b"GGUF\x03\0\0\0", "a GGUF model", "take the text out of it"),
}


#: of these, those that are read where no lines or rows are wanted
PAGED = ("a.pdf", "a.png", "a.jpg", "a.webp")


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_text_is_refused_by_its_first_bytes(folder, name):
    data, kind, remedy = KINDS[name]
    whole = () if name in PAGED else (name, "renamed.txt")
    for named in (*whole, "renamed.jsonl", "renamed.csv"):
        Path(named).write_bytes(data)
        (item,) = read(named, column=None if named.endswith(("txt", name)) else "text")
        assert f"is {kind}, not text" in str(item.text)
        assert remedy in str(item.text)
    Path(name).write_bytes(data)
    assert kind_of_file(Path(name)) == kind


# --- documents --------------------------------------------------------------------


def test_a_document_is_read_by_its_content_whatever_its_name(folder):
    pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")
    data = pdf(PdfPage([("Total", 50, 700), ("5.00", 300, 700)]))
    Path("bill.pdf").write_bytes(data)
    Path("renamed.txt").write_bytes(data)
    Path("page.html").write_text("<p>One<table><tr><td>a<td>b</table>")
    Path("mail.eml").write_bytes(b"Subject: hi\nMIME-Version: 1.0\n\nbody")
    items = read("bill.pdf", "renamed.txt", "page.html", "mail.eml")
    assert texts(items) == ["Total  5.00"] * 2 + ["One\na  b", "Subject: hi\nbody"]
    assert [item.size for item in items[:2]] == [len(data)] * 2


def test_a_document_that_cannot_be_read_is_an_error_in_its_place(folder):
    pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")
    Path("a.pdf").write_bytes(b"%PDF-1.7\nbroken")
    Path("b.html").write_text("<html><script>x</script>")
    Path("c.txt").write_text("text")
    damaged, empty, text = read("a.pdf", "b.html", "c.txt")
    assert isinstance(damaged.text, DocumentError)
    assert (damaged.place, damaged.text.reason, empty.text.reason) == ("a.pdf", "damaged", "empty")
    assert text.text == "text"


@pytest.mark.parametrize("name", PAGED)
def test_a_document_without_its_library_names_the_command(folder, name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    data, kind, _ = KINDS[name]
    Path(name).write_bytes(data)
    (item,) = read(name)
    assert str(item.text).startswith(f"is {kind}, not text; ")
    assert 'pip install "edgeslm-core[documents]"' in str(item.text)


def test_plain_text_is_what_it_was(folder):
    Path("a.txt").write_bytes(b"one\r\ntwo\n")
    assert texts(read("a.txt")) == ["one\r\ntwo\n"]


def test_an_office_document_is_refused(folder):
    with zipfile.ZipFile("a.docx", "w") as archive:
        archive.writestr("word/document.xml", "<text/>")
    assert "a zip archive or an office document" in texts(read("a.docx"))[0]


def test_what_a_file_is_in_words(folder):
    Path("t").write_text("naïve " * 200)
    Path("b").write_bytes(b"a\0b")
    Path("l").write_bytes(b"caf\xe9 more")
    Path("e").touch()
    words = {name: kind_of_file(Path(name)) for name in ("t", "b", "l", "e", ".")}
    other = "a file of another kind"
    assert words == {
        "t": "a text file",
        "b": other,
        "l": other,
        "e": "an empty file",
        ".": "a folder",
    }
    assert kind_of(b"MZ is a name") is None


def test_texts_come_first_and_count_their_bytes(folder):
    Path("a.txt").write_text("file")
    source = Source(("a.txt",), texts=("é", "b"))
    items = list(source.read())
    assert texts(items) == ["é", "b", "file"]
    assert [item.place for item in items] == ["text 1", "text 2", "a.txt"]
    assert sum(item.size for item in items) == source.total_bytes() == 7
    assert source.several
    assert not Source(texts=("a",)).several
