"""Answers of a GGUF under a card that is not written into it yet: what gates are judged by"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.rows import Row
from edgeslm.answers import Prediction
from edgeslm.card import Card
from edgeslm.evaluate import GoldRow, Progress, answer_rows, answerer
from edgeslm.model import Model


def open_with_card(gguf: Path, card: Card) -> Model:
    """The model of a file, answering as it will when it carries this card.

    Raises:
        ModelFileError, ResourceError, MachineError: the file cannot be loaded.
    """
    from edgeslm.engines.llama import LlamaEngine

    return Model(LlamaEngine(gguf), card)


def predict(
    gguf: Path,
    card: Card,
    rows: Sequence[Row],
    progress: Progress = lambda _done, _failed, _all: None,
) -> list[Prediction]:
    """The runtime's own answer to every row; one that cannot be given is a prediction with an
    error. Raises what `open_with_card` does."""
    with open_with_card(gguf, card) as model:
        gold = [GoldRow(row.input, row.answer, row.id) for row in rows]
        return answer_rows(gold, answerer(model), progress)[0]
