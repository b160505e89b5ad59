"""Files of rows with known answers: gold rows, and what another system answers to them."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from edgeslm.errors import InputError, unreadable
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import TaskKind
from edgeslm.formats.card import Head
from edgeslm.formats.text import is_blank

#: the longest line of a file of rows
MAX_LINE_BYTES = 16 * 1024 * 1024
_INPUT_KEYS = ("input", "text")
_ANSWER_KEYS = ("answer", "label", "expected")
#: characters that a message shows of an answer
_SHOWN = 100

#: what a row's answer is: a value, a label, or for each head a label or a list of them
GoldKind = TaskKind | Literal["tag"]
Shape = Literal["object", "list", "single value"]


@dataclass(frozen=True, slots=True)
class GoldRow:
    """One input and its true answer: a label's name, a JSON value, or by head a label or a
    sorted list of labels."""

    input: str
    answer: Any
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Gold:
    """Gold rows of a file. ``refused`` says, line by line, what is no row."""

    name: str
    rows: tuple[GoldRow, ...]
    refused: tuple[str, ...]

    @property
    def answers(self) -> list[Any]:
        return [row.answer for row in self.rows]

    @property
    def sha256(self) -> str:
        """A hash of inputs and answers in order, as ``gold_sha256`` of a card's score."""
        digest = hashlib.sha256()
        for row in self.rows:
            pair = json.dumps([row.input, row.answer], ensure_ascii=False)
            digest.update(pair.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer to extract can be: of which shapes, none where that is not known, and with
    which fields as an object, none where it may have any."""

    shapes: frozenset[Shape] = frozenset()
    fields: tuple[str, ...] = ()

    def check(self, answer: Any) -> None:
        """Refuse an answer to another task, such as a label; null is no value.

        Raises:
            InputError: it is of another shape, or an object with none of the fields.
        """
        shape: Shape = "single value"
        if isinstance(answer, dict | list):
            shape = "object" if isinstance(answer, dict) else "list"
        fits = answer is None or not self.shapes or shape in self.shapes
        if fits and shape == "object" and answer and self.fields:
            fits = any(name in answer for name in self.fields)
        if not fits:
            wanted = " or ".join(
                f"a{'n' * (one[0] in 'aeio')} {one}" for one in sorted(self.shapes)
            )
            fields = f" of {_shortened(', '.join(self.fields))}" if "object" in self.shapes else ""
            raise InputError(
                f'the "answer" must be {wanted}{fields}, as the card of this model says; '
                f"it is {_shortened(json.dumps(answer, ensure_ascii=False))}"
            )


def _shortened(words: str) -> str:
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"


def read_gold(
    path: Path, task: GoldKind, heads: Sequence[Head] = (), expected: Expected | None = None
) -> Gold:
    """Read JSON lines ``{"input": …, "answer": …}``; also .gz, and ``text``, ``label``,
    ``expected`` for these keys. A line that is no row is refused, and the rest is read.

    Args:
        heads: those of a tagger's card; each row must have an answer for every one.
        expected: what an answer to extract can be; others are refused.

    Raises:
        InputError: the file cannot be read.
    """
    rows, refused = [], []
    for number, line in _lines(path):
        try:
            row = _gold_row(_object(line), task, heads)
            if expected is not None:
                expected.check(row.answer)
            rows.append(row)
        except InputError as error:
            refused.append(f"{path.name}, line {number}: {error}")
    return Gold(path.name, tuple(rows), tuple(refused))


def read_baseline(path: Path, rows: Sequence[GoldRow]) -> list[Prediction]:
    """Another system's answers to these rows, matched by ``id`` or else by ``input``.

    Lines are ``{"input" or "id": …, "answer": …}``, also .gz. A row without one counts as
    failed.

    Raises:
        InputError: the file cannot be read, a line is no prediction, or none is for these rows.
    """
    by_key: dict[tuple[str, str], Prediction] = {}
    for number, line in _lines(path):
        try:
            fields = _object(line)
            key = _key_of(fields)
            answer = _first(fields, _ANSWER_KEYS)
        except InputError as error:
            raise InputError(f"{path.name}, line {number}: {error}") from error
        if by_key.setdefault(key, Prediction(answer)).answer != answer:
            raise InputError(
                f"{path.name}, line {number}: a second, different answer to the same {key[0]}; "
                "keep one"
            )
    missing = Prediction(error="no prediction")
    predictions = [
        by_key.get(("id", row.id or ""), by_key.get(("input", row.input), missing)) for row in rows
    ]
    if all(p is missing for p in predictions):
        raise InputError(
            f'{path.name}: no "id" or "input" is one of the gold rows; give the answers to them'
        )
    return predictions


def _gold_row(fields: dict[str, Any], task: GoldKind, heads: Sequence[Head]) -> GoldRow:
    text = _first(fields, _INPUT_KEYS)
    answer = _first(fields, _ANSWER_KEYS)
    if not isinstance(text, str) or is_blank(text):
        raise InputError('the "input" must be a text that is not empty')
    if task == "classify" and not isinstance(answer, str):
        raise InputError('the "answer" must be the name of a label')
    if task == "tag":
        answer = _tags(answer, heads)
    return GoldRow(text, answer, str(fields["id"]) if "id" in fields else None)


def _tags(answer: Any, heads: Sequence[Head]) -> dict[str, str | list[str]]:
    names = [head.name for head in heads]
    if not isinstance(answer, dict) or set(answer) != set(names):
        raise InputError(f'the "answer" must be an object of {", ".join(names)}')
    return {head.name: _of_head(answer[head.name], head) for head in heads}


def _of_head(value: Any, head: Head) -> str | list[str]:
    """One label, or where there may be many a sorted list, as the training side keeps it."""
    if not head.multi_label:
        if not isinstance(value, str):
            raise InputError(f"the answer of {head.name} must be the name of a label")
        return value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"the answer of {head.name} must be a list of labels")
    return sorted(set(value))


def _key_of(fields: dict[str, Any]) -> tuple[str, str]:
    return (
        ("id", str(fields["id"])) if "id" in fields else ("input", str(_first(fields, _INPUT_KEYS)))
    )


def _first(fields: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in fields:
            return fields[key]
    raise InputError(f'no "{keys[0]}"; write {{"input": …, "answer": …}}')


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise InputError(f"has more than {MAX_LINE_BYTES:,} bytes; leave it out")
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'not JSON that can be read: {unreadable(error)}; write {{"input": …, "answer": …}}'
        ) from error
    if not isinstance(value, dict):
        raise InputError('not an object; write {"input": …, "answer": …}')
    return value


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1; of one too long only as much as shows it."""
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                rest = line
                while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES + 1)
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.open(file) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield file
