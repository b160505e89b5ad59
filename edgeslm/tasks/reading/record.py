"""A record from the scores of a text's units: which piece or candidate each field is read from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeslm.formats.onnx.reader_spec import FieldSpec, Read, ReaderSpec
from edgeslm.tasks.reading.chain import Chain
from edgeslm.tasks.reading.layout import TYPED, Layout, Typed

Floats = NDArray[np.float64]


class Reading(NamedTuple):
    """What one field is read as: a JSON text, how likely that is (0 to 1), and where it stands.

    ``probabilities`` are those of a listed field's values.
    """

    field: FieldSpec
    json: str
    confidence: float
    span: tuple[int, int] | None
    probabilities: dict[str, float] | None = None

    def spellings(self) -> Iterator[Reading]:
        """Itself; a number also as a JSON text where it is none, and the other way round."""
        yield self
        if self.field.read == "number" and self.json != "null":
            quoted = self.json.startswith('"')
            yield self._replace(json=self.json[1:-1] if quoted else f'"{self.json}"')

    def without_value(self) -> Reading:
        """Null in its place, which nobody is sure of; itself where there must be a value."""
        if not self.field.nullable or self.field.read == "listed":
            return self
        return Reading(self.field, "null", 0.0, None)


def typed_kinds(spec: ReaderSpec) -> tuple[Typed, ...]:
    """The kinds of value that candidates are looked for."""
    read: set[Read] = {field.read for field in spec.fields}
    return tuple(kind for kind in TYPED if kind in read)


def rows_of(layout: Layout) -> dict[str, slice]:
    """Which rows of the scores are those of the whole text, of its pieces, and of each kind."""
    rows, at = {"text": slice(0, 1), "pieces": slice(1, 1 + len(layout.pieces))}, 1
    at += len(layout.pieces)
    for kind, candidates in layout.candidates.items():
        rows[kind] = slice(at, at + len(candidates))
        at += len(candidates)
    return rows


def read_record(
    layout: Layout, scores: NDArray[np.floating[Any]], spec: ReaderSpec
) -> list[Reading]:
    """Read each field of a text, in the order of the spec.

    Args:
        scores: float [units, columns]; `unit_features` orders the units, ``spec`` the columns.
    """
    exact = np.asarray(scores, np.float64)
    rows = rows_of(layout)
    said = {reading.field.path: reading for reading in _texts(layout, exact[rows["pieces"]], spec)}
    whole = exact[0]
    for field, columns in spec.values_at():
        if field.read == "listed":
            said[field.path] = _listed(field, _softmax(whole[columns]))
            continue
        own, null = exact[rows[field.read], columns.start], float(whole[columns.start + 1])
        said[field.path] = _typed(layout, field, own, null)
    return [said[field.path] for field in spec.fields]


def _listed(field: FieldSpec, shares: Floats) -> Reading:
    likeliest = int(shares.argmax())
    names = [value if not value.startswith('"') else json.loads(value) for value in field.values]
    probabilities = dict(zip(names, shares.tolist(), strict=True))
    confidence = float(shares[likeliest])
    return Reading(field, field.values[likeliest], confidence, None, probabilities)


# --- texts --------------------------------------------------------------------


def _texts(layout: Layout, scores: Floats, spec: ReaderSpec) -> Iterator[Reading]:
    fields = spec.texts
    if not fields:
        return
    if not len(scores):
        for field in fields:
            yield Reading(field, "null" if field.nullable else '""', 0.0, None)
        return
    chain = Chain(scores[:, : spec.tags], np.array(spec.transitions), np.array(spec.begin))
    path = chain.best()
    for number, field in enumerate(fields):
        first = 1 + 2 * number
        yield _text(layout, field, chain, _segments(path, first), first)


def _segments(path: NDArray[np.intp], first: int) -> Iterator[tuple[int, int]]:
    """The runs of a first tag and the inner tags behind it, half-open."""
    for start in np.flatnonzero(path == first).tolist():
        end = start + 1
        while end < len(path) and path[end] == first + 1:
            end += 1
        yield start, end


def _text(
    layout: Layout, field: FieldSpec, chain: Chain, segments: Iterator[tuple[int, int]], first: int
) -> Reading:
    """The surest of a field's segments; null where the best path has none."""
    weighed = [(chain.segment(*run, first, first + 1), run) for run in segments]
    if not weighed:
        absent = chain.without(first)
        return Reading(field, "null" if field.nullable else '""', absent, None)
    values: dict[str, float] = {}
    for share, run in weighed:  # the same text elsewhere is the same answer
        value = _shown(layout, run)
        values[value] = values.get(value, 0.0) + share
    _, best = max(weighed, key=lambda item: item[0])
    value = _shown(layout, best)
    span = layout.pieces[best[0]].start, layout.pieces[best[1] - 1].end
    written = json.dumps(value, ensure_ascii=False)
    return Reading(field, written, min(1.0, values[value]), span)


def _shown(layout: Layout, run: tuple[int, int]) -> str:
    """The text of a run of pieces, on one line."""
    first, last = layout.pieces[run[0]], layout.pieces[run[1] - 1]
    return " ".join(layout.text[first.start : last.end].split())


# --- typed values ---------------------------------------------------------------


def _typed(layout: Layout, field: FieldSpec, scores: Floats, null: float) -> Reading:
    """The likeliest value: places that read alike count together."""
    assert field.read in TYPED
    candidates = layout.candidates[field.read]
    usable = [i for i, candidate in enumerate(candidates) if spelled(candidate.value, field)]
    options = [*scores[usable].tolist(), *([null] if field.nullable else [])]
    if not options:
        return Reading(field, "null", 0.0, None)
    shares = _softmax(np.array(options))
    by_value: dict[str, float] = {"null": float(shares[-1])} if field.nullable else {}
    best: dict[str, tuple[float, tuple[int, int]]] = {}
    for share, place in zip(shares.tolist(), usable, strict=False):
        candidate = candidates[place]
        value = spelled(candidate.value, field)
        assert value is not None
        by_value[value] = by_value.get(value, 0.0) + share
        if share > best.get(value, (-1.0, (0, 0)))[0]:
            best[value] = share, (candidate.start, candidate.end)
    value = max(by_value, key=by_value.__getitem__)
    span = best[value][1] if value in best else None
    return Reading(field, value, min(1.0, by_value[value]), span)


def spelled(value: Any, field: FieldSpec) -> str | None:
    """A candidate's value as the field's JSON text; None where it cannot stand there."""
    if not isinstance(value, Decimal):
        return json.dumps(value, ensure_ascii=False)
    written = f"{value:f}"
    whole, _, part = written.partition(".")
    part = part.rstrip("0")
    if field.places is None:
        return f"{whole}.{part}" if part else whole
    return (
        None
        if len(part) > field.places
        else f'"{whole}{"." * (field.places > 0)}{part:0<{field.places}}"'
    )


def _softmax(scores: Floats) -> Floats:
    weights = np.exp(scores - scores.max())
    shares: Floats = weights / weights.sum()
    return shares


# --- the JSON text --------------------------------------------------------------


def to_json(readings: Sequence[Reading]) -> str:
    """The record of readings whose paths lead through objects alone, without spaces."""
    tree: dict[str, Any] = {}
    for reading in readings:
        *above, name = reading.field.names
        place = tree
        for step in above:
            place = place.setdefault(step, {})
        place[name] = reading.json
    return _written(tree)


def _written(tree: Any) -> str:
    if isinstance(tree, str):
        return tree
    members = (
        f"{json.dumps(name, ensure_ascii=False)}:{_written(part)}" for name, part in tree.items()
    )
    return f"{{{','.join(members)}}}"
