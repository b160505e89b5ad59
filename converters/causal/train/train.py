"""The train step: a LoRA adapter for a frozen base, with the loss on the answers alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.causal.encode import Encoded, encode_rows, label_answers
from converters.causal.train.label_smoothing import LabelSmoothing
from converters.data.augment import augmented
from converters.data.rows import Row
from converters.errors import DataError, RecipeError, require
from converters.recipe.recipe import Recipe
from converters.training.checkpoint import Checkpoint
from converters.training.history import Evaluation, History
from converters.training.loop import (
    Report,
    TrainingRun,
    best_device,
    best_dtype,
)
from edgeslm.decoding.prompt import Tokenizer
from edgeslm.formats.card import ClassifyTask

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

#: steps between roundings of quantization-aware training; checkpoints lie between, so that a
#: resumed run goes on with the same weights
ROUND_EVERY = 4
_EVALUATE_ROWS = 16


def train(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    development: Sequence[Row],
    *,
    out: Path,
    report: Report = lambda _: None,
) -> History:
    """Train an adapter and leave the best one in ``out`` as a peft folder.

    A run that was killed goes on from its last checkpoint in ``out``, and ends as it would
    have ended. Reproducible for a seed, a machine and a number of threads.

    Raises:
        DataError: a row is longer than train.max_tokens or the base's context.
        RecipeError: the base has no module of lora.targets, or the loss is not a number any more.
        MissingExtraError: peft or torch are not installed.
    """
    require("torch", "peft")
    run = _Run(recipe, model, tokenizer, rows, development, out=out)
    return run.go(report)


class _Run(TrainingRun[Encoded]):
    def __init__(
        self,
        recipe: Recipe,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        rows: Sequence[Row],
        development: Sequence[Row],
        *,
        out: Path,
    ) -> None:
        import torch

        from converters.causal.train.frozen_trunk import Trunk
        from converters.causal.train.fused_lora import fuse
        from converters.causal.train.quantization_aware import RoundedWeights

        torch.manual_seed(recipe.train.seed)
        self._recipe, self._rows, self._tokenizer = recipe, rows, tokenizer
        self._context = model.config.max_position_embeddings
        self._smoothing = _smoothing(recipe, tokenizer)
        self._plain = self._encode(rows)  # one that is too long is found before hours of training
        # what augmentation teaches is scored as well: an absent field is in few rows of its own
        changed = augmented(development, recipe.data, seed="development")
        changed = [row for row in changed if row not in development]
        self._development = [*self._encode(development), *self._encode_fitting(changed)]
        device, rounded = best_device(), recipe.train.quantization_aware
        if not recipe.train.qlora:  # a 4-bit base is where it has to be
            move: Any = model.to  # transformers' decorator hides its types
            # what is rounded must be the base's own weights, not those of fewer bits
            model = move(device=device, dtype=torch.float32 if rounded else best_dtype(device))
        adapted = with_adapter(model, recipe)
        if recipe.lora.start is not None:
            start_from(adapted, recipe.lora.start)
        fuse(adapted)
        self._rounded = RoundedWeights(model) if rounded else None
        if rounded:
            _lower_frozen(model, best_dtype(device))
        self._trunk = Trunk(model, recipe.lora.layers)
        self._head = model.lm_head
        optimizer = torch.optim.AdamW(
            [{"params": [p for p in adapted.parameters() if p.requires_grad], "rate": 1.0}],
            lr=recipe.train.learning_rate,
            weight_decay=recipe.train.weight_decay,
        )
        checkpoint = Checkpoint(
            out,
            adapted,
            optimizer,
            write=adapted.save_pretrained,
            best="adapter",
            weights="adapter_model.safetensors",
        )
        super().__init__(recipe.train, adapted, optimizer, checkpoint, rows=len(rows))

    def _begin(self, *, resumed: bool) -> None:
        """A resumed run rounds what it resumes from, as the run before it did."""
        if resumed and self._rounded is not None:
            self._rounded.refresh()

    def _is_resumable(self, step: int) -> bool:
        """Whether a run that goes on after this step would have the same rounded weights."""
        return self._rounded is None or step % ROUND_EVERY == 0

    def _encode(self, rows: Sequence[Row]) -> list[Encoded]:
        encoded = self._tokens(rows, self._recipe.train.max_tokens)
        longest = max(encoded, key=lambda row: len(row.tokens))
        if len(longest.tokens) > self._context:
            raise DataError(
                f"row {longest.id}: {len(longest.tokens)} tokens, but the base's context holds "
                f"{self._context}; shorten or drop the row, or take another base"
            )
        return encoded

    def _encode_fitting(self, rows: Sequence[Row]) -> list[Encoded]:
        limit = min(self._recipe.train.max_tokens, self._context)
        return [row for row in self._tokens(rows, sys.maxsize) if len(row.tokens) <= limit]

    def _epoch(self, seed: str) -> list[Encoded]:
        """One epoch's rows; one that grew too long stays as it was."""
        limit = min(self._recipe.train.max_tokens, self._context)
        rows = augmented(self._rows, self._recipe.data, seed=seed)
        return [
            changed if len(changed.tokens) <= limit else plain
            for changed, plain in zip(self._tokens(rows, sys.maxsize), self._plain, strict=True)
        ]

    def _tokens(self, rows: Sequence[Row], max_tokens: int) -> list[Encoded]:
        recipe = self._recipe
        return encode_rows(rows, recipe.task, recipe.prompt, self._tokenizer, max_tokens=max_tokens)

    def _loss(self, step: int, batch: list[Encoded]) -> Tensor:
        import torch

        if self._rounded is not None and (step - 1) % ROUND_EVERY == 0:
            self._rounded.refresh()
        logits, targets = self._answers(batch)
        if self._smoothing is None:
            losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        else:
            losses = self._smoothing.losses(logits, targets, [row.answer for row in batch])
        weights = [row.weight for row in batch for _ in row.answer]
        return (losses * torch.tensor(weights, device=losses.device)).mean()

    def _answers(self, batch: list[Encoded]) -> tuple[Tensor, Tensor]:
        """Logits (float32, [answer tokens, vocabulary]) and the tokens that should come there.

        The vocabulary is large, so logits are computed at the answers alone.
        """
        import torch

        states = self._trunk.hidden([row.tokens for row in batch])
        wanted = torch.cat(
            [states[i, row.start - 1 : len(row.tokens) - 1] for i, row in enumerate(batch)]
        )
        targets = torch.tensor([token for row in batch for token in row.answer])
        return self._head(wanted).float(), targets.to(wanted.device)

    def _evaluate(self, step: int) -> Evaluation:
        import torch

        if self._rounded is not None:  # scored as it would be shipped
            self._rounded.refresh()
        self._model.eval()
        loss = tokens = answers = count = 0.0
        rows = sorted(self._development, key=lambda row: len(row.tokens))
        for at in range(0, len(rows), _EVALUATE_ROWS):
            batch = rows[at : at + _EVALUATE_ROWS]
            with torch.no_grad():
                logits, targets = self._answers(batch)
                summed = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            right = (logits.argmax(-1) == targets).tolist()
            loss += float(summed)
            tokens += sum(right)
            count += len(right)
            for row in batch:
                answers += all(right[: len(row.answer)])
                right = right[len(row.answer) :]
        return Evaluation(step, loss / count, tokens / count, answers / len(rows), int(count))


def _smoothing(recipe: Recipe, tokenizer: Tokenizer) -> LabelSmoothing | None:
    share = recipe.train.label_smoothing
    if not share or not isinstance(recipe.task, ClassifyTask):
        return None
    return LabelSmoothing(label_answers(recipe.task, tokenizer), share)


def with_adapter(model: PreTrainedModel, recipe: Recipe) -> Any:
    """The model with a fresh LoRA adapter (Hu et al. 2021) on its top layers.

    Raises:
        RecipeError: a module of lora.targets is in no layer of the base.
    """
    from peft import LoraConfig, get_peft_model

    lora = recipe.lora
    depth = model.config.num_hidden_layers
    _check_targets(model, lora.targets)
    below = 0 if lora.layers is None else max(0, depth - lora.layers)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft takes any number
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        layers_to_transform=list(range(below, depth)),
        layers_pattern="layers",
        use_rslora=lora.rslora,
        use_dora=lora.dora,
    )
    return get_peft_model(model, config)


def _lower_frozen(model: Any, dtype: Any) -> None:
    """Give the weights that are not trained another dtype; what is trained stays float32."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def start_from(model: Any, folder: Path) -> None:
    """Give a model's fresh adapter the factors that peft saved in ``folder``.

    Raises:
        RecipeError: unreadable, or an adapter of another base, rank, or other layers.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    try:
        factors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"lora.start: {path}: cannot be read: {error}") from error
    wanted = {name: tuple(value.shape) for name, value in get_peft_model_state_dict(model).items()}
    if wanted != {name: tuple(value.shape) for name, value in factors.items()}:
        raise RecipeError(
            f"lora.start: {path}: an adapter of another base, rank, targets or layers; set these "
            "as they were where it was trained"
        )
    set_peft_model_state_dict(model, factors)


def _check_targets(model: PreTrainedModel, targets: Sequence[str]) -> None:
    from torch.nn import Linear

    layers: Any = model.model.layers
    names = {n.rpartition(".")[2] for n, m in layers.named_modules() if isinstance(m, Linear)}
    for target in targets:
        if target not in names:
            raise RecipeError(
                f"lora.targets: no layer of the base has a {target!r}; it has "
                f"{', '.join(sorted(names))}"
            )
