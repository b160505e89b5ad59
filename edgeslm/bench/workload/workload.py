"""What a bench run asks a model: rows of a file, of its card, or of the package, and their task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edgeslm.bench.workload import invented
from edgeslm.errors import InputError, unreadable
from edgeslm.formats.card import Card, ClassifyTask, ExtractTask
from edgeslm.formats.files import read_small
from edgeslm.models.ask import Ask, asker
from edgeslm.models.model import Model

#: a larger file of inputs is refused
MAX_BYTES: Final = 64 * 1024 * 1024
_TEXT_KEYS = ("text", "input")
_EXPECTED_KEYS = ("expected", "answer", "label")

Kind = Literal["extract", "classify", "tag", "generate"]


@dataclass(frozen=True, slots=True)
class Row:
    """One text, and the answer it must have: a value, a label, or None where none is known."""

    text: str
    expected: Any = None


@dataclass(frozen=True, slots=True)
class Workload:
    """The texts of a run and what is done with them.

    ``schema`` and ``labels`` are None where the model's card has them. With ``all_right`` each
    expected answer must be given, as a card promises for its examples; else ``bar`` (0 to 1)
    says what the score must reach, None that nothing is demanded. ``max_tokens`` of an
    extraction are None for the card's own. ``cut`` takes the middle out of texts that are longer
    than the model reads, as it may of invented ones: labels are given to what is left.
    """

    kind: Kind
    rows: tuple[Row, ...]
    source: str
    schema: dict[str, Any] | None = None
    labels: tuple[str, ...] | None = None
    all_right: bool = False
    bar: float | None = None
    max_tokens: int | None = None
    cut: bool = False

    def answerer(self, model: Model) -> Ask:
        """The function that a user of this model would call.

        Extractions are asked for without evidence, so that decoding is the last thing done
        and the first token can be told from the whole.
        """
        options: dict[str, Any] = (
            {"truncate": "middle"} if self.cut and self.kind in ("classify", "tag") else {}
        )
        return asker(
            model,
            schema=self.schema,
            labels=self.labels,
            evidence=False,
            max_tokens=self.max_tokens,
            **options,
        )


def choose(
    card: Card | None,
    count: int,
    *,
    file: Path | None = None,
    task: Literal["extract", "classify"] | None = None,
    min_score: float | None = None,
) -> Workload:
    """The workload for a model with this card, of at most ``count`` of the package's texts.

    Args:
        file: JSON lines ``{"text": …, "expected": …}``, of which the latter may be missing.
        task: for a model without a card; default is extraction.
        min_score: what the score must reach, 0 to 1; default is what the card promises.

    Raises:
        InputError: the file cannot be read, a line is no row, or ``task`` is not the card's.
    """
    kind = _kind(card, task)
    schema = invented.RECEIPT_SCHEMA if card is None and kind == "extract" else None
    labels = invented.MESSAGE_LABELS if card is None and kind == "classify" else None
    rows, source = _rows(card, kind, count, file)
    examples = file is None and card is not None and bool(card.examples)
    return Workload(
        kind,
        rows,
        source,
        schema,
        labels,
        all_right=examples and min_score is None,
        bar=min_score if min_score is not None else (None if examples else _promised(card)),
        cut=file is None,
    )


def _kind(card: Card | None, task: Literal["extract", "classify"] | None) -> Kind:
    if card is None:
        return task or "extract"
    kind = card.task.kind
    if task not in (None, kind):
        raise InputError(f"{card.name}: its card says {kind}; leave out --task {task}")
    return kind


def _promised(card: Card | None) -> float | None:
    """The lower end of the card's own score; a card with no interval promises no score."""
    metric = "accuracy" if card is not None and isinstance(card.task, ClassifyTask) else "field F1"
    own = None if card is None else card.promised(metric)
    return None if own is None or own.interval is None else own.interval[0]


def _rows(
    card: Card | None, kind: Kind, count: int, file: Path | None
) -> tuple[tuple[Row, ...], str]:
    if file is not None:
        return _read(file), file.name
    if card is None:
        return _invented(kind, count, answered=True), _OWN[kind]
    examples = tuple(Row(example.input, example.expected) for example in card.examples)
    if not examples:
        return _invented(kind, count, answered=False), _OWN[kind]
    if isinstance(card.task, ExtractTask) and not _reads_receipts(card.task):
        return examples, "the card's examples"  # what it reads cannot be invented here
    # a card has few examples, and of one length; these say nothing of its accuracy
    more = _invented(kind, max(1, count - len(examples)), answered=False)
    return (*examples, *more), f"the card's examples and {_OWN[kind]}"


_OWN = {
    "extract": "invented receipts",
    "generate": "invented receipts",
    "classify": "invented messages",
    "tag": "invented messages",
}


def _reads_receipts(task: ExtractTask) -> bool:
    return bool(invented.RECEIPT_FIELDS & set(task.json_schema.get("properties", {})))


def _invented(kind: Kind, count: int, *, answered: bool) -> tuple[Row, ...]:
    make = invented.message if kind in ("classify", "tag") else invented.receipt
    pairs = [make(number) for number in range(count)]
    return tuple(Row(text, value if answered else None) for text, value in pairs)


# --- files of inputs ----------------------------------------------------------


def _read(path: Path) -> tuple[Row, ...]:
    try:
        data = read_small(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    lines = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
    rows = tuple(
        _row(line, f"{path.name}, line {number}") for number, line in lines if line.strip()
    )
    if not rows:
        raise InputError(f'{path}: no lines {{"text": …, "expected": …}}')
    return rows


def _row(line: bytes, place: str) -> Row:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON that can be read: {unreadable(error)}") from error
    fields = value if isinstance(value, dict) else {}
    text = next((fields[key] for key in _TEXT_KEYS if key in fields), None)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{place}: no "text"; write {{"text": …, "expected": …}}')
    return Row(text, next((fields[key] for key in _EXPECTED_KEYS if key in fields), None))
