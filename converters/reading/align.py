"""Alignment: which pieces and candidates of a text mean the values of its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeslm.formats.onnx.reader_spec import FieldSpec, ReaderSpec
from edgeslm.formats.text import fold
from edgeslm.tasks.reading.layout import TYPED, Layout
from edgeslm.tasks.reading.record import spelled

#: pieces that one text may consist of
MAX_RUN = 16
#: how alike letters and digits are from which a run of pieces is what a label means: labels are
#: typed by people, texts read by machines
ALIKE = 0.85
_MARKS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Targets:
    """What is right for one text.

    ``tags`` bool [pieces, tags]: those that each piece may have. ``typed``: for each typed field
    the right candidates, empty for null, None where the answer is not among them. ``listed``: the
    right value of each listed field, None where it is not known.
    """

    tags: NDArray[np.bool_]
    typed: tuple[tuple[int, ...] | None, ...]
    listed: tuple[int | None, ...]


def align(layout: Layout, answer: Any, spec: ReaderSpec) -> Targets:
    """The targets of a text whose answer is a record."""
    return Targets(
        _tags(layout, answer, spec),
        tuple(_right(layout, field, value_at(answer, field)) for field in spec.typed),
        tuple(_place(field, value_at(answer, field)) for field in spec.listed),
    )


def value_at(answer: Any, field: FieldSpec) -> Any:
    """An answer's value for a field; None where there is none."""
    for name in field.names:
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return answer


def wanted_json(field: FieldSpec, value: Any) -> str:
    """An answer's value as a reader spells it: 5.0 is 5 where the field is a number."""
    if field.read == "number" and value is not None:
        try:
            return spelled(Decimal(str(value)), field) or json.dumps(value)
        except InvalidOperation:  # no number, which no candidate is
            pass
    return json.dumps(value, ensure_ascii=False)


def letters(text: str) -> str:
    """Letters and digits alone, folded."""
    return _MARKS.sub("", fold(text))


# --- texts --------------------------------------------------------------------


def _tags(layout: Layout, answer: Any, spec: ReaderSpec) -> NDArray[np.bool_]:
    allowed = np.zeros((len(layout.pieces), spec.tags), np.bool_)
    allowed[:, 0] = True
    shown = [letters(layout.text[piece.start : piece.end]) for piece in layout.pieces]
    fixed: set[int] = set()
    unknown = []
    for number, field in enumerate(spec.texts):
        first, value = 1 + 2 * number, value_at(answer, field)
        if value is None or not letters(str(value)):
            continue
        runs = runs_of(shown, letters(str(value)))
        free = [run for run in runs if fixed.isdisjoint(range(*run))]
        if not free:
            unknown.append(first)
            continue
        for again in free[1:]:  # the same once more may be tagged, too
            allowed[again[0], first] = True
            allowed[again[0] + 1 : again[1], first + 1] = True
        start, end = free[0]
        allowed[start:end] = False
        allowed[start, first] = True
        allowed[start + 1 : end, first + 1] = True
        fixed.update(range(start, end))
    rest = [at for at in range(len(layout.pieces)) if at not in fixed]
    for first in unknown:  # it stands somewhere in other letters
        allowed[np.ix_(rest, [first, first + 1])] = True
    return allowed


def runs_of(shown: list[str], wanted: str) -> list[tuple[int, int]]:
    """The runs of pieces whose letters are those wanted, half-open; else the most alike."""
    exact: list[tuple[int, int]] = []
    best: tuple[float, tuple[int, int]] = (0.0, (0, 0))
    for start in range(len(shown)):
        run = ""
        for end in range(start + 1, min(start + MAX_RUN, len(shown)) + 1):
            run += shown[end - 1]
            if not shown[start] or not shown[end - 1]:
                continue
            if run == wanted:
                exact.append((start, end))
                break
            if len(run) > 1.25 * len(wanted) + 2:
                break
            if len(run) * 1.25 + 2 >= len(wanted) and not exact:
                matcher = SequenceMatcher(None, run, wanted, autojunk=False)
                if matcher.quick_ratio() > max(ALIKE, best[0]):
                    best = max(best, (matcher.ratio(), (start, end)))
    if exact:
        return exact
    return [best[1]] if best[0] >= ALIKE else []


# --- typed and listed values ----------------------------------------------------


def _right(layout: Layout, field: FieldSpec, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return ()
    assert field.read in TYPED
    wanted = wanted_json(field, value)
    folded = letters(wanted) if field.read == "code" else None
    right = tuple(
        at
        for at, candidate in enumerate(layout.candidates[field.read])
        if (own := spelled(candidate.value, field)) is not None
        and (own == wanted or (folded is not None and letters(own) == folded))
    )
    return right or None


def _place(field: FieldSpec, value: Any) -> int | None:
    wanted = json.dumps(value, ensure_ascii=False)
    return field.values.index(wanted) if wanted in field.values else None
