"""Heads of an encoder in training: rows become targets, logits become losses and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from converters.data.rows import Row
from converters.errors import DataError, RecipeError
from edgeslm.formats.card import ClassifyTask, TagTask, Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

#: what a rare label of a multi-label head weighs at most, against the rows without it
_MAX_WEIGHT = 100.0
#: the probability from which a label of a multi-label head counts as given
_GIVEN = 0.5


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One label set: its labels in the order of their logits, and whether several may hold."""

    name: str
    labels: tuple[str, ...]
    multi_label: bool = False


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A row's token ids, special tokens included, and for each head the labels that hold.

    The loss counts it for ``weight``; the mean over training rows is 1.
    """

    id: str
    tokens: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class HeadScores:
    """``metric``: the heads' mean of accuracy, or of macro-F1 for a multi-label one. ``exact``:
    the share of rows whose every head is right. ``loss``: the mean over rows."""

    metric: float
    exact: float
    loss: float


def heads_of(task: Task) -> tuple[HeadSpec, ...]:
    """The heads that a task asks for; a classify task has one without a name.

    Raises:
        RecipeError: the task is not answered by labels.
    """
    if isinstance(task, ClassifyTask):
        return (HeadSpec("", tuple(label.name for label in task.labels)),)
    if isinstance(task, TagTask):
        return tuple(
            HeadSpec(head.name, tuple(label.name for label in head.labels), head.multi_label)
            for head in task.heads
        )
    raise RecipeError(f"an encoder takes a classify or a tag task, not {task.kind}")


def encode_texts(
    rows: Sequence[Row], heads: Sequence[HeadSpec], tokenizer: Tokenizer, *, max_tokens: int
) -> list[EncodedText]:
    """Encode rows as the runtime does.

    Raises:
        DataError: a row is longer than ``max_tokens``, or its answer does not fit the heads;
            names it.
    """
    indices = [{label: at for at, label in enumerate(head.labels)} for head in heads]
    encodings = tokenizer.encode_batch([row.input for row in rows])
    encoded = []
    for row, encoding in zip(rows, encodings, strict=True):
        if len(encoding.ids) > max_tokens:
            raise DataError(
                f"row {row.id}: {len(encoding.ids)} tokens, over the {max_tokens} of "
                "encoder.max_tokens; raise it, or shorten or drop the row"
            )
        answers = tuple(
            _targets(row, head, index) for head, index in zip(heads, indices, strict=True)
        )
        encoded.append(EncodedText(row.id, tuple(encoding.ids), answers, row.weight))
    return encoded


def _targets(row: Row, head: HeadSpec, index: dict[str, int]) -> tuple[int, ...]:
    answer: Any = row.answer
    if head.name:
        answer = answer.get(head.name) if isinstance(answer, dict) else None
    labels = answer if head.multi_label and isinstance(answer, list) else [answer]
    try:
        return tuple(sorted({index[label] for label in labels}))
    except (KeyError, TypeError) as error:
        place = f"head {head.name!r}" if head.name else "the task"
        raise DataError(
            f"row {row.id}: {answer!r} is no answer for {place}; run the data step again"
        ) from error


class HeadLosses:
    """The loss of a batch: cross-entropy for a head of one label, binary for a multi-label one.

    Heads count alike, and a row for its own weight. ``class_weights`` weigh labels against their
    frequency in ``rows``, which counts rows by their weights, too.
    """

    def __init__(
        self,
        heads: Sequence[HeadSpec],
        rows: Sequence[EncodedText],
        *,
        label_smoothing: float,
        class_weights: bool,
        device: str,
    ) -> None:
        self._heads, self._smoothing = heads, label_smoothing
        self._weights: list[Tensor | None] = [None] * len(heads)
        if class_weights:
            self._weights = [
                _weights(head, [(row.answers[at], row.weight) for row in rows]).to(device)
                for at, head in enumerate(heads)
            ]

    def __call__(self, logits: Tensor, batch: Sequence[EncodedText]) -> Tensor:
        """The mean over rows and heads of float32 [batch, labels of all heads], a scalar."""
        import torch

        rows = torch.tensor([row.weight for row in batch], device=logits.device)
        losses = []
        for at, (head, part) in enumerate(
            zip(self._heads, split(logits, self._heads), strict=True)
        ):
            answers = [row.answers[at] for row in batch]
            one = self._of_labels if head.multi_label else self._of_label
            losses.append(one(part, answers, rows, self._weights[at]))
        return torch.stack(losses).mean()

    def _of_labels(
        self,
        logits: Tensor,
        answers: Sequence[tuple[int, ...]],
        rows: Tensor,
        weights: Tensor | None,
    ) -> Tensor:
        import torch

        wanted = _indicators(answers, logits.shape[1]).to(logits.device)
        smoothed = wanted * (1 - self._smoothing) + self._smoothing / 2
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, smoothed, pos_weight=weights, reduction="none"
        )
        return (each.mean(1) * rows).mean()

    def _of_label(
        self,
        logits: Tensor,
        answers: Sequence[tuple[int, ...]],
        rows: Tensor,
        weights: Tensor | None,
    ) -> Tensor:
        """Divided by the rows, not by their weights: so a batch of heavy rows moves more, and
        all batches together move as the weighted mean over all rows."""
        import torch

        labels = torch.tensor([labels[0] for labels in answers], device=logits.device)
        each = torch.nn.functional.cross_entropy(
            logits, labels, weight=weights, label_smoothing=self._smoothing, reduction="none"
        )
        share = len(answers) if weights is None else weights[labels].sum()
        return (each * rows).sum() / share


def split(logits: Tensor, heads: Sequence[HeadSpec]) -> tuple[Tensor, ...]:
    """The columns of each head."""
    import torch

    parts: tuple[Tensor, ...] = torch.split_with_sizes(
        logits, [len(head.labels) for head in heads], dim=1
    )
    return parts


def score_heads(
    heads: Sequence[HeadSpec], rows: Sequence[EncodedText], logits: Tensor, loss: float
) -> HeadScores:
    """Score float32 logits [rows, labels of all heads] against the rows' answers."""
    metrics, right = [], [True] * len(rows)
    for at, (head, part) in enumerate(zip(heads, split(logits, heads), strict=True)):
        wanted = [row.answers[at] for row in rows]
        given = _given(head, part)
        same = [a == b for a, b in zip(wanted, given, strict=True)]
        metrics.append(macro_f1(wanted, given) if head.multi_label else sum(same) / len(same))
        right = [a and b for a, b in zip(right, same, strict=True)]
    return HeadScores(sum(metrics) / len(metrics), sum(right) / len(right), loss)


def _given(head: HeadSpec, logits: Tensor) -> list[tuple[int, ...]]:
    if not head.multi_label:
        return [(label,) for label in logits.argmax(1).tolist()]
    shares = logits.sigmoid().tolist()
    return [tuple(at for at, share in enumerate(row) if share >= _GIVEN) for row in shares]


def macro_f1(wanted: Iterable[Sequence[int]], given: Iterable[Sequence[int]]) -> float:
    """The mean F1 of the labels that are wanted or given anywhere; 1 where none is."""
    right: Counter[int] = Counter()
    counted: Counter[int] = Counter()
    for truth, said in zip(wanted, given, strict=True):
        right.update(set(truth) & set(said))
        counted.update(truth)
        counted.update(said)
    if not counted:
        return 1.0
    return sum(2 * right[label] / counted[label] for label in counted) / len(counted)


def _weights(head: HeadSpec, answers: Sequence[tuple[tuple[int, ...], float]]) -> Tensor:
    """float32 [labels] from each row's labels and weight: balanced, so that all labels weigh the
    same in sum."""
    import torch

    counts = [0.0] * len(head.labels)
    for labels, weight in answers:
        for label in labels:
            counts[label] += weight
    rows = sum(weight for _, weight in answers)
    if head.multi_label:
        return torch.tensor([min(_MAX_WEIGHT, (rows - count) / (count or 1.0)) for count in counts])
    given = sum(count > 0 for count in counts)
    return torch.tensor([rows / (given * (count or 1.0)) for count in counts])


def _indicators(answers: Sequence[tuple[int, ...]], labels: int) -> Tensor:
    """float32 [rows, labels]: 1 where a label holds."""
    import torch

    wanted = torch.zeros(len(answers), labels)
    for row, held in enumerate(answers):
        wanted[row, list(held)] = 1
    return wanted
