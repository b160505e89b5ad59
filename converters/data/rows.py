"""Rows: what the data step writes and training, calibration and scoring read."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from converters.errors import DataError
from converters.recipe.data import Part
from edgeslm.formats.files import publish
from edgeslm.formats.text import fold

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One example. ``answer`` is a label's name, or the value that is to be extracted.

    ``parts`` are the filled-in parts of the input template, ``input`` all of them together.
    ``category`` groups rows in scores: the label, or what the recipe's data say. A training row
    stands for ``count`` rows of the files, itself included, and counts for ``weight`` in a loss.
    """

    id: str
    input: str
    answer: Any
    category: str | None = None
    parts: tuple[str, ...] = ()
    count: int = 1
    weight: float = 1.0


def part_of(key: str, *, gold: float, development: float) -> Part:
    """Where a row belongs, by a hash of its key when folded."""
    at = drawn(fold(key))
    if at < gold:
        return "gold"
    return "development" if at < gold + development else "train"


def is_drawn(row_id: str, share: float) -> bool:
    """Whether a row is one of a share of all, by a hash of its own name."""
    return drawn(f"row {row_id}") < share


def drawn(name: str) -> float:
    """A number from 0 to 1 that only the name decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def by_part(values: Sequence[T], parts: Mapping[Part, Sequence[Row]]) -> dict[Part, Sequence[T]]:
    """What was found for the rows of several parts, one after the other, for each part.

    Raises:
        ValueError: there is not one value for each row.
    """
    if len(values) != sum(map(len, parts.values())):
        raise ValueError("one value for each row")
    ends = accumulate(map(len, parts.values()))
    return {
        part: values[end - len(rows) : end]
        for (part, rows), end in zip(parts.items(), ends, strict=True)
    }


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, aside first."""
    aside = path.with_name(path.name + ".part")
    with aside.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
    publish(aside, path)


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote.

    Raises:
        DataError: the file is missing or damaged; names the line.
    """
    rows, number = [], 1
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):  # noqa: B007  named in the error
                fields = json.loads(line)
                fields["parts"] = tuple(fields["parts"])
                rows.append(Row(**fields))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; run the data step first") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: damaged; run the data step again") from error
    return rows


def rows_sha256(rows: Sequence[Row]) -> str:
    """A hash of inputs and answers in order: which rows a score speaks of."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.input, row.answer], ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def by_input(rows: Iterable[Row]) -> list[list[Row]]:
    """Copies together, in the order of each input's first row."""
    heaps: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        heaps[fold(row.input)].append(row)
    return list(heaps.values())


def commonest(rows: Iterable[Row]) -> dict[str, Row]:
    """By text when folded: a row with the answer that most rows have."""
    return {fold(heap[0].input): _with_commonest(heap) for heap in by_input(rows)}


def _with_commonest(rows: Sequence[Row]) -> Row:
    counts = Counter[str]()
    for row in rows:
        counts[json.dumps(row.answer)] += row.count
    return max(rows, key=lambda row: counts[json.dumps(row.answer)])
