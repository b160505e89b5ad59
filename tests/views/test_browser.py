"""The record view in Chromium: it fits, its boxes are on their pages, and nothing complains"""

from __future__ import annotations

import json
import sys

import pytest

from edgeslm.documents.document import Document, Page
from edgeslm.errors import InputError
from edgeslm.results import Extraction, Field, PageBox, Timing
from edgeslm.views.record import Record, page, view
from tests.helpers.browser import browser

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pipe needs descriptors")

LONG = "SUPERCALIFRAGILISTIC" * 12

FITS = "document.documentElement.scrollWidth <= innerWidth"
#: the boxes that leave the drawing of their page, or are too small to be seen
ASTRAY = """[...document.querySelectorAll('.sheet a rect')].filter((rect) => {
  const box = rect.getBoundingClientRect(), sheet = rect.closest('.paper').getBoundingClientRect();
  return box.left < sheet.left || box.right > sheet.right || box.top < sheet.top
    || box.bottom > sheet.bottom || box.width < 3 || box.height < 3;
}).length"""
COLUMNS = """(() => {
  const left = document.querySelector('.shown').getBoundingClientRect();
  const right = document.querySelector('.read').getBoundingClientRect();
  return left.right <= right.left ? 2 : left.bottom <= right.top ? 1 : 0;
})()"""
LIT = "[...document.querySelectorAll('.on')].map((each) => each.id || each.tagName).sort()"
#: the contrast of what is written in a row with what lies below it
CONTRAST = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((c) => c / 255)
      .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const least = (element, back) => {
    const a = light(getComputedStyle(element).color);
    const b = light(getComputedStyle(back).backgroundColor);
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  };
  const read = document.querySelector('.read');
  return Math.min(
    ...[...read.querySelectorAll('td, th, small, a')].map((each) => least(each, read)),
    ...[...read.querySelectorAll('.number:not(.none)')].map((each) => least(each, each)),
  );
})()"""


def records():
    """A page of a document, a text with overlapping spans, and an error; long words in each."""
    timing = Timing(1, 1, 2, 10, 0, 5, 5)
    sheet = Document(LONG, "picture", (Page(1, 600, 800, "px", "rapidocr"),))
    boxes = [(0, 0, 80, 20), (540, 760, 600, 800), (100, 300, 400, 330)]
    names = {"first": LONG, "second": "x", "third": 5, "$made_up": None}
    fields = {
        f"$.{n}": Field(0.97, (0, 1), boxes=(PageBox(1, *box),))
        for n, box in zip(names, boxes, strict=False)
    }
    fields["$.second"] = Field(0.3, (0, 1), boxes=(PageBox(1, *boxes[1]),))
    many = {f"field_{n}": str(n) for n in range(30)}
    spans = {f"$.field_{n}": Field(n / 30, (n, n + 4)) for n in range(30)}
    answers = [
        Extraction(None, json.dumps(names), True, fields, timing),
        Extraction(None, json.dumps(many), False, spans, timing, nothing_read=True),
        InputError(LONG),
    ]
    sources = [sheet, f"0123456789 {LONG} " * 4, None]
    pairs = zip(sources, answers, strict=True)
    return [Record(LONG, source, answer) for source, answer in pairs]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The browser, and the page as a file."""
    folder = tmp_path_factory.mktemp("browser")
    path = folder / "page.html"
    views = [view(each, f"r{number}") for number, each in enumerate(records(), 1)]
    path.write_text(page(views, "records"), encoding="utf-8")
    with browser(folder / "profile") as opened:
        yield opened, path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "columns"), [(1280, 2), (390, 1)])
def test_the_page_fits_and_its_boxes_are_on_their_pages(shown, width, columns, dark):
    opened, path = shown
    opened.open(path, width, dark=dark)
    assert opened.evaluate("innerWidth") == width
    assert opened.evaluate("document.querySelectorAll('.sheet a rect').length") == 3
    assert opened.evaluate(ASTRAY) == 0
    assert opened.evaluate(FITS)
    assert opened.evaluate(COLUMNS) == columns
    assert opened.evaluate(CONTRAST) >= 4.5
    back = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(21, 23, 26)") == dark
    assert opened.complaints == []


def test_a_field_that_is_pointed_at_or_has_the_focus_lights_its_boxes(shown):
    opened, path = shown
    opened.open(path, 1280)
    opened.evaluate("document.querySelector('#r1-f3 a').focus()")
    assert opened.evaluate(LIT) == ["r1-f3", "r1-f3-1"]
    over = "new MouseEvent('mouseover', {bubbles: true})"
    opened.evaluate(f"document.querySelector('#r1-f2-1 rect').dispatchEvent({over})")
    assert opened.evaluate(LIT) == ["r1-f2", "r1-f2-1"]
    opened.press("Enter")  # the link that has the focus leads to the box
    assert opened.evaluate("location.hash") == "#r1-f3-1"
    assert opened.complaints == []


def test_the_keyboard_reaches_each_box_and_each_row(shown):
    opened, path = shown
    opened.open(path, 1280)
    reached = []
    for _ in range(8):
        opened.press("Tab")
        name = "document.activeElement.id || document.activeElement.getAttribute('href')"
        reached.append(opened.evaluate(name))
    boxes, rows = [f"r1-f{n}-1" for n in (1, 2, 3)], [f"#r1-f{n}-1" for n in (1, 2, 3)]
    assert [each for each in reached if each in boxes] == boxes
    assert [each for each in reached if each in rows] == rows


def test_a_browser_that_a_check_needs_is_not_skipped(monkeypatch):
    from tests.helpers import browser as helper

    monkeypatch.setattr(helper.shutil, "which", lambda _: None)
    monkeypatch.delenv(helper.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        helper.chromium()
    monkeypatch.setenv(helper.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="EDGESLM_REQUIRE_BROWSER is set"):
        helper.chromium()
