"""`edgeslm extract --html`: every input is on the page, written at the end or not at all"""

from pathlib import Path

import pytest

from edgeslm.cli import record_page
from edgeslm.cli.main import main
from edgeslm.documents import draw
from edgeslm.errors import DocumentError
from tests.helpers.cli import jsonl, reader, work
from tests.helpers.pdf import PdfPage, pdf

__all__ = ["reader", "work"]  # fixtures


@pytest.fixture
def run(capsys):
    """Extract to out.html: the exit code, stderr, and the page if there is one."""

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["extract", "m", *arguments, "--schema", "schema.json", "--html", "out.html"])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        page = Path("out.html").read_text("utf-8") if Path("out.html").exists() else None
        return caught.value.code, err, page

    return call


def test_every_input_has_a_section_also_one_that_fails(reader, run):
    pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")
    pages = [PdfPage([("at Nook", 50, 700), ("12", 300, 700)]), PdfPage([("the end", 50, 700)])]
    Path("bill.pdf").write_bytes(pdf(*pages))
    code, _, page = run("a.txt", "bill.pdf", "no<b>.txt")
    assert code == 4
    assert page.count('<section class="record"') == 3
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count("<mark") == 2
    assert page.count('<rect x="') == 2
    assert "cannot be read: No such file" in page
    assert "no&lt;b&gt;.txt" in page
    assert [path.name for path in Path.cwd().glob(".*.part")] == []


def test_pages_that_cannot_be_drawn_are_blank_and_say_why(reader, run, monkeypatch):
    pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")

    def fails(*_, **__):
        raise DocumentError("page 1 is damaged", reason="damaged")

    monkeypatch.setattr(draw, "isolated_pages", fails)
    Path("bill.pdf").write_bytes(pdf(PdfPage([("at Nook", 50, 700), ("12", 300, 700)])))
    code, _, page = run("bill.pdf")
    assert code == 0
    assert "could not be drawn: page 1 is damaged" in page
    assert page.count('<rect x="') == 2


def test_more_than_a_page_has_room_for_is_an_error_and_no_page(reader, run, monkeypatch):
    monkeypatch.setattr(record_page, "MOST_RECORDS", 2)
    code, err, page = run("a.txt", "b.txt", "c.txt")
    assert (code, page) == (2, None)
    assert "--html shows 2 inputs at most, and there are 3" in err
    Path("many.jsonl").write_bytes(jsonl(*["at Nook 12"] * 3))
    code, err, page = run("many.jsonl")
    assert (code, page) == (4, None)
    assert "many.jsonl, line 3: out.html has 2 inputs" in err
    monkeypatch.setattr(record_page, "MOST_CHARACTERS", 1000)
    code, err, page = run("a.txt")
    assert (code, page) == (4, None)
    assert "a.txt: out.html would have more than" in err


def test_a_page_that_cannot_be_written_is_refused_before_there_is_a_model(work, capsys):
    for out, words in (("absent/a.html", "there is no folder"), ("./a.txt", "one of the inputs")):
        with pytest.raises(SystemExit) as caught:
            main(["extract", "no-such-model", "a.txt", "--html", out])
        assert caught.value.code in {2, 4}
        assert words in capsys.readouterr().err
    assert Path("a.txt").read_text() == "a: at Nook I paid 12"
