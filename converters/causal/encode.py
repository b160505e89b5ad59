"""Rows become token ids: the runtime's own prompt, then the answer as the runtime spells it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from converters.data.rows import Row
from converters.errors import DataError
from edgeslm.decoding.prompt import Prompt, Tokenizer, compile_prompt
from edgeslm.formats.card import ClassifyTask, PromptSpec, Style, TagTask, Task


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one row. ``tokens[start:]`` are the answer and the end token.

    The logits that matter are those of positions ``start - 1`` to ``len(tokens) - 2``. The row
    counts for ``weight`` in a loss.
    """

    id: str
    tokens: tuple[int, ...]
    start: int
    weight: float = 1.0

    @property
    def answer(self) -> tuple[int, ...]:
        return self.tokens[self.start :]


def target_text(task: Task, answer: Any) -> str:
    """What the model must write for an answer: a label's verbalizer, or compact JSON."""
    if isinstance(task, ClassifyTask):
        return next(label.text for label in task.labels if label.name == answer)
    assert not isinstance(task, TagTask)  # a language model writes no heads
    return json.dumps(answer, ensure_ascii=False, separators=_separators(task.style))


def label_answers(task: ClassifyTask, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Every label's answer as the model must write it: its verbalizer, and the end token."""
    return [_answer(label.text, tokenizer) for label in task.labels]


def encode_rows(
    rows: Sequence[Row], task: Task, prompt: PromptSpec, tokenizer: Tokenizer, *, max_tokens: int
) -> list[Encoded]:
    """Encode rows for training and scoring, exactly as inference does.

    Raises:
        DataError: a row is longer than ``max_tokens``; names it.
    """
    compiled = compile_prompt(prompt, tokenizer)
    return [_encode(row, task, compiled, tokenizer, max_tokens) for row in rows]


def _encode(row: Row, task: Task, prompt: Prompt, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    text = tokenizer.tokenize(row.input)
    start = prompt.overhead() + len(text)
    answer = _answer(target_text(task, row.answer), tokenizer)
    tokens = (*prompt.prefix, *text, *prompt.suffix, *answer)
    if len(tokens) > max_tokens:
        raise DataError(
            f"row {row.id}: {len(tokens)} tokens, over the {max_tokens} of train.max_tokens; "
            "raise it, or shorten or drop the row"
        )
    return Encoded(row.id, tokens, start, row.weight)


def _answer(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    return (*tokenizer.tokenize(text), tokenizer.vocab.end[0])


def _separators(style: Style) -> tuple[str, str]:
    return style.item_separator, style.key_separator
