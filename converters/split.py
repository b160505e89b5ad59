"""Copies out, and rows into training, development and gold, so that no text is in two of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from converters.filter import Example, Reviewed
from converters.near import near_duplicates
from converters.recipe import Data
from converters.rows import PARTS, Part, Row, part_of
from edgeslm.normal import fold
from edgeslm.transfer import Progress

#: from the most precious: where a text is in two parts, the later one loses it
_PRECIOUS: tuple[Part, ...] = ("gold", "development", "train")
_PROGRESS_EVERY = 100


@dataclass(slots=True)
class Divided:
    """Rows by part, what was dropped on the way, and how many were without a listing."""

    parts: dict[Part, list[Row]]
    reviewed: list[Reviewed] = field(default_factory=list)
    exact_duplicates: int = 0
    over_max_rows: int = 0


def divide(examples: Sequence[Example], data: Data, progress: Progress) -> Divided:
    """Split examples by the recipe's rule, without copies.

    Without split.group, copies of an input (folded in case and white space) are taken out
    everywhere. With it, held-out rows stay as they come, copies and all, so that scores speak
    of the traffic as it is; copies are taken out of training alone. Near-duplicates of a more
    precious row (gold, then development) are dropped, and those inside training; then training
    rows over ``max_rows``, drawn by hash.
    """
    divided = Divided({part: [] for part in PARTS})
    rows: dict[Part, list[Row]] = {part: [] for part in PARTS}
    spec = data.split
    for example in examples:
        part = part_of(example.key, gold=spec.gold, development=spec.development)
        rows[part].append(example.row)
    for part in PARTS:
        if spec.group is None or part == "train":
            rows[part] = _without_copies(rows[part], divided)
    _without_near(rows, data, divided, progress)
    return divided


def leaks(parts: Mapping[Part, Sequence[Row]], threshold: float) -> int:
    """How many rows are the same as, or a near-duplicate of, a row of a more precious part."""
    where = [part for part in _PRECIOUS for _ in parts[part]]
    texts = [row.input for part in _PRECIOUS for row in parts[part]]
    first: dict[str, Part] = {}
    exact = {
        i
        for i, (part, text) in enumerate(zip(where, texts, strict=True))
        if first.setdefault(fold(text), part) != part
    }
    near = near_duplicates(texts, threshold, lambda a, b: where[a] != where[b])
    return len(exact | {i for i, twin in enumerate(near) if twin is not None})


# --- copies -------------------------------------------------------------------


def _without_copies(rows: Sequence[Row], divided: Divided) -> list[Row]:
    """One row for each input: the first with the answer that most of its copies have.

    Rows with another answer go to review; where no answer has the most, all do.
    """
    copies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        copies[fold(row.input)].append(row)
    kept = []
    for same in copies.values():
        spelled = [json.dumps(row.answer, ensure_ascii=False) for row in same]
        votes = Counter(spelled).most_common(2)
        tied = len(votes) == 2 and votes[0][1] == votes[1][1]
        winner = None if tied else votes[0][0]
        agree = [row for row, answer in zip(same, spelled, strict=True) if answer == winner]
        kept += agree[:1]
        divided.exact_duplicates += max(0, len(agree) - 1)
        divided.reviewed += [
            Reviewed(row.id, "contradictory", _contradiction(row, same), _shown(row))
            for row, answer in zip(same, spelled, strict=True)
            if answer != winner
        ]
    return kept


def _contradiction(row: Row, same: Sequence[Row]) -> str:
    other = next(twin for twin in same if twin.answer != row.answer)
    return f"row {other.id} has this input with another answer"


# --- near-duplicates ----------------------------------------------------------


def _without_near(
    rows: Mapping[Part, Sequence[Row]], data: Data, divided: Divided, progress: Progress
) -> None:
    """Fill the parts, most precious first, until training has its ``max_rows``."""
    drawn = [*rows["gold"], *rows["development"], *sorted(rows["train"], key=_drawing)]
    held_out = len(rows["gold"]) + len(rows["development"])
    where = [*chain.from_iterable([part] * len(rows[part]) for part in _PRECIOUS)]
    twins = near_duplicates(
        [row.input for row in drawn],
        data.near_duplicate,
        lambda earlier, later: later >= held_out or where[earlier] != where[later],
    )
    places = {row.id: place for place, row in enumerate(rows["train"])}
    train = divided.parts["train"]
    for i, (row, twin) in enumerate(zip(drawn, twins, strict=True)):
        if len(train) == data.max_rows:
            divided.over_max_rows = len(drawn) - i
            break
        if twin is None:
            divided.parts[where[i]].append(row)
        else:
            detail = f"of row {drawn[twin].id} ({where[twin]}): {drawn[twin].input[:200]}"
            divided.reviewed.append(Reviewed(row.id, "near-duplicate", detail, _shown(row)))
        if i % _PROGRESS_EVERY == 0:
            progress("comparing rows", i, len(drawn))
    progress("comparing rows", len(drawn), len(drawn))
    train.sort(key=lambda row: places[row.id])


def _drawing(row: Row) -> bytes:
    """A hash that is not the one rows were split by."""
    return hashlib.sha256(f"order {fold(row.input)}".encode()).digest()


def _shown(row: Row) -> dict[str, object]:
    return {"input": row.input, "answer": row.answer}
