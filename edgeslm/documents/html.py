"""A page of HTML -> its text: a line for each block and for each row of a table.

The tokens are found here and not by html.parser, which takes quadratic time for tags that do not
end. Each character is looked at a bounded number of times, whatever the page.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from html import unescape
from typing import Final, NamedTuple

from edgeslm.documents.limits import check_characters
from edgeslm.formats.text import is_blank

#: a tag; a quoted value may hold ">", and what does not match once never ends
_TAG: Final = re.compile(
    r"""<(/?)([a-zA-Z][^\s/>]*+)((?:=\s*+(?:"[^"]*+"|'[^']*+')|[^>])*+)>""", re.ASCII
)
_ATTRIBUTE: Final = re.compile(
    r"""([a-zA-Z-]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?+"""
)
_HIDING: Final = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.I)
_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([\w.:-]{1,40})""", re.I)
#: encodings of Python that no page has, some of which take quadratic time
_NO_CHARSETS: Final = frozenset(
    ("idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")
)
#: bytes that may name the encoding
_HEAD_BYTES: Final = 1024

#: what these hold is no text of the page; it ends with their own end tag alone
_RAW: Final = frozenset(
    ("script", "style", "title", "noscript", "template", "iframe", "noembed", "noframes", "xmp")
)
_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
#: an element of these also ends where the next one begins
_ENDS_ITSELF: Final = frozenset(("p", "li", "dt", "dd", "tr", "td", "th", "option"))
_BLOCKS: Final = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd"),
        *("div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2"),
        *("h3", "h4", "h5", "h6", "header", "hr", "html", "legend", "li", "main", "nav", "ol"),
        *("option", "p", "pre", "section", "select", "summary", "tbody", "tfoot", "thead", "ul"),
    )
)
_ROWS: Final = frozenset(("table", "tr", "td", "th"))
#: tables within tables; deeper ones are read as blocks
_MAX_TABLES: Final = 32
#: a cell of more lines is a column of a page's layout, and its lines stay lines
_MAX_CELL_LINES: Final = 3


def read_html(data: bytes) -> str:
    """The text of a page. What is hidden, scripts and styles are no part of it."""
    return html_text(_decoded(data))


def html_text(html: str) -> str:
    """The text of a page that was decoded.

    Raises:
        DocumentError: its text is too long.
    """
    page = _Page()
    for token in _visible(_tokens(html)):
        if isinstance(token, str):
            page.text(token)
        elif token.name in _ROWS:
            page.table(token)
        elif token.name in _BLOCKS:
            page.break_line()
            page.preformatted = token.name == "pre" and not token.ends
    return "\n".join(page.lines())


def _decoded(data: bytes) -> str:
    """By its mark, by what it says, as UTF-8, and else as Windows-1252, as browsers do."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    named = _CHARSET.search(data[:_HEAD_BYTES])
    return decoded_as(data, named[1].decode("ascii") if named else None)


def decoded_as(data: bytes, encoding: str | None) -> str:
    """Bytes in an encoding that is named or not: then UTF-8, or else Windows-1252."""
    for name in (encoding, "utf-8"):
        try:
            if name and codecs.lookup(name).name not in _NO_CHARSETS:
                return data.decode(name)
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")


# --- tokens -----------------------------------------------------------------------


class _Tag(NamedTuple):
    name: str
    ends: bool
    attributes: str


def _tokens(html: str) -> Iterator[_Tag | str]:
    """Tags, and the texts between them with their entities replaced."""
    at = 0
    while (tag := html.find("<", at)) >= 0:
        if tag > at:
            yield unescape(html[at:tag])
        follows = html[tag + 1 : tag + 2]
        if follows in {"!", "?"}:
            end = "-->" if html.startswith("<!--", tag) else ">"
            closed = html.find(end, tag + 2)
            if closed < 0:
                return
            at = closed + len(end)
        elif follows == "/" or (follows.isascii() and follows.isalpha()):
            match = _TAG.match(html, tag)
            if match is None:
                if html.find(">", tag) < 0 or follows != "/":
                    yield unescape(html[tag:])
                    return
                at = html.find(">", tag) + 1  # </> and </3> are nothing
                continue
            name = match[2].lower()
            yield _Tag(name, match[1] == "/", match[3])
            at = match.end()
            if name in _RAW and not match[1]:
                close = re.compile(rf"</{name}\b", re.I).search(html, at)
                if close is None:
                    return
                at = close.start()
        else:
            yield "<"
            at = tag + 1
    if at < len(html):
        yield unescape(html[at:])


def _visible(tokens: Iterator[_Tag | str]) -> Iterator[_Tag | str]:
    """Tokens without elements that are hidden, and without what they hold."""
    for token in tokens:
        shown: _Tag | str | None = token
        while isinstance(shown, _Tag) and not shown.ends and _is_hidden(shown):
            shown = _behind_hidden(shown.name, tokens)
        if shown is not None:
            yield shown


def _is_hidden(tag: _Tag) -> bool:
    if tag.name in _VOID or ("hid" not in (low := tag.attributes.lower()) and "none" not in low):
        return False
    for name, *values in _ATTRIBUTE.findall(tag.attributes):
        if name.lower() == "hidden":
            return True
        if name.lower() == "style" and _HIDING.search("".join(values)):
            return True
    return False


def _behind_hidden(name: str, tokens: Iterator[_Tag | str]) -> _Tag | None:
    """Pass over an element; the tag behind it where that was needed to see its end."""
    opened: dict[str, int] = {}
    for token in tokens:
        if isinstance(token, str) or token.name in _VOID:
            continue
        inside = opened.get(token.name, 0)
        if not token.ends:
            if token.name == name and name in _ENDS_ITSELF and not inside:
                return token
            opened[token.name] = inside + 1
        elif inside:
            opened[token.name] = inside - 1
        else:
            return None if token.name == name else token
    return None


# --- lines ------------------------------------------------------------------------


class _Cell:
    """Lines, and the one that is being written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._parts: list[str] = []

    def text(self, text: str) -> None:
        self._parts.append(text)

    def break_line(self) -> None:
        if self._parts:
            line = " ".join("".join(self._parts).split())
            self._parts = []
            if not is_blank(line):
                self.lines.append(line)


class _Table:
    """The row of a table that is being read: its cells, the last one open."""

    def __init__(self) -> None:
        self.cells: list[_Cell] = []

    def take_row(self) -> list[str]:
        """The lines of the row, which ends: one, unless it only holds a page's layout."""
        for cell in self.cells:
            cell.break_line()
        cells = [cell.lines for cell in self.cells if cell.lines]
        self.cells = []
        if len(cells) < 2 or max(map(len, cells)) > _MAX_CELL_LINES:
            return [line for lines in cells for line in lines]
        return ["  ".join(" ".join(lines) for lines in cells)]


class _Page:
    """What is read so far: lines, and the tables that are open."""

    def __init__(self) -> None:
        self._whole = _Cell()
        self._tables: list[_Table] = []
        self._deeper = 0
        self._characters = 0
        #: the breaks of lines in a text count
        self.preformatted = False

    def text(self, text: str) -> None:
        self._characters += len(text)
        check_characters(self._characters)
        cell = self._open()
        first, *lines = text.splitlines(keepends=True) if self.preformatted else [text]
        cell.text(first)
        for line in lines:
            cell.break_line()
            cell.text(line)

    def break_line(self) -> None:
        self._open().break_line()

    def table(self, tag: _Tag) -> None:
        """A table, row or cell begins or ends."""
        if tag.name == "table":
            self._end_table() if tag.ends else self._begin_table()
        elif self._deeper or not self._tables:
            self.break_line()
        else:
            table = self._tables[-1]
            if tag.name == "tr":
                self._end_row()
            elif not tag.ends:
                table.cells.append(_Cell())

    def lines(self) -> list[str]:
        """All lines, once everything was read."""
        while self._tables:
            self._deeper = 0
            self._end_table()
        self._whole.break_line()
        return self._whole.lines

    def _begin_table(self) -> None:
        self.break_line()
        if len(self._tables) < _MAX_TABLES:
            self._tables.append(_Table())
        else:
            self._deeper += 1

    def _end_table(self) -> None:
        self.break_line()
        if self._deeper:
            self._deeper -= 1
        elif self._tables:
            self._end_row()
            self._tables.pop()

    def _end_row(self) -> None:
        rows = self._tables[-1].take_row()
        self._around(len(self._tables) - 1).lines.extend(rows)

    def _open(self) -> _Cell:
        """The cell that text goes into now."""
        return self._around(len(self._tables))

    def _around(self, depth: int) -> _Cell:
        """The cell that is open in so many tables."""
        if depth == 0:
            return self._whole
        cells = self._tables[depth - 1].cells
        if not cells:  # text between rows, or a row without a cell
            cells.append(_Cell())
        return cells[-1]
