"""The record view: hostile values stay text, boxes and marks are in their places, nothing loads"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.documents.document import Box, Document, Page, Word
from edgeslm.errors import InputError
from edgeslm.results import Extraction, Field, PageBox, Timing
from edgeslm.views import record as views
from edgeslm.views.record import Record, page, pages_shown, view
from edgeslm.views.segments import segments

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>{{ 7 * 7 }}\u202e\0"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Seen(HTMLParser):
    """Fails where tags are not closed in order; collects tags with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def extraction(written, fields, **options):
    timing = Timing(1, 1, 2, 10, 0, 5, 5)
    return Extraction(None, written, True, fields, timing, **options)


def document(pages=1, text="Total 5"):
    sheets = [Page(n, 200, 400, "px", "rapidocr") for n in range(1, pages + 1)]
    words = (Word("5", 1, Box(100, 40, 150, 60), 6, 7),)
    return Document(text, "picture", tuple(sheets), words)


def test_a_box_is_in_percent_of_its_page_and_tied_to_its_row():
    fields = {"$.total": Field(0.93, (6, 7), boxes=(PageBox(1, 100, 40, 150, 60),))}
    answer = extraction('{"total":5}', fields, confidence=0.9)
    seen = Seen(view(Record("a.jpg", document(), answer, {1: b"jpeg"}), "r1"))
    (rect,) = [each for each in seen.all("rect") if "x" in each]
    sides = [rect[name] for name in ("x", "y", "width", "height")]
    assert sides == ["50.000%", "10.000%", "25.000%", "5.000%"]
    assert seen.all("svg")[0]["viewbox"] == "0 0 200 400"
    (image,) = seen.all("image")
    assert b64decode(image["href"].removeprefix("data:image/jpeg;base64,")) == b"jpeg"
    (row,) = [each for each in seen.all("tr") if "id" in each]
    (box,) = [each for each in seen.all("a") if each.get("id") == "r1-f1-1"]
    assert (box["href"], box["data-field"], row["id"]) == ("#r1-f1", "r1-f1", "r1-f1")
    assert box["class"] == row["class"]
    assert box["aria-label"] == "total: 5, confidence 93.0 %"
    assert "93.0 %" in seen.text
    assert "confidence of 90.0 %" in seen.text


def test_a_page_without_a_picture_is_a_sheet_with_its_boxes():
    fields = {"$.total": Field(0.93, (6, 7), boxes=(PageBox(1, 100, 40, 150, 60),))}
    record = Record(
        "a.pdf", document(), extraction('{"total":5}', fields), note="page 1 is damaged"
    )
    seen = Seen(view(record, "r1"))
    assert seen.all("image") == []
    assert [each for each in seen.all("rect") if "x" in each]
    assert "page 1 is damaged" in seen.text


def test_pages_with_values_come_first_where_there_are_many():
    boxes = (PageBox(90, 1, 1, 2, 2),)
    answer = extraction('{"total":5}', {"$.total": Field(0.9, (0, 1), boxes=boxes)})
    many = document(pages=100)
    assert pages_shown(many, answer) == [*range(1, views.MOST_PAGES), 90]
    assert "20 of 100 pages are shown." in view(Record("a.pdf", many, answer), "r1")


def test_spans_of_a_text_are_marked_also_where_they_overlap():
    text = "at Nook & Co I paid 12"
    fields = {"$.shop": Field(0.9, (3, 12)), "$.short": Field(0.8, (3, 7)), "$.n": Field(0.2, None)}
    answer = extraction('{"shop":"Nook & Co","short":"Nook","n":null}', fields)
    html = view(Record("a.txt", text, answer), "r1")
    seen = Seen(html)
    assert text in re.sub("\\s*\n\\s*", "\n", seen.text)
    marks = [each["data-field"] for each in seen.all("mark")]
    assert marks == ["r1-f1 r1-f2", "r1-f1"]
    assert [each.get("data-number") for each in seen.all("mark")] == ["2", "1"]
    assert seen.text.count("not in the text") == 1
    ids = {each["id"] for _, each in seen.tags if "id" in each}
    assert {each["href"][1:] for each in seen.all("a")} <= ids
    assert 'class="unsure">20.0 %' in html


@given(
    st.text(max_size=30),
    st.dictionaries(
        st.integers(0, 5), st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(tuple)
    ),
)
def test_segments_are_the_text_and_lie_in_the_spans_that_they_name(text, spans):
    spans = {p: (s, e) for p, (s, e) in spans.items() if s < e <= len(text)}
    at = 0
    for segment in segments(text, spans):
        end = at + len(segment.text)
        assert segment.text == text[at:end]
        inside = {place for place, (s, e) in spans.items() if s <= at and end <= e}
        touched = {place for place, (s, e) in spans.items() if s < end and at < e}
        assert set(segment.places) == inside == touched
        at = end
    assert at == len(text)


def test_what_a_text_says_stays_text():
    written = json.dumps({"x": HOSTILE})
    fields = {"$.x": Field(0.5, (0, 9))}
    records = [
        Record(HOSTILE, HOSTILE, extraction(written, fields)),
        Record(HOSTILE, None, InputError(HOSTILE)),
        Record(HOSTILE, document(text=HOSTILE), extraction(written, fields), note=HOSTILE),
    ]
    html = page([view(each, f"r{n}") for n, each in enumerate(records)], HOSTILE, HOSTILE)
    seen = Seen(html)
    assert len(seen.all("script")) == 1
    assert seen.all("img") == []
    assert not any(name.startswith("on") for _, each in seen.tags for name in each)
    assert "{{ 7 * 7 }}" in seen.text
    assert "\0" not in html
    assert "\u202e" not in html
    assert "\ud800" not in page([view(Record("a", "\ud800", extraction("{}", {})), "r")], "\ud800")


def test_a_page_holds_all_that_it_needs_and_its_policy_allows_nothing_else():
    answer = extraction('{"total":5}', {"$.total": Field(0.9, (0, 1))})
    html = page([view(Record("a", "5 $", answer), "r1")], "a")
    assert re.findall("https?:", html) == []
    seen = Seen(html)
    assert seen.all("link") == []
    assert not any("style" in each for _, each in seen.tags)
    (policy,) = [each["content"] for each in seen.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_a_long_text_is_cut_and_says_so():
    fields = {"$.a": Field(0.9, (0, 1)), "$.b": Field(0.9, (150_000, 150_001))}
    html = view(Record("a", "x" * 200_000, extraction('{"a":"x","b":"x"}', fields)), "r1")
    assert "The first 100,000 of 200,000 characters are shown." in html
    assert len(html) < 110_000
    assert 'href="#r1-f2-1"' not in html


@pytest.mark.parametrize("written", ["[]", "{}", '"x"', "null", '{"a":[{"b":""}]}'])
def test_any_answer_can_be_shown_without_evidence(written):
    Seen(view(Record("a", "text", extraction(written, {}, nothing_read=True)), "r1"))
