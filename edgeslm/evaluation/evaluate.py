"""Runs a model over gold rows and scores what it answers, against a bar and a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field

from edgeslm.arguments import choice
from edgeslm.errors import CancelledError, CardError, InputError, OutputError, ResourceError
from edgeslm.evaluation.gold import Expected, Gold, GoldKind, GoldRow, Shape, read_baseline
from edgeslm.evaluation.intervals import percentile
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import (
    ClassificationScores,
    Comparison,
    ExtractionScores,
    FoldedScores,
    Scored,
    compare,
    fold_scores,
    linear_advice,
    score,
)
from edgeslm.evaluation.scoring_tags import TagScores, compare_tags, score_tags
from edgeslm.formats.card import Card, ClassifyTask, ExtractTask, GenerateTask, Head, TagTask
from edgeslm.formats.files import Progress, silent
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.formats.text import FOLDS, Fold
from edgeslm.models.ask import Ask, Result, asker
from edgeslm.models.load import load
from edgeslm.models.model import Model
from edgeslm.results import Classification
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.extraction.grounding import field_names, value_types

#: endings of files that are models; any other is a file of answers
_MODEL_SUFFIXES = (".onnx", ".gguf")

Scores = Annotated[ExtractionScores | ClassificationScores | TagScores, Field(discriminator="task")]


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
    scores: Scores
    comparison: Comparison
    advice: str | None = None


class Report(_Frozen):
    """What `edgeslm eval` found. ``refused`` lines are not scored; rows whose answer failed are.

    ``unknown_labels`` are gold labels that the model cannot give, so their rows are wrong;
    ``known_by_heart`` is how many rows have a text that the file remembers the labels of.
    ``fold`` is how texts were compared, and ``folds`` what the scores are in each way; for labels
    there is none.
    """

    model: str
    gold: str
    gold_sha256: str
    refused: tuple[str, ...]
    unknown_labels: tuple[str, ...]
    known_by_heart: int
    fold: Fold | None
    scores: Scores
    folds: dict[Fold, FoldedScores]
    first_failure: str | None
    latency: Latency | None
    baseline: Rival | None
    bar: Bar | None

    @property
    def passed(self) -> bool:
        """Whether the task's metric reaches the bar; True where there is none."""
        return self.bar is None or self.scores.main.value >= self.bar.value


def task_of(card: Card | None) -> GoldKind:
    """How answers under this card are scored; raises CardError where there is no card."""
    if card is None:
        raise CardError(
            "this model has no card, so it has no task to score; write one into it with "
            "`edgeslm pack`"
        )
    if isinstance(card.task, TagTask):
        return "tag"
    return "classify" if isinstance(card.task, ClassifyTask) else "extract"


def heads_of(card: Card | None) -> tuple[Head, ...]:
    """The label sets of a tagger's card; of another there are none."""
    return card.task.heads if card is not None and isinstance(card.task, TagTask) else ()


def expected_of(card: Card | None) -> Expected | None:
    """What an answer can be under a card that extracts; None for others."""
    task = None if card is None else card.task
    if not isinstance(task, ExtractTask | GenerateTask):
        return None
    schema = compile_schema(task.json_schema)
    shapes: dict[str, Shape] = {"object": "object", "array": "list"}
    known = frozenset(shapes.get(kind, "single value") for kind in value_types(schema))
    return Expected(known, tuple(field_names(schema)))


def evaluate(
    model: Model,
    gold: Gold,
    *,
    baseline: Path | None = None,
    min_score: float | None = None,
    fold: Fold | None = None,
    answer: Ask | None = None,
    progress: Progress = silent,
) -> Report:
    """Answer every row of ``gold`` under the model's card, and score the answers.

    Args:
        baseline: another model's file (.onnx or .gguf), which answers the same rows, or
            predictions of another system on them, as `read_baseline` reads.
        min_score: the bar, 0 to 1; default is the lower end of the interval that the card's
            own score with the same ``fold`` has.
        fold: how texts that are extracted are compared (see `normal`); default is "case". Labels
            are compared as they are.
        answer: default is the model's own extractor, classifier or tagger.

    Raises:
        CardError: the model has no card. InputError: no rows, an unreadable baseline, or a
            ``fold`` for labels.
    """
    own_fold = _fold_of(task_of(model.card), fold)
    card = cast(Card, model.card)
    if not gold.rows:
        raise InputError(_no_rows(gold))
    others = None if baseline is None else _answers_of(baseline, gold.rows, card)
    predictions, ms = answer_rows(gold.rows, answer or asker(model, evidence=False), progress)
    compared: Fold = own_fold or "case"
    scores = score_answers(card, gold.answers, predictions, fold=compared)
    return Report(
        model=f"{card.name} {card.version}",
        gold=gold.name,
        gold_sha256=gold.sha256,
        refused=gold.refused,
        unknown_labels=_unknown_labels(card, gold),
        known_by_heart=_known_by_heart(model, gold.rows),
        fold=own_fold,
        scores=scores,
        folds={} if own_fold is None else fold_scores(gold.answers, predictions),
        first_failure=next((p.error for p in predictions if p.error), None),
        latency=Latency(p50_ms=percentile(ms, 50), p95_ms=percentile(ms, 95), n=len(ms))
        if ms
        else None,
        baseline=None
        if baseline is None or others is None
        else _rival(card, baseline, gold, predictions, others, fold=compared),
        bar=_bar(card, scores, min_score, compared),
    )


def _fold_of(task: GoldKind, fold: Fold | None) -> Fold | None:
    """How texts are compared; None where answers are labels."""
    if fold is not None:
        choice("fold", fold, FOLDS)
    if task == "extract":
        return fold or "case"
    if fold is not None:
        raise InputError(
            f"fold {fold!r} is for values that are extracted, but this model answers with labels, "
            "which are compared as they are; leave it out"
        )
    return None


def _known_by_heart(model: Model, rows: Sequence[GoldRow]) -> int:
    return sum(model.knows(row.input) for row in rows)


def answer_rows(
    rows: Sequence[GoldRow],
    answer: Ask,
    progress: Progress = silent,
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
        words = f"{len(predictions) - failed:,} answered" + (
            f", {failed:,} failed" if failed else ""
        )
        progress(words, len(predictions), len(rows))
    return predictions, ms


def score_answers(
    card: Card, gold: Sequence[Any], predictions: Sequence[Prediction], *, fold: Fold = "case"
) -> ExtractionScores | ClassificationScores | TagScores:
    """Score predictions as the card's task asks, one for each gold answer; ``fold`` as for `score`.

    Raises:
        ValueError: no rows, or not one prediction for each.
    """
    task = task_of(card)
    if task == "tag":
        return score_tags(heads_of(card), gold, predictions)
    return score(task, gold, predictions, fold=fold)


def _prediction(result: Result) -> Prediction:
    sure = result.confidence if isinstance(result, Classification) else None
    return Prediction(result.plain(), confidence=sure)


def _answers_of(baseline: Path, rows: Sequence[GoldRow], card: Card) -> list[Prediction]:
    """What a baseline says to the rows, be it a model that answers them or a file of answers."""
    if baseline.suffix not in _MODEL_SUFFIXES:
        return read_baseline(baseline, rows)
    with load(baseline) as model:
        if task_of(model.card) != task_of(card):
            raise CardError(
                f"{baseline}: its card has another kind of task than the model's; give "
                "a model of the same task, or a file of answers to the rows"
            )
        return answer_rows(rows, asker(model, evidence=False))[0]


def _compare(
    card: Card, gold: Gold, first: Sequence[Prediction], second: Sequence[Prediction], fold: Fold
) -> Comparison:
    task = task_of(card)
    if task == "tag":
        return compare_tags(heads_of(card), gold.answers, first, second)
    return compare(task, gold.answers, first, second, fold=fold)


def _rival(
    card: Card,
    baseline: Path,
    gold: Gold,
    predictions: Sequence[Prediction],
    others: Sequence[Prediction],
    *,
    fold: Fold,
) -> Rival:
    own, scores = (
        score_answers(card, gold.answers, answers, fold=fold) for answers in (predictions, others)
    )
    linear = baseline.suffix == ".onnx" and read_onnx(baseline).kind == "linear"
    return Rival(
        name=baseline.name,
        missing=sum(p.error is not None for p in others),
        scores=scores,
        comparison=_compare(card, gold, others, predictions, fold),
        advice=linear_advice(own, scores) if linear else None,
    )


def _unknown_labels(card: Card, gold: Gold) -> tuple[str, ...]:
    if isinstance(card.task, ClassifyTask):
        known = {label.name for label in card.task.labels}
        return tuple(sorted({str(row.answer) for row in gold.rows} - known))
    known = {_spelled(head.name, label.name) for head in heads_of(card) for label in head.labels}
    given = {
        _spelled(head.name, name)
        for row in gold.rows
        for head in heads_of(card)
        for name in _names(row.answer[head.name])
    }
    return tuple(sorted(given - known))


def _spelled(head: str, label: str) -> str:
    return f"{head}: {label}"


def _names(answer: str | list[str]) -> list[str]:
    return [answer] if isinstance(answer, str) else answer


def _bar(card: Card, scores: Scored, least: float | None, fold: Fold) -> Bar | None:
    if least is not None:
        return Bar(value=least, source="--min-score")
    own = card.promised(scores.metric, fold)
    if own is None or own.interval is None:
        return None
    return Bar(value=own.interval[0], source=f"the card's lower bound on {own.gold}")


def _no_rows(gold: Gold) -> str:
    why = f"; {gold.refused[0]}" if gold.refused else ""
    return f'{gold.name}: no rows {{"input": …, "answer": …}} to score{why}'
