"""Copies out, and rows into training, development and gold, so that no text is in two of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from converters.data.filter import Example, Reviewed
from converters.data.near_duplicates import near_duplicates
from converters.data.rows import Row, by_input, drawn, is_drawn, part_of
from converters.recipe.data import Data, Part, Split
from edgeslm.formats.files import Progress
from edgeslm.formats.text import fold

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
    group_not_in_training: int = 0
    over_per_group: int = 0


def divide(examples: Sequence[Example], data: Data, progress: Progress) -> Divided:
    """Split examples by the recipe's rule, without copies.

    Without split.group, copies of an input (when folded) are taken out
    everywhere. With it, held-out rows stay as they come, copies and all, at most ``per_group``
    of a group; copies are taken out of training alone, as data.copies says.
    Near-duplicates of a more precious row (gold, then development) are dropped, and with
    copies = "majority" those inside training; then training rows over ``max_rows``, drawn by
    hash. Rows drawn for ``seen`` are those whose group still has a row in training.
    """
    spec = data.split
    divided = Divided({part: [] for part in spec.parts})
    rows: dict[Part, list[Row]] = {part: [] for part in spec.parts}
    for part, example in zip(_parts_of(examples, spec), examples, strict=True):
        rows[part].append(example.row)
    groups = {example.row.id: fold(example.key) for example in examples}
    if spec.per_group is not None:
        for part in ("gold", "development"):
            few = _few_of_each(rows[part], groups, spec.per_group)
            divided.over_per_group += len(rows[part]) - len(few)
            rows[part] = few
    rows["train"] = _without_copies(rows["train"], data.copies, divided)
    if spec.group is None:
        for part in ("gold", "development"):
            rows[part] = _without_copies(rows[part], "majority", divided)
    _without_near(rows, data, divided, progress)
    if data.copies == "all":
        divided.parts["train"] = _weighed(divided.parts["train"], data.weight_power)
    if spec.seen:
        trained = {groups[row.id] for row in divided.parts["train"]}
        divided.parts["seen"] = [row for row in rows["seen"] if groups[row.id] in trained]
        divided.group_not_in_training = len(rows["seen"]) - len(divided.parts["seen"])
    return divided


def leaks(parts: Mapping[Part, Sequence[Row]], threshold: float) -> int:
    """How many rows of training, development and gold are the same as, or a near-duplicate of,
    a row of a more precious part."""
    heaps = [(part, heap) for part in _PRECIOUS for heap in by_input(parts[part])]
    first: dict[str, Part] = {}
    exact = {
        i
        for i, (part, heap) in enumerate(heaps)
        if first.setdefault(fold(heap[0].input), part) != part
    }
    near = near_duplicates(
        [heap[0].input for _, heap in heaps], threshold, lambda a, b: heaps[a][0] != heaps[b][0]
    )
    leaked = exact | {i for i, twin in enumerate(near) if twin is not None}
    return sum(len(heaps[i][1]) for i in leaked)


# --- parts --------------------------------------------------------------------


def _parts_of(examples: Iterable[Example], spec: Split) -> Iterator[Part]:
    """The part of each example. A group's first row is never drawn for ``seen``: a group of one
    row would be lost for training, and seen nowhere."""
    known: set[str] = set()
    for example in examples:
        part = part_of(example.key, gold=spec.gold, development=spec.development)
        if spec.seen and part == "train":
            group = fold(example.key)
            if group in known and is_drawn(example.row.id, spec.seen):
                part = "seen"
            known.add(group)
        yield part


def _few_of_each(rows: Sequence[Row], groups: Mapping[str, str], most: int) -> list[Row]:
    """At most so many rows of each group, drawn by hash, in the order that rows have."""
    taken: Counter[str] = Counter()
    kept = set()
    for row in sorted(rows, key=lambda row: drawn(f"few {row.id}")):
        taken[groups[row.id]] += 1
        if taken[groups[row.id]] <= most:
            kept.add(row.id)
    return [row for row in rows if row.id in kept]


# --- copies -------------------------------------------------------------------


def _without_copies(
    rows: Sequence[Row], copies: Literal["majority", "all"], divided: Divided
) -> list[Row]:
    """The first row of each input and answer, with the number of its copies.

    With ``majority`` of each input the answer that most of its copies have: rows with another
    one go to review; where no answer has the most, all do.
    """
    kept = []
    for same in by_input(rows):
        alike: dict[str, list[Row]] = defaultdict(list)
        for row in same:
            alike[json.dumps(row.answer, ensure_ascii=False)].append(row)
        heaps = list(alike.values()) if copies == "all" else _majority(list(alike.values()))
        kept += [replace(heap[0], count=len(heap)) for heap in heaps]
        agreeing = {row.id for heap in heaps for row in heap}
        divided.exact_duplicates += len(agreeing) - len(heaps)
        divided.reviewed += [
            Reviewed(row.id, "contradictory", _contradiction(row, same), _shown(row))
            for row in same
            if row.id not in agreeing
        ]
    return kept


def _majority(heaps: list[list[Row]]) -> list[list[Row]]:
    """The one larger than all others, if there is one."""
    sizes = Counter({at: len(heap) for at, heap in enumerate(heaps)}).most_common(2)
    tied = len(sizes) == 2 and sizes[0][1] == sizes[1][1]
    return [] if tied else [heaps[sizes[0][0]]]


def _contradiction(row: Row, same: Sequence[Row]) -> str:
    other = next(twin for twin in same if twin.answer != row.answer)
    return f"row {other.id} has this input with another answer"


def _weighed(rows: Sequence[Row], power: float) -> list[Row]:
    """Rows with weights that their counts give, the mean of which is 1."""
    weights = [row.count**power for row in rows]
    mean = sum(weights) / max(1, len(weights))
    return [replace(row, weight=w / mean) for row, w in zip(rows, weights, strict=True)]


# --- near-duplicates ----------------------------------------------------------


def _without_near(
    rows: Mapping[Part, Sequence[Row]], data: Data, divided: Divided, progress: Progress
) -> None:
    """Fill the parts, most precious first, until training has its ``max_rows``.

    Rows of one input are compared as one: answers of an input do not push each other out.
    """
    drawn = {**rows, "train": sorted(rows["train"], key=_drawing)}
    heaps = [(part, heap) for part in _PRECIOUS for heap in by_input(drawn[part])]
    within = data.copies == "majority"
    twins = near_duplicates(
        [heap[0].input for _, heap in heaps],
        data.near_duplicate,
        lambda earlier, later: (
            heaps[earlier][0] != heaps[later][0] or (within and heaps[later][0] == "train")
        ),
    )
    train, most = divided.parts["train"], data.max_rows or len(rows["train"])
    near: list[Reviewed] = []
    for i, ((part, heap), twin) in enumerate(zip(heaps, twins, strict=True)):
        if part == "train" and len(train) >= most:
            break
        if twin is None:
            divided.parts[part] += heap
        else:
            near += _near_rows(heap, *heaps[twin])
        if i % _PROGRESS_EVERY == 0:
            progress("comparing texts", i, len(heaps))
    progress("comparing texts", len(heaps), len(heaps))
    del train[most:]
    kept = sum(len(divided.parts[part]) for part in _PRECIOUS)
    divided.over_max_rows = sum(len(heap) for _, heap in heaps) - kept - len(near)
    divided.reviewed += near
    places = {row.id: place for part in _PRECIOUS for place, row in enumerate(rows[part])}
    for part in _PRECIOUS:
        divided.parts[part].sort(key=lambda row: places[row.id])


def _near_rows(heap: Sequence[Row], part: Part, like: Sequence[Row]) -> list[Reviewed]:
    detail = f"of row {like[0].id} ({part}): {like[0].input[:200]}"
    return [Reviewed(row.id, "near-duplicate", detail, _shown(row)) for row in heap]


def _drawing(row: Row) -> bytes:
    """A hash that is not the one rows were split by."""
    return hashlib.sha256(f"order {fold(row.input)}".encode()).digest()


def _shown(row: Row) -> dict[str, object]:
    return {"input": row.input, "answer": row.answer}
