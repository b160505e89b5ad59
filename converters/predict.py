"""Answers of a model file under a card that is not final yet: what gates are judged by"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.recipe import Recipe
from converters.rows import Row
from edgeslm.answers import Prediction
from edgeslm.card import Card
from edgeslm.errors import InputError
from edgeslm.evaluate import GoldRow, Progress, answer_rows, answerer, read_baseline
from edgeslm.model import AnyModel, Model, is_onnx
from edgeslm.result import Classification, Labels


def open_with_card(path: Path, card: Card) -> AnyModel:
    """The model of a .gguf or .onnx file, answering as it will when it carries this card.

    An .onnx file is given the card: it is not loaded without one.

    Raises:
        ModelFileError, ResourceError, MachineError: the file cannot be loaded.
    """
    if is_onnx(path):
        from converters.encoder_export import write_card
        from edgeslm.onnx_model import open_onnx

        write_card(path, card)
        return open_onnx(path, gpu=False)
    from edgeslm.engines.llama import LlamaEngine

    return Model(LlamaEngine(path), card)


def predict(
    path: Path,
    card: Card,
    rows: Sequence[Row],
    progress: Progress = lambda _done, _failed, _all: None,
) -> list[Prediction]:
    """The runtime's own answer to every row; one that cannot be given is a prediction with an
    error. Raises what `open_with_card` does."""
    with open_with_card(path, card) as model:
        if card.task.kind == "tag":
            return _tagged(model, rows, progress)
        gold = [GoldRow(row.input, row.answer, row.id) for row in rows]
        return answer_rows(gold, answerer(model), progress)[0]


def _tagged(model: AnyModel, rows: Sequence[Row], progress: Progress) -> list[Prediction]:
    """A record of each row: by head its label, or its labels."""
    tag = model.tagger()
    found: list[Prediction] = []
    failed = 0
    for row in rows:
        try:
            answer = tag(row.input)
        except InputError as error:
            found.append(Prediction(error=str(error)))
            failed += 1
        else:
            found.append(Prediction({name: _said(one) for name, one in answer.heads.items()}))
        progress(len(found), failed, len(rows))
    return found


def _said(answer: Classification | Labels) -> str | list[str]:
    """What one head of a tagger answers, as a value."""
    return answer.label if isinstance(answer, Classification) else list(answer.labels)


def references(recipe: Recipe, folder: Path, rows: Sequence[Row]) -> dict[str, list[Prediction]]:
    """The answers of other systems that the recipe names, to these rows.

    Raises:
        InputError: a file cannot be read, or has no answer to any of the rows.
    """
    gold = [GoldRow(row.input, row.answer, row.id) for row in rows]
    return {
        name: read_baseline(folder / path, gold) for name, path in recipe.data.references.items()
    }
