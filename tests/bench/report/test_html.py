"""The page of runs: well-formed, whole, of no other origin, and text stays text"""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from math import isfinite
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeslm.bench.report.charts import charts, comparison
from edgeslm.bench.report.figures import figures, plain
from edgeslm.bench.report.html import page
from edgeslm.bench.report.published import MARK, ROWS
from edgeslm.bench.report.schema import Correctness
from edgeslm.bench.report.summary import card_text
from edgeslm.bench.report.svg import WIDTH
from tests.helpers.bench import machine, model, report, task

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>{{ 7 * 7 }}"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checked(HTMLParser):
    """Fails where tags are not closed in order; collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def drawings(text):
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_the_page_is_well_formed_and_holds_every_number():
    run = report()
    shown = Checked(page([run]))
    for figure in figures(run).values():
        assert figure.name in shown.text
        assert str(figure) in shown.text
        assert figure.interval in shown.text
    for words in (
        "Made-up CPU",
        "0123456789abcdef",
        "38 of 40",
        "21.9 GB/s",
        *card_text(run).split("\n"),
    ):
        assert words in shown.text
    assert shown.tags.count("svg") == len(charts(run)) + 1 == 7


def test_nothing_comes_from_elsewhere_and_nothing_runs():
    text = page([report(), report()])
    shown = Checked(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text)
    assert {"script", "link", "img", "iframe", "object", "form", "base"} & set(shown.tags) == set()
    names = {name for name, _ in shown.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "style")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in shown.attributes


def test_text_of_a_run_stays_text():
    hostile = report(
        model=model(name=HOSTILE, file_type=HOSTILE, architecture=HOSTILE, card_version=HOSTILE),
        machine=machine(
            processor=HOSTILE, cores={HOSTILE: 2}, warnings=(HOSTILE,), fingerprint=HOSTILE
        ),
        notes=(HOSTILE,),
        load=[{**each.model_dump(), "label": HOSTILE} for each in report().load],
        start={**report().start.model_dump(), "cold": [{HOSTILE: 1.0}]},
        correctness=Correctness(checked=1, right=0, invalid=1, bar=1, valid=False, reason=HOSTILE),
    )
    text = page([hostile, report()])
    shown = Checked(text)
    assert shown.text.count(plain(HOSTILE)) > 5
    assert "<script>" not in text
    assert set(shown.tags) == set(Checked(page([report(), report()])).tags)


def test_what_invalidates_a_run_is_shown():
    wrong = Correctness(checked=9, right=1, invalid=0, bar=0.9, valid=False)
    assert "INVALID: the answers were not right" in page([report(correctness=wrong)])
    synthetic = page([report(model=model(synthetic=True, task="none"), correctness=None)])
    assert "SYNTHETIC: random weights" in synthetic
    assert "PARTIAL" in page([report(partial=True)])
    assert "PARTIAL" not in page([report()]) and "INVALID" not in page([report()])


def test_published_figures_are_marked_and_their_contradiction_is_named():
    text = Checked(page([report()])).text
    assert text.count(MARK) >= 3
    assert "50 tokens at 80–120 tokens/s take 417–625 ms, not the 55–65 ms" in text
    drawn = ElementTree.fromstring(comparison([report()]).svg)
    outlined = [each for each in drawn.iter("rect") if each.get("class") == "published"]
    assert len(outlined) == len(ROWS)
    assert all(MARK in each.findtext("title") for each in outlined)


def test_a_possible_row_is_no_contradiction():
    assert [row.contradiction for row in ROWS if row.tokens is None] == [None] * 5


def test_every_drawing_says_in_words_what_it_shows():
    for drawn in drawings(page([report()])):
        assert drawn.get("role") == "img"
        assert len(drawn.get("aria-label")) > 20
    [load] = [chart for chart in charts(report()) if chart.title == "Under load"]
    assert "3 busy: p50 831 ms, 1.27 requests/s" in load.svg


def test_a_run_of_nothing_is_still_a_page():
    nothing = {"tasks": (), "raw": (), "start": None, "load": (), "sustained": (), "energy": None}
    text = page([report(**nothing, correctness=None, footprint=None)])
    assert Checked(text).tags.count("svg") == 0
    assert "not available" in text


def test_many_requests_are_thinned_and_it_is_said():
    many = report([float(ms) for ms in range(1, 5001)])
    text = page([many])
    assert "of 5,000, 400 at most are drawn" in text
    assert len(text) < 600_000


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    times=st.lists(st.floats(0, 1e15) | st.just(0.0), min_size=1, max_size=9),
    label=st.text(max_size=200),
    rate=st.floats(0, 1e18),
)
def test_every_drawing_stays_within_its_frame(times, label, rate):
    run = report(
        tasks=(task(times),),
        load=[{**report().load[0].model_dump(), "label": label, "requests_per_second": rate}],
        sustained=[{"seconds": ms, "milliseconds": ms, "clock_mhz": ms} for ms in times],
    )
    all_charts = [*charts(run), comparison([run])]
    assert all_charts
    for chart in all_charts:
        for shape in ElementTree.fromstring(chart.svg).iter():
            for name in ("x", "x1", "x2", "cx"):
                place = float(shape.get(name, 0))
                assert isfinite(place) and 0 <= place <= WIDTH, (chart.title, name, place)
    assert unescape(page([run])).count("<svg") == len(all_charts)


@pytest.mark.parametrize("most", [3.0, 1290.0, 1999.0, 8400.0, 123_456.0])
def test_labels_of_axes_are_not_cut_off(most):
    run = report(
        tasks=(task([most / 4, most], input_tokens=(10, 32_000)),),
        sustained=[{"seconds": s, "milliseconds": most, "clock_mhz": 12_000} for s in (5, 86_400)],
    )
    labels = 0
    for chart in charts(run):
        for text in ElementTree.fromstring(chart.svg).iter("text"):
            if text.get("class") == "tick":
                width, x = 5.8 * len(text.text), float(text.get("x"))
                left = x - {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")] * width
                assert left >= 0 and left + width <= WIDTH, (chart.title, text.text)
                labels += 1
    assert labels > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_on_every_ground(scheme):
    light, dark = re.findall(r":root \{(.*?)\}", page([report()]), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", light if scheme == "light" else dark))
    pairs = [(ink, ground) for ink in ("ink", "soft", "one", "two") for ground in ("page", "card")]
    for ink, ground in [*pairs, ("bad", "bad-back"), ("warn", "warn-back")]:
        lighter, darker = sorted((luminance(colours[ink]), luminance(colours[ground])))[::-1]
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, ground)


def luminance(colour):
    """Of a colour, as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
