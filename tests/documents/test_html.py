"""Pages of HTML as text: blocks, rows of tables, what is hidden, and pages that mean harm."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.documents import html
from edgeslm.documents.html import html_text, read_html
from edgeslm.errors import DocumentError


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>One<p>Two<br>Three", "One\nTwo\nThree"),
        ("<div>a<span>b</span> <b>c</b>\n d</div>e", "ab c d\ne"),
        ("<ul><li>x<li>y</ul>z", "x\ny\nz"),
        ("a &amp; b &lt;c&gt; &euro;5&nbsp;000 &#x41;", "a & b <c> €5 000 A"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<title>no</title><style>p{}</style><script>if (a</b) '<p>'</script>yes", "yes"),
        ("a<!-- <p>no</p> -->b<!doctype html><?php x ?>c", "abc"),
        ('<img alt="a>b"><a href="x>y">link</a>', "link"),
        ("<pre>one\n  two\n</pre>three", "one\ntwo\nthree"),
        ("<P CLASS=x>a</P><BR/>b", "a\nb"),
        ("a<script>never ends", "a"),
        ("a<b", "a<b"),
        ("a<!-- never ends", "a"),
        ("</>a</3>b", "ab"),
        ("<p>&zwnj;&#8203;</p>x", "x"),
    ],
)
def test_a_page_as_text(page, text):
    assert html_text(page) == text


@pytest.mark.parametrize(
    "page",
    [
        "<p hidden>no</p>yes",
        '<div style="color: red; DISPLAY : none">no<div>no</div></div>yes',
        "<span style='visibility:hidden'>no</span>yes",
        "<ul><li hidden>no<li>yes</ul>",
        "<ul><li hidden>no<li hidden>no<li>yes</ul>",
        "<div><p hidden>no</div>yes",
        "<table><tr hidden><td>no<tr><td>yes</table>",
        "<br hidden>yes<input type=hidden value=no>",
        '<p class="hidden none">yes</p>',
        "yes<div hidden>no",
    ],
)
def test_what_is_hidden_is_no_part_of_the_text(page):
    assert html_text(page) == "yes"


def test_a_table_is_read_row_by_row():
    page = """
    <table><caption>Items</caption>
      <thead><tr><th>Description</th><th>Qty</th><th>Price</th></tr></thead>
      <tr><td><p>Steel <b>screw</b></p><p>4x40</p><td>2<td>12.50
      <tr><td></td><td>Sum</td><td>25.00</td></tr>
    </table>Thanks"""
    assert html_text(page).splitlines() == [
        "Items", "Description  Qty  Price", "Steel screw 4x40  2  12.50", "Sum  25.00", "Thanks",
    ]  # fmt: skip


def test_tables_that_only_lay_out_a_page_are_its_blocks():
    page = """<table><tr><td>
      <table><tr><td>Dear <b>Jo</b>,</td></tr><tr><td><p>your order:<p>of May</td></tr>
      <tr><td>Sum</td><td>5.00</td></tr></table>
      <p>Bye</p></td></tr></table>"""
    assert html_text(page).splitlines() == ["Dear Jo,", "your order:", "of May", "Sum  5.00", "Bye"]


def test_a_bar_beside_the_page_is_read_apart_from_it():
    bar = "".join(f"<p>link {n}</p>" for n in range(5))
    page = f"<table><tr><td>{bar}</td><td><p>Text one</p><p>Text two</p></td></tr></table>"
    assert html_text(page).splitlines()[-2:] == ["Text one", "Text two"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<p>Zoë".encode(), "Zoë"),
        ("<p>Zoë".encode("cp1252"), "Zoë"),
        ('<meta charset="iso-8859-2"><p>łódź'.encode("iso-8859-2"), "łódź"),
        ("\ufeff<p>Zoë".encode("utf-16-le"), "Zoë"),
        ("\ufeff<p>Zoë".encode(), "Zoë"),
        (b'<meta charset="punycode"><p>Zo\xeb', "Zoë"),
        (b'<meta charset="no-such"><p>Zo\xeb', "Zoë"),
    ],
)
def test_the_encoding_is_told_by_mark_by_meta_or_guessed(data, text):
    assert read_html(data) == text


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "</", "<a ", "<!", "<!--", "<?", '<a b="', "<a '", "<a =", "<b>", "&#", "&amp"),
        *("<table>", "<table><tr><td>x", "<p>", "<div hidden>", "<script>", "<pre>\n", "<td>"),
    ],
)
@pytest.mark.parametrize("end", ["", '">', '<a x=">"'])
def test_a_page_that_repeats_itself_takes_time_in_proportion(piece, end):
    def seconds(size):
        page = piece * (size // len(piece)) + end
        start = time.process_time()
        html_text(page)
        return time.process_time() - start

    assert seconds(200_000) < 40 * seconds(20_000) + 0.5


@given(st.lists(st.sampled_from(
    [
        *("<p>", "</p>", "<table>", "</table>", "<tr>", "<td>", "</td>", "x", "y ", "<br>"),
        *("<div hidden>", "</div>", "<script>", "</script>", "<!--", "-->", "<", ">", '"', "<pre>"),
    ]
)))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_page_has_lines_of_text(parts):
    text = html_text("".join(parts))
    assert all(line.strip() == line and line for line in text.splitlines())


def test_a_text_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr("edgeslm.documents.limits.MAX_CHARACTERS", 10)
    assert html.html_text("<p>" + "x" * 10)
    with pytest.raises(DocumentError, match="more than 10 characters"):
        html_text("<p>" + "x" * 6 + "<p>" + "x" * 5)
