"""The record view: what was read out of a text or document, and where on it each value stands.

`view` is the part that other pages embed, with `STYLE` and `SCRIPT`; `page` is a page of its own,
which loads nothing and runs no script but this one, whatever the texts on it say.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from edgeslm.documents.document import Document, Page
from edgeslm.errors import EdgeslmError
from edgeslm.results import Extraction, Field, PageBox
from edgeslm.tasks.extraction.leaves import Leaf, leaves
from edgeslm.views.segments import Segment, segments

#: pages of one document that are shown
MOST_PAGES: Final = 20
#: characters of one text that are shown
MOST_CHARACTERS: Final = 100_000
#: characters of a value, a name or an error that are shown
_EXCERPT: Final = 2_000
#: what is shown of an input that has an error in its place
_NOTHING: Final[dict[str, Any]] = {
    "remarks": (),
    "caption": "",
    "sheets": (),
    "segments": (),
    "fields": (),
    "notes": (),
}
#: colours that fields have in turn; each hue is far from the ones before
_HUES: Final = 24
_GOLDEN_ANGLE: Final = 137.508
_FIRST_HUE: Final = 212
#: percents of a page's width that the number of a box takes
_EDGE: Final = 5.0
#: what HTML cannot hold, or what turns the direction of all that follows
_HARMFUL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True, slots=True)
class Record:
    """What is shown of one input: its name, its text, and the answer or why there is none.

    ``source`` is None where it could not be read. ``pictures`` are JPEG files of a document's pages
    by their numbers; a page without one is a blank sheet. ``note`` stands below them.
    """

    name: str
    source: str | Document | None
    answer: Extraction[Any] | EdgeslmError
    pictures: Mapping[int, bytes] = field(default_factory=dict)
    note: str = ""


def pages_shown(document: Document, answer: Extraction[Any]) -> list[int]:
    """The numbers of the pages that are shown: those with a value first, where there are many."""
    numbers = [page.number for page in document.pages]
    valued = {box.page for each in answer.fields.values() for box in each.boxes}
    ranked = sorted(numbers, key=lambda number: (number not in valued, number))
    return sorted(ranked[:MOST_PAGES])


def view(record: Record, key: str) -> str:
    """The view of a record as a part of a page; ``key``, a name, begins all its ids."""
    answer = record.answer
    return _template("record.html").render(
        key=key,
        name=_clean(record.name),
        error=_clean(str(answer)) if isinstance(answer, EdgeslmError) else "",
        **(_NOTHING if isinstance(answer, EdgeslmError) else _read(record, answer, key)),
    )


def _read(record: Record, answer: Extraction[Any], key: str) -> dict[str, Any]:
    """What was read: the fields, and the pages or the text that they stand on."""
    fields = _fields(answer, key)
    sheets: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    notes = [_clean(record.note)] if record.note else []
    source = record.source
    if isinstance(source, Document) and source.pages:
        numbers = pages_shown(source, answer)
        pages = [page for page in source.pages if page.number in numbers]
        sheets = [_sheet(page, fields, record.pictures.get(page.number)) for page in pages]
        if len(pages) < len(source.pages):
            notes.append(f"{len(pages)} of {len(source.pages)} pages are shown.")
    elif source is not None:
        text = str(source)
        cut = segments(text[:MOST_CHARACTERS], _spans(fields))
        parts = [_part(segment, fields) for segment in cut]
        if len(text) > MOST_CHARACTERS:
            notes.append(f"The first {MOST_CHARACTERS:,} of {len(text):,} characters are shown.")
    return {
        "remarks": _remarks(answer),
        "caption": _caption(answer),
        "sheets": sheets,
        "segments": parts,
        "fields": [each.row() for each in fields],
        "notes": notes,
    }


def page(views: Sequence[str], title: str, about: str = "") -> str:
    """A whole page of such views, which holds all that it needs."""
    return _template("page.html").render(
        title=_clean(title),
        about=_clean(about),
        style=Markup(style()),  # a file of this package
        script=Markup(script()),
        style_hash=_hash(style()),
        script_hash=_hash(script()),
        records=[Markup(each) for each in views],  # what `view` made
    )


@cache
def style() -> str:
    """The style sheet of the view, for a page that embeds it."""
    hues = (
        f".h{number} {{ --h: {(_FIRST_HUE + number * _GOLDEN_ANGLE) % 360:.0f}; }}\n"
        for number in range(_HUES)
    )
    return _file("record.css") + "".join(hues)


@cache
def script() -> str:
    """The script of the view, for a page that embeds it."""
    return _file("record.js")


def _file(name: str) -> str:
    return files("edgeslm.views").joinpath(name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_file(name))


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _clean(text: str, most: int = _EXCERPT) -> str:
    """A text as a page can hold it, and no longer than that."""
    return _HARMFUL.sub(
        "\N{REPLACEMENT CHARACTER}", text if len(text) <= most else text[:most] + "…"
    )


# --- fields -----------------------------------------------------------------------


@dataclass(slots=True)
class _Shown:
    """A field as it is shown; ``target`` is the id of its first box or mark, where it has one."""

    number: int
    id: str
    leaf: Leaf
    value: str
    evidence: Field | None
    target: str = ""

    @property
    def hue(self) -> int:
        return (self.number - 1) % _HUES

    @property
    def name(self) -> str:
        return _clean(self.leaf.path.removeprefix("$.")) or "$"

    @property
    def percent(self) -> str:
        return "" if self.evidence is None else f"{100 * self.evidence.confidence:.1f} %"

    @property
    def label(self) -> str:
        """What a box or mark says to who does not see it."""
        sure = f", confidence {self.percent}" if self.percent else ""
        return f"{self.name}: {self.value}{sure}"

    def row(self) -> dict[str, Any]:
        """The row of the table."""
        return {
            "id": self.id,
            "number": self.number,
            "hue": self.hue,
            "name": self.name,
            "value": self.value,
            "empty": self.leaf.value in (None, "", [], {}),
            "remarks": _remarks_of(self.evidence),
            "confidence": None if self.evidence is None else self.evidence.confidence,
            "percent": self.percent,
            "target": self.target,
        }


def _fields(answer: Extraction[Any], key: str) -> list[_Shown]:
    """The leaves of an answer, each with its evidence where that was measured."""
    shown = []
    for number, leaf in enumerate(leaves(answer.json), 1):
        written = leaf.value if isinstance(leaf.value, str) else answer.json[leaf.start : leaf.end]
        value = _clean(written) or '""'
        shown.append(_Shown(number, f"{key}-f{number}", leaf, value, answer.fields.get(leaf.path)))
    return shown


def _remarks_of(evidence: Field | None) -> list[str]:
    if evidence is None:
        return []
    remarks = [] if evidence.span is not None else ["not in the text"]
    if evidence.reading < 1:
        remarks.append(f"its spelling can mean another ({evidence.reading:.0%} for this one)")
    return remarks


def _remarks(answer: Extraction[Any]) -> list[str]:
    remarks = []
    if not answer.complete:
        remarks.append("The budget ended before the answer: confidence 0 was cut or filled.")
    if answer.nothing_read:
        remarks.append("Nothing could be read: no value of the answer stands in the text.")
    return remarks


def _caption(answer: Extraction[Any]) -> str:
    if answer.confidence is None:
        return "What was read"
    return f"What was read; all fields right with a confidence of {100 * answer.confidence:.1f} %"


# --- pages ------------------------------------------------------------------------


def _sheet(page: Page, fields: Sequence[_Shown], picture: bytes | None) -> dict[str, Any]:
    """A page with the boxes on it, whose sides are percents of the page's."""
    boxes = []
    for each in fields:
        for number, box in enumerate(each.evidence.boxes if each.evidence else (), 1):
            if box.page == page.number:
                name = f"{each.id}-{number}"
                each.target = each.target or name
                boxes.append({"field": each, "id": name, **_percents(box, page)})
    return {
        "caption": f"page {page.number}",
        "width": f"{page.width:g}",
        "height": f"{page.height:g}",
        "picture": picture and f"data:image/jpeg;base64,{b64encode(picture).decode()}",
        "boxes": boxes,
    }


def _percents(box: PageBox, page: Page) -> dict[str, str]:
    left, right = (100 * x / (page.width or 1) for x in (box.left, box.right))
    top, bottom = (100 * y / (page.height or 1) for y in (box.top, box.bottom))
    sides = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    # the number stands before the box, behind it where it is at the edge, or else in it
    before = left >= _EDGE
    sides["beside"] = left if before or right > 100 - _EDGE else right
    sides["bottom"] = bottom
    percents = {name: f"{value:.3f}" for name, value in sides.items()}
    return {**percents, "anchor": "end" if before else "start", "away": "-4" if before else "4"}


# --- texts ------------------------------------------------------------------------


def _spans(fields: Sequence[_Shown]) -> dict[int, tuple[int, int]]:
    """The spans of fields by their places in the list, as far as the text is shown."""
    spans = {}
    for place, each in enumerate(fields):
        span = each.evidence.span if each.evidence else None
        if span is not None and span[0] < span[1] <= MOST_CHARACTERS:
            spans[place] = span
    return spans


def _part(segment: Segment, fields: Sequence[_Shown]) -> dict[str, Any]:
    """A piece of the text; what begins a field has the id that its row points at."""
    within = [fields[place] for place in segment.places]
    name = f"{fields[segment.begins[0]].id}-1" if segment.begins else ""
    for place in segment.begins:
        fields[place].target = name
    return {
        "text": _clean(segment.text, MOST_CHARACTERS),
        "fields": within,
        "within": " ".join(each.id for each in within),
        "id": name,
        "numbers": ",".join(str(fields[place].number) for place in segment.ends),
        "label": "; ".join(each.label for each in within),
    }
