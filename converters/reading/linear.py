"""The linear reader as a baseline: trained on rows in memory, without checkpoints."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Final

from converters.data.augment import augmented
from converters.data.rows import Row
from converters.errors import require
from converters.reading.documents import Documents
from converters.reading.spec import reader_spec
from converters.recipe.recipe import Recipe
from edgeslm.tasks.reading.record import read_record, to_json

#: as in the recipes of linear readers
_EPOCHS: Final = 10
_BATCH: Final = 8
_RATE: Final = 0.03


def read_linearly(recipe: Recipe, rows: Sequence[Row], texts: Sequence[str]) -> list[Any]:
    """What a linear reader that learned from ``rows``, and their augmentation, reads in texts.

    Raises:
        RecipeError: the task's schema has a place that no reader can answer.
        MissingExtraError: torch is not installed.
    """
    require("torch")
    import torch

    from converters.reading.model import ReaderModel, finished_spec, reader_loss

    spec = reader_spec(recipe)
    documents = Documents(spec)
    torch.manual_seed(recipe.train.seed)
    chance = random.Random(recipe.train.seed)
    model = ReaderModel(spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
    for epoch in range(_EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - epoch / _EPOCHS)
        drawn = documents(augmented(rows, recipe.data, seed=f"{recipe.train.seed} {epoch}"))
        chance.shuffle(drawn)
        for at in range(0, len(drawn), _BATCH):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(reader_loss(model, drawn[at : at + _BATCH]))
            optimizer.step()
    learned, answers = finished_spec(model), []
    with torch.no_grad():
        for document in documents([Row(str(at), text, None) for at, text in enumerate(texts)]):
            readings = read_record(document.layout, model([document])[0].numpy(), learned)
            answers.append(json.loads(to_json(readings)))
    return answers
