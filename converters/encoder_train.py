"""The train step of an encoder: all weights or LoRA factors, and heads, by the rows' labels."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.augment import augmented
from converters.checkpoint import Checkpoint
from converters.encoder_heads import (
    EncodedText,
    HeadLosses,
    encode_texts,
    heads_of,
    score_heads,
)
from converters.errors import RecipeError, require
from converters.recipe import Recipe
from converters.rows import Row
from converters.train import (
    CHECKPOINT_EVERY,
    Evaluation,
    History,
    Report,
    best_device,
    grouped,
    schedule,
)

if TYPE_CHECKING:
    from torch import Tensor

    from converters.encoder_model import EncoderModel

#: the folder of the best model in a training's folder
MODEL = "model"
_CLIP = 1.0
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
        MissingExtraError: torch, transformers or, for LoRA, peft are not installed.
    """
    require("torch", "transformers", "tokenizers")
    return _Run(recipe, base, rows, development, out=out).go(report)


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        base: Path,
        rows: Sequence[Row],
        development: Sequence[Row],
        *,
        out: Path,
    ) -> None:
        import torch

        from converters.encoder_model import (
            WEIGHTS,
            EncoderModel,
            load_backbone,
            load_tokenizer,
        )

        torch.manual_seed(recipe.train.seed)
        self._recipe, self._rows = recipe, rows
        self._heads = heads_of(recipe.task)
        self._tokenizer = load_tokenizer(base)
        plain = self._encode(rows)
        self._development = self._encode(development)
        backbone = load_backbone(base, dropout=recipe.encoder.dropout)
        _check_length(recipe, backbone)
        self._device = best_device()
        model = EncoderModel(backbone, self._heads)
        _choose_trained(model, recipe)
        self._model = model.to(self._device)
        self._losses = HeadLosses(
            self._heads,
            plain,
            label_smoothing=recipe.encoder.label_smoothing,
            class_weights=recipe.encoder.class_weights,
            device=self._device,
        )
        self._trained = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self._model, recipe),
            lr=recipe.train.learning_rate,
            fused=self._device == "cpu",
        )
        per_epoch = math.ceil(len(rows) / recipe.train.batch_rows)
        self._steps = max(1, round(per_epoch * recipe.train.epochs))
        self._checkpoint = Checkpoint(
            out, self._model, self._optimizer, write=self._write, best=MODEL, weights=WEIGHTS
        )

    def go(self, report: Report) -> History:
        history = self._checkpoint.resume() or History(self._steps)
        started = saved = time.monotonic()
        spent, before = history.seconds, history.losses[-1][0] if history.losses else 0
        every = max(1, self._steps // self._recipe.train.evaluations)
        for step, batch in enumerate(self._batches(), start=1):
            if step <= before:
                continue
            if self._is_stale(history):
                break
            history.losses.append((step, self._step(step, batch)))
            history.tokens += sum(len(row.tokens) for row in batch)
            history.seconds = spent + time.monotonic() - started
            report(history)
            if step % every == 0 or step == self._steps:
                history.evaluations.append(self._evaluate(step))
                if history.best is history.evaluations[-1]:
                    self._checkpoint.keep_best()
            elif time.monotonic() - saved < CHECKPOINT_EVERY:
                continue
            self._checkpoint.save(history)
            saved = time.monotonic()
        self._checkpoint.finish(history)
        return history

    def _write(self, folder: Path) -> None:
        from converters.encoder_model import TOKENIZER

        self._model.save_pretrained(folder)
        self._tokenizer.save(str(folder / TOKENIZER), pretty=False)

    def _is_stale(self, history: History) -> bool:
        patience = self._recipe.train.patience
        if patience is None or history.best is None:
            return False
        return len(history.evaluations) - history.evaluations.index(history.best) > patience

    def _encode(self, rows: Sequence[Row]) -> list[EncodedText]:
        return encode_texts(
            rows, self._heads, self._tokenizer, max_tokens=self._recipe.encoder.max_tokens
        )

    def _batches(self) -> Iterator[list[EncodedText]]:
        """All steps' batches, epoch after epoch; fixed by the seed alone."""
        left, epoch = self._steps, 0
        while left > 0:
            seed = f"{self._recipe.train.seed} {epoch}"
            rows = self._encode(augmented(self._rows, self._recipe.data, seed=seed))
            for batch in grouped(rows, self._recipe.train.batch_rows, random.Random(seed))[:left]:
                left -= 1
                yield batch
            epoch += 1

    def _step(self, step: int, batch: list[EncodedText]) -> float:
        import torch

        share = schedule(step / self._steps, self._recipe.train.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.train.learning_rate * group["rate"] * share
        self._model.train()
        torch.manual_seed(self._recipe.train.seed + step)  # a resumed run drops out the same
        loss = self._losses(self._logits(batch), batch)
        if not torch.isfinite(loss):
            raise RecipeError(
                f"step {step} of {self._steps}: the loss is no number any more; lower "
                "train.learning_rate"
            )
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._trained, _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    def _logits(self, batch: Sequence[EncodedText]) -> Tensor:
        """float32 [batch, labels of all heads]."""
        import torch

        longest = max(len(row.tokens) for row in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(batch):
            ids[at, : len(row.tokens)] = torch.tensor(row.tokens)
            mask[at, : len(row.tokens)] = 1
        logits: Tensor = self._model(ids.to(self._device), mask.to(self._device))
        return logits

    def _evaluate(self, step: int) -> Evaluation:
        import torch

        self._model.eval()
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
