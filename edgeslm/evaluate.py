"""Runs a model over gold rows and scores what it answers, against a bar and a baseline."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic import BaseModel, ConfigDict, Field

from edgeslm.answers import Prediction
from edgeslm.card import Card, ClassifyTask, TagTask
from edgeslm.errors import CancelledError, CardError, InputError, OutputError, ResourceError
from edgeslm.intervals import percentile
from edgeslm.model import AnyModel, load
from edgeslm.onnx_file import read_onnx
from edgeslm.result import Classification, Extraction
from edgeslm.scoring import (
    ClassificationScores,
    Comparison,
    ExtractionScores,
    Scores,
    TaskKind,
    compare,
    linear_advice,
    score,
)

#: the longest line of a file of rows
MAX_LINE_BYTES = 16 * 1024 * 1024
#: endings of files that are models; any other is a file of answers
_MODEL_SUFFIXES = (".onnx", ".gguf")
_INPUT_KEYS = ("input", "text")
_ANSWER_KEYS = ("answer", "label", "expected")

Answer = Callable[[str], Extraction[Any] | Classification]
#: called after each row with the rows done, those that failed, and all
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class GoldRow:
    """One input and its true answer: a label's name, or a JSON value."""

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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Latency(_Frozen):
    """Wall-clock milliseconds of one answer, the first one of the process included."""

    p50_ms: float
    p95_ms: float
    n: int


class Bar(_Frozen):
    """What the score is to reach, 0 to 1, and who says so."""

    value: float
    source: str


class Rival(_Frozen):
    """A baseline on the same rows; ``comparison`` has it first and the model second.

    ``missing`` rows have no prediction of it and count as its errors. ``advice`` is there where
    it is a linear model that is as good as this one.
    """

    name: str
    missing: int
    scores: Scores = Field(discriminator="task")
    comparison: Comparison
    advice: str | None = None


class Report(_Frozen):
    """What `edgeslm eval` found. ``refused`` lines are not scored; rows whose answer failed are.

    ``unknown_labels`` are gold labels that the model cannot give, so their rows are wrong.
    """

    model: str
    gold: str
    gold_sha256: str
    refused: tuple[str, ...]
    unknown_labels: tuple[str, ...]
    scores: Scores = Field(discriminator="task")
    first_failure: str | None
    latency: Latency | None
    baseline: Rival | None
    bar: Bar | None

    @property
    def passed(self) -> bool:
        """Whether the task's metric reaches the bar; True where there is none."""
        return self.bar is None or self.scores.main.value >= self.bar.value


def task_of(card: Card | None) -> TaskKind:
    """How answers under this card are scored.

    Raises:
        CardError: there is no card, or it is a tagger's.
    """
    if card is None:
        raise CardError(
            "this model has no card, so it has no task to score; write one into it with "
            "`edgeslm pack`"
        )
    if isinstance(card.task, TagTask):
        raise CardError(
            f"card {card.name}: answers with several label sets are not scored; score one set by "
            "itself, as a classifier"
        )
    return "classify" if isinstance(card.task, ClassifyTask) else "extract"


def evaluate(
    model: AnyModel,
    gold: Gold,
    *,
    baseline: Path | None = None,
    min_score: float | None = None,
    answer: Answer | None = None,
    progress: Progress = lambda _done, _failed, _all: None,
) -> Report:
    """Answer every row of ``gold`` under the model's card, and score the answers.

    Args:
        baseline: another model's file (.onnx or .gguf), which answers the same rows, or
            predictions of another system on them, as `read_baseline` reads.
        min_score: the bar, 0 to 1; default is the lower end of the interval that the card's
            own score has.
        answer: default is the model's own extractor or classifier.

    Raises:
        CardError: the model has no card. InputError: no rows, or an unreadable baseline.
    """
    task = task_of(model.card)
    card = cast(Card, model.card)
    if not gold.rows:
        raise InputError(_no_rows(gold))
    others = None if baseline is None else _answers_of(baseline, gold.rows, task)
    predictions, ms = answer_rows(gold.rows, answer or answerer(model), progress)
    scores = score(task, gold.answers, predictions)
    return Report(
        model=f"{card.name} {card.version}",
        gold=gold.name,
        gold_sha256=gold.sha256,
        refused=gold.refused,
        unknown_labels=_unknown_labels(card, gold),
        scores=scores,
        first_failure=next((p.error for p in predictions if p.error), None),
        latency=Latency(p50_ms=percentile(ms, 50), p95_ms=percentile(ms, 95), n=len(ms))
        if ms
        else None,
        baseline=None
        if baseline is None or others is None
        else _rival(baseline, gold, scores, predictions, others),
        bar=_bar(card, scores, min_score),
    )


def answerer(model: AnyModel) -> Answer:
    """The model's own classifier or extractor, as its card says."""
    if task_of(model.card) == "classify":
        return model.classifier()
    extractor = model.extractor()
    return lambda text: extractor(text, evidence=False)


def answer_rows(
    rows: Sequence[GoldRow],
    answer: Answer,
    progress: Progress = lambda _done, _failed, _all: None,
) -> tuple[list[Prediction], list[float]]:
    """A prediction for each row, and the milliseconds of those that were answered.

    What concerns one row alone, such as a text too long, is a prediction with an error.
    """
    predictions: list[Prediction] = []
    ms: list[float] = []
    failed = 0
    for row in rows:
        try:
            result = answer(row.input)
        except CancelledError:
            raise
        except (InputError, OutputError, ResourceError) as error:
            predictions.append(Prediction(error=str(error)))
            failed += 1
        else:
            predictions.append(_prediction(result))
            ms.append(result.timing.total_ms)
        progress(len(predictions), failed, len(rows))
    return predictions, ms


def _prediction(result: Extraction[Any] | Classification) -> Prediction:
    if isinstance(result, Classification):
        return Prediction(result.label, confidence=result.confidence)
    return Prediction(json.loads(result.json))


def _answers_of(baseline: Path, rows: Sequence[GoldRow], task: TaskKind) -> list[Prediction]:
    """What a baseline says to the rows, be it a model that answers them or a file of answers."""
    if baseline.suffix not in _MODEL_SUFFIXES:
        return read_baseline(baseline, rows)
    with load(baseline) as model:
        if task_of(model.card) != task:
            raise CardError(f"{baseline}: its card has another kind of task than the model's")
        return answer_rows(rows, answerer(model))[0]


def _rival(
    baseline: Path,
    gold: Gold,
    own: Scores,
    predictions: Sequence[Prediction],
    others: Sequence[Prediction],
) -> Rival:
    scores = score(own.task, gold.answers, others)
    linear = baseline.suffix == ".onnx" and read_onnx(baseline).kind == "linear"
    return Rival(
        name=baseline.name,
        missing=sum(p.error is not None for p in others),
        scores=scores,
        comparison=compare(own.task, gold.answers, others, predictions),
        advice=linear_advice(own, scores) if linear else None,
    )


def _unknown_labels(card: Card, gold: Gold) -> tuple[str, ...]:
    if not isinstance(card.task, ClassifyTask):
        return ()
    known = {label.name for label in card.task.labels}
    return tuple(sorted({str(row.answer) for row in gold.rows} - known))


def _bar(
    card: Card, scores: ExtractionScores | ClassificationScores, least: float | None
) -> Bar | None:
    if least is not None:
        return Bar(value=least, source="--min-score")
    for own in card.scores:
        if own.metric == scores.metric and own.interval is not None:
            source = f"the card's lower bound on {own.gold}"
            return Bar(value=own.interval[0], source=source)
    return None


# --- files of rows ------------------------------------------------------------


def read_gold(path: Path, task: TaskKind) -> Gold:
    """Read JSON lines ``{"input": …, "answer": …}``; also .gz, and ``text``, ``label``,
    ``expected`` for these keys. A line that is no row is refused, and the rest is read.

    Raises:
        InputError: the file cannot be read.
    """
    rows, refused = [], []
    for number, line in _lines(path):
        try:
            rows.append(_gold_row(_object(line), task))
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
    found: dict[tuple[str, str], Prediction] = {}
    for number, line in _lines(path):
        try:
            fields = _object(line)
            key = _key_of(fields)
            answer = _first(fields, _ANSWER_KEYS)
        except InputError as error:
            raise InputError(f"{path.name}, line {number}: {error}") from error
        if found.setdefault(key, Prediction(answer)).answer != answer:
            raise InputError(
                f"{path.name}, line {number}: a second, different answer to the same {key[0]}"
            )
    missing = Prediction(error="no prediction")
    predictions = [
        found.get(("id", row.id or ""), found.get(("input", row.input), missing)) for row in rows
    ]
    if all(p is missing for p in predictions):
        raise InputError(f'{path.name}: no "id" or "input" is one of the gold rows')
    return predictions


def _gold_row(fields: dict[str, Any], task: TaskKind) -> GoldRow:
    text = _first(fields, _INPUT_KEYS)
    answer = _first(fields, _ANSWER_KEYS)
    if not isinstance(text, str) or not text.strip():
        raise InputError('the "input" is not a text')
    if task == "classify" and not isinstance(answer, str):
        raise InputError('the "answer" is not the name of a label')
    return GoldRow(text, answer, str(fields["id"]) if "id" in fields else None)


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
        raise InputError(f"has more than {MAX_LINE_BYTES:,} bytes")
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be read: {error}") from error
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


def _no_rows(gold: Gold) -> str:
    why = f"; {gold.refused[0]}" if gold.refused else ""
    return f'{gold.name}: no rows {{"input": …, "answer": …}} to score{why}'
