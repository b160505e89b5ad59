"""The train step of a reader: features, and perhaps an encoder, learn which units are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converters.data.augment import augmented
from converters.data.rows import Row
from converters.errors import BaseModelError, DataError, require
from converters.reading.align import letters, value_at, wanted_json
from converters.reading.documents import Document, Documents
from converters.reading.spec import reader_spec
from converters.recipe.recipe import Recipe
from converters.training.checkpoint import Checkpoint
from converters.training.history import Evaluation, History
from converters.training.loop import Report, TrainingRun, best_dtype
from edgeslm.errors import CardError
from edgeslm.formats.files import Progress, silent
from edgeslm.formats.onnx.reader_spec import ReaderSpec
from edgeslm.tasks.reading.record import Reading, read_record

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from converters.reading.model import ReaderModel

#: the folder of the best model in a training's folder, and its files
MODEL: Final = "model"
WEIGHTS: Final = "model.safetensors"
SPEC: Final = "reader.json"
_EVALUATE_ROWS: Final = 8
_LAYER: Final = ".layer."


def train_reader(
    recipe: Recipe,
    base: Path | None,
    rows: Sequence[Row],
    development: Sequence[Row],
    *,
    out: Path,
    report: Report = lambda _: None,
    progress: Progress = silent,
) -> History:
    """Train a reader and leave the best one in ``out/model`` (see `load_reader`).

    ``base`` None is the linear reader. In the history's evaluations, ``tokens`` is the share of
    fields that are right and ``answers`` that of whole records, letters and digits compared. A run
    that was killed goes on from its last checkpoint, and ends as it would have ended.

    Raises:
        BaseModelError: the base cannot be loaded.
        RecipeError: the task is none for a reader, or the loss is no number any more.
        DataError: there are no rows to train on, or none to score.
        MissingExtraError: torch, or for an encoder transformers, are not installed.
    """
    require("torch", "safetensors", *(("transformers", "tokenizers") if base else ()))
    for part, given in (("training", rows), ("development", development)):
        if not given:
            raise DataError(f"no {part} rows for the reader; give more data, or change data.split")
    return _Run(recipe, base, rows, development, out=out, progress=progress).go(report)


class _Run(TrainingRun[Document]):
    def __init__(
        self,
        recipe: Recipe,
        base: Path | None,
        rows: Sequence[Row],
        development: Sequence[Row],
        *,
        out: Path,
        progress: Progress,
    ) -> None:
        import torch

        from converters.encoder.model import load_backbone, load_tokenizer
        from converters.reading.model import ReaderModel

        torch.manual_seed(recipe.train.seed)
        self._recipe, self._rows, self._held_out = recipe, rows, development
        self._spec = reader_spec(recipe)
        self._tokenizer = None if base is None else load_tokenizer(base)
        self._documents = Documents(
            self._spec, self._tokenizer, max_tokens=recipe.encoder.max_tokens
        )
        progress("laying out texts", 0, None)
        self._development = self._documents(development)
        dropout = recipe.encoder.dropout
        backbone = None if base is None else load_backbone(base, dropout=dropout)
        self._reader = ReaderModel(self._spec, backbone, dropout=dropout)
        groups = _groups(self._reader, recipe)
        optimizer = torch.optim.AdamW(groups, lr=recipe.train.learning_rate)
        checkpoint = Checkpoint(
            out, self._reader, optimizer, write=self._write, best=MODEL, weights=WEIGHTS
        )
        self._dtype = best_dtype("cpu")  # a reader is trained on the processor
        super().__init__(recipe.train, self._reader, optimizer, checkpoint, rows=len(rows))

    def _write(self, folder: Path) -> None:
        save_reader(self._reader, self._tokenizer, folder)

    def _epoch(self, seed: str) -> Sequence[Document]:
        return self._documents(augmented(self._rows, self._recipe.data, seed=seed))

    def _loss(self, step: int, batch: list[Document]) -> Tensor:
        import torch

        from converters.reading.model import reader_loss

        with torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
            return reader_loss(self._reader, batch)

    def _evaluate(self, step: int) -> Evaluation:
        import torch

        from converters.reading.model import finished_spec, reader_loss

        self._reader.eval()
        spec, losses, said = finished_spec(self._reader), [], []
        with torch.no_grad():
            for at in range(0, len(self._development), _EVALUATE_ROWS):
                part = self._development[at : at + _EVALUATE_ROWS]
                losses.append(float(reader_loss(self._reader, part)) * len(part))
                said += [
                    read_record(document.layout, scores.numpy(), spec)
                    for document, scores in zip(part, self._reader(part), strict=True)
                ]
        right = [
            [is_right(reading, row.answer) for reading in readings]
            for readings, row in zip(said, self._held_out, strict=True)
        ]
        fields = [one for row in right for one in row]
        return Evaluation(
            step=step,
            loss=sum(losses) / len(right),
            tokens=sum(fields) / len(fields),
            answers=sum(map(all, right)) / len(right),
            count=len(fields),
        )


def is_right(reading: Reading, answer: Any) -> bool:
    """Whether a field is read as the answer has it: of texts letters and digits count."""
    wanted = value_at(answer, reading.field)
    if reading.field.read in ("text", "code"):
        said = json.loads(reading.json)
        return letters(said or "") == letters(str(wanted or ""))
    return reading.json == wanted_json(reading.field, wanted)


def _groups(model: ReaderModel, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups: an encoder's layers, its head, and the weights of features and tags."""
    decay, rate = recipe.train.weight_decay, recipe.train.learning_rate
    depth = 0 if model.backbone is None else model.backbone.config.num_hidden_layers
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("backbone.") and _LAYER not in name and not recipe.encoder.embeddings:
            parameter.requires_grad_(False)
            continue
        share = recipe.reader.feature_rate / rate
        if name.startswith("backbone."):
            layer = int(name.partition(_LAYER)[2].partition(".")[0]) if _LAYER in name else -1
            share = recipe.encoder.layer_decay ** (depth - 1 - layer)
        elif name == "head.weight":
            share = recipe.encoder.head_rate
        groups.setdefault((share, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [
        {"params": parameters, "rate": share, "weight_decay": decayed}
        for (share, decayed), parameters in groups.items()
    ]


# --- files --------------------------------------------------------------------


def save_reader(model: ReaderModel, tokenizer: Tokenizer | None, folder: Path) -> None:
    """Write weights and spec, and of an encoder its configuration and tokenizer."""
    from safetensors.torch import save_file

    from converters.encoder.model import CONFIG, TOKENIZER
    from converters.reading.model import finished_spec

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / SPEC).write_text(finished_spec(model).to_json(), encoding="utf-8")
    if model.backbone is not None and tokenizer is not None:
        model.backbone.config.to_json_file(folder / CONFIG)
        tokenizer.save(str(folder / TOKENIZER), pretty=False)


def load_reader(folder: Path) -> tuple[ReaderModel, Tokenizer | None]:
    """The trained reader of a folder in evaluation mode, and an encoder's tokenizer.

    Raises:
        BaseModelError: a file is missing or damaged, or they do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from converters.encoder.model import CONFIG, fresh_backbone, load_tokenizer
    from converters.reading.model import ReaderModel

    encodes = (folder / CONFIG).exists()
    try:
        text = (folder / SPEC).read_text(encoding="utf-8")
        spec = ReaderSpec.from_json(text, where=str(folder / SPEC))
        model = ReaderModel(spec, fresh_backbone(folder, 0.0) if encodes else None)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, CardError
    ) as error:  # fmt: skip
        raise BaseModelError(f"{folder}: no trained reader: {error}; train it again") from error
    return model.eval(), load_tokenizer(folder) if encodes else None


def torch_readings(
    model: ReaderModel, tokenizer: Tokenizer | None, texts: Sequence[str], max_tokens: int
) -> list[list[Reading]]:
    """What torch reads in texts, one by one in float32."""
    import torch

    documents = Documents(model.spec, tokenizer, max_tokens=max_tokens)
    rows = [Row(str(at), text, None) for at, text in enumerate(texts)]
    with torch.no_grad():
        return [
            read_record(document.layout, model([document])[0].numpy(), model.spec)
            for document in documents(rows)
        ]
