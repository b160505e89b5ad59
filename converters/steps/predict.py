"""Answers of a model file under a card that is not final yet: what gates are judged by"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.data.rows import Row
from converters.recipe.recipe import Recipe
from edgeslm.evaluation.evaluate import answer_rows
from edgeslm.evaluation.gold import GoldRow, read_baseline
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import Card
from edgeslm.formats.files import Progress, silent
from edgeslm.formats.info import format_of
from edgeslm.models.ask import asker
from edgeslm.models.gguf import GgufModel
from edgeslm.models.model import Model


def open_with_card(path: Path, card: Card) -> Model:
    """The model of a .gguf or .onnx file, answering as it will when it carries this card.

    An .onnx file is given the card: it is not loaded without one.

    Raises:
        ModelFileError, ResourceError, MachineError: the file cannot be loaded.
    """
    if format_of(path) == "onnx":
        from converters.onnx.export import write_card
        from edgeslm.models.onnx import open_onnx

        write_card(path, card)
        return open_onnx(path, gpu=False)
    from edgeslm.engines.llama.engine import LlamaEngine

    return GgufModel(LlamaEngine(path), card)


def predict(
    path: Path,
    card: Card,
    rows: Sequence[Row],
    progress: Progress = silent,
) -> list[Prediction]:
    """The runtime's own answer to every row; one that cannot be given is a prediction with an
    error. A text is asked once, however often it comes; ``progress`` counts texts. Raises what
    `open_with_card` does."""
    with open_with_card(path, card) as model:
        return predictions(model, rows, progress)


def predictions(model: Model, rows: Sequence[Row], progress: Progress) -> list[Prediction]:
    """An open model's answer to every row, as `predict` gives it."""
    texts = {row.input: row for row in rows}
    gold = [GoldRow(row.input, row.answer, row.id) for row in texts.values()]
    said, _ = answer_rows(gold, asker(model, evidence=False), progress)
    of_text = dict(zip(texts, said, strict=True))
    return [of_text[row.input] for row in rows]


def references(recipe: Recipe, folder: Path, rows: Sequence[Row]) -> dict[str, list[Prediction]]:
    """The answers of other systems that the recipe names, to these rows.

    Raises:
        InputError: a file cannot be read, or has no answer to any of the rows.
    """
    gold = [GoldRow(row.input, row.answer, row.id) for row in rows]
    return {
        name: read_baseline(folder / path, gold) for name, path in recipe.data.references.items()
    }
