"""The train step of an encoder: all weights or LoRA factors, and heads, by the rows' labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.data.augment import augmented
from converters.data.rows import Row
from converters.encoder.heads import (
    EncodedText,
    HeadLosses,
    encode_texts,
    heads_of,
    score_heads,
)
from converters.encoder.linear_probe import fit_head
from converters.errors import RecipeError, require
from converters.recipe.recipe import Recipe
from converters.training.checkpoint import Checkpoint
from converters.training.history import Evaluation, History
from converters.training.loop import Report, TrainingRun, best_device
from edgeslm.formats.files import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from converters.encoder.model import EncoderModel

#: the folder of the best model in a training's folder
MODEL = "model"
_LAYER = re.compile(r"\.layer\.(\d+)\.")
_EVALUATE_ROWS = 64


def train_encoder(
    recipe: Recipe,
    base: Path,
    rows: Sequence[Row],
    development: Sequence[Row],
    *,
    out: Path,
    report: Report = lambda _: None,
    progress: Progress = silent,
) -> History:
    """Train an encoder and leave the best one in ``out/model`` (see `load_encoder`).

    Answers of rows are a label, or for a tag task a dict of head to label or labels. In the
    history's evaluations, ``tokens`` is the heads' mean accuracy (macro-F1 where several labels
    may hold) and ``answers`` the share of rows that are right as a whole. A run that was killed
    goes on from its last checkpoint in ``out``, and ends as it would have ended. Reproducible
    for a seed, a machine and a number of threads.

    Raises:
        BaseModelError: the base cannot be loaded.
        DataError: a row is longer than encoder.max_tokens, or its answer fits no head.
        RecipeError: the base cannot do what the recipe asks for, or the loss is no number any
            more.
        MissingExtraError: torch, transformers, for LoRA peft or for encoder.probe scikit-learn are
            not installed.
    """
    require("torch", "transformers", "tokenizers")
    return _Run(recipe, base, rows, development, out=out, progress=progress).go(report)


class _Run(TrainingRun[EncodedText]):
    def __init__(
        self,
        recipe: Recipe,
        base: Path,
        rows: Sequence[Row],
        development: Sequence[Row],
        *,
        out: Path,
        progress: Progress = silent,
    ) -> None:
        import torch

        from converters.encoder.model import (
            WEIGHTS,
            EncoderModel,
            load_backbone,
            load_tokenizer,
        )
        from converters.encoder.quantization_aware import round_layers

        torch.manual_seed(recipe.train.seed)
        self._recipe, self._rows, self._progress = recipe, rows, progress
        self._heads = heads_of(recipe.task)
        self._tokenizer = load_tokenizer(base)
        self._plain = self._encode(rows)
        self._development = self._encode(development)
        backbone = load_backbone(base, dropout=recipe.encoder.dropout)
        _check_length(recipe, backbone)
        self._device = best_device()
        model = EncoderModel(backbone, self._heads)
        _choose_trained(model, recipe)
        if recipe.train.quantization_aware:
            round_layers(backbone, embedding_bits=recipe.encoder.embedding_bits)
        self._encoder = model.to(self._device)
        self._losses = HeadLosses(
            self._heads,
            self._plain,
            label_smoothing=recipe.encoder.label_smoothing,
            class_weights=recipe.encoder.class_weights,
            device=self._device,
        )
        optimizer = torch.optim.AdamW(
            parameter_groups(self._encoder, recipe),
            lr=recipe.train.learning_rate,
            fused=self._device == "cpu",
        )
        checkpoint = Checkpoint(
            out, self._encoder, optimizer, write=self._write, best=MODEL, weights=WEIGHTS
        )
        super().__init__(recipe.train, self._encoder, optimizer, checkpoint, rows=len(rows))

    def _write(self, folder: Path) -> None:
        from converters.encoder.model import TOKENIZER

        self._encoder.save_pretrained(folder)
        self._tokenizer.save(str(folder / TOKENIZER), pretty=False)

    def _begin(self, *, resumed: bool) -> None:
        probed = self._recipe.encoder.probe and not all(head.multi_label for head in self._heads)
        if probed and not resumed:
            fit_head(
                self._encoder.head,
                self._heads,
                self._embeddings(),
                self._plain,
                balanced=self._recipe.encoder.class_weights,
                progress=self._progress,
            )

    def _embeddings(self) -> Tensor:
        """What the heads see of the training rows as they are, float32 [rows, hidden]."""
        import torch

        self._encoder.eval()
        order = sorted(range(len(self._plain)), key=lambda at: len(self._plain[at].tokens))
        embeddings = torch.empty(len(order), self._encoder.head.in_features)
        with torch.no_grad():
            for at in range(0, len(order), _EVALUATE_ROWS):
                self._progress("embedding rows", at, len(order))
                part = order[at : at + _EVALUATE_ROWS]
                ids, mask = self._padded([self._plain[row] for row in part])
                embeddings[part] = self._encoder.pooled(ids, mask).cpu()
        self._progress("embedding rows", len(order), len(order))
        return embeddings

    def _encode(self, rows: Sequence[Row]) -> list[EncodedText]:
        return encode_texts(
            rows, self._heads, self._tokenizer, max_tokens=self._recipe.encoder.max_tokens
        )

    def _epoch(self, seed: str) -> list[EncodedText]:
        return self._encode(augmented(self._rows, self._recipe.data, seed=seed))

    def _loss(self, step: int, batch: list[EncodedText]) -> Tensor:
        return self._losses(self._logits(batch), batch)

    def _logits(self, batch: Sequence[EncodedText]) -> Tensor:
        """float32 [batch, labels of all heads]."""
        logits: Tensor = self._encoder(*self._padded(batch))
        return logits

    def _padded(self, batch: Sequence[EncodedText]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64 [batch, length] each."""
        import torch

        longest = max(len(row.tokens) for row in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(batch):
            ids[at, : len(row.tokens)] = torch.tensor(row.tokens)
            mask[at, : len(row.tokens)] = 1
        return ids.to(self._device), mask.to(self._device)

    def _evaluate(self, step: int) -> Evaluation:
        import torch

        self._encoder.eval()
        rows = sorted(self._development, key=lambda row: len(row.tokens))
        batches = [rows[at : at + _EVALUATE_ROWS] for at in range(0, len(rows), _EVALUATE_ROWS)]
        with torch.no_grad():
            logits = [self._logits(batch) for batch in batches]
            losses = [
                float(self._losses(part, batch)) * len(batch)
                for part, batch in zip(logits, batches, strict=True)
            ]
        scores = score_heads(self._heads, rows, torch.cat(logits), sum(losses) / len(rows))
        return Evaluation(step, scores.loss, scores.metric, scores.exact)


def _check_length(recipe: Recipe, backbone: Any) -> None:
    context = backbone.config.max_position_embeddings
    if recipe.encoder.max_tokens > context:
        raise RecipeError(
            f"encoder.max_tokens: {recipe.encoder.max_tokens}, but the base reads at most {context}"
        )


# --- what is trained ----------------------------------------------------------


def _choose_trained(model: EncoderModel, recipe: Recipe) -> None:
    """Freeze what the recipe leaves as it is; for LoRA (Hu et al. 2021) add the factors."""
    embeddings = model.backbone.get_input_embeddings()
    embeddings.weight.requires_grad_(recipe.encoder.embeddings)
    if recipe.encoder.method == "lora":
        model.backbone = _with_factors(model.backbone, recipe)


def _with_factors(backbone: Any, recipe: Recipe) -> Any:
    require("peft")
    from peft import LoraConfig, get_peft_model
    from torch.nn import Linear

    lora = recipe.lora
    layers = backbone.encoder.layer
    names = {n.rpartition(".")[2] for n, m in layers.named_modules() if isinstance(m, Linear)}
    for target in lora.targets:
        if target not in names:
            raise RecipeError(
                f"lora.targets: no layer of the base has a {target!r}; it has "
                f"{', '.join(sorted(names))}"
            )
    depth = len(layers)
    below = 0 if lora.layers is None else max(0, depth - lora.layers)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft takes any number
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        layers_to_transform=list(range(below, depth)),
        layers_pattern="layer",
        use_rslora=lora.rslora,
    )
    return get_peft_model(backbone, config)


def parameter_groups(model: EncoderModel, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups of what is trained, one for each ``rate`` (share of the learning rate) and
    weight decay: none for biases, norms and embeddings, whose every row would shrink."""
    depth = model.backbone.config.num_hidden_layers
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = recipe.train.weight_decay if parameter.ndim > 1 and "embed" not in name else 0.0
        groups.setdefault((_rate(name, depth, recipe), decay), []).append(parameter)
    return [
        {"params": parameters, "rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _rate(name: str, depth: int, recipe: Recipe) -> float:
    if name.startswith("head."):
        return recipe.encoder.head_rate
    layer = _LAYER.search(name)
    below_top = depth if layer is None else depth - 1 - int(layer[1])
    return recipe.encoder.layer_decay**below_top
