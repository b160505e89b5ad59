"""The train step: a LoRA adapter for a frozen base, with the loss on the answers alone."""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from converters.augment import augmented
from converters.checkpoint import Checkpoint
from converters.encode import Encoded, encode_rows
from converters.errors import DataError, RecipeError, require
from converters.recipe import Recipe
from converters.rows import Row
from edgeslm.prompt import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

#: seconds between checkpoints, besides those after each evaluation
CHECKPOINT_EVERY = 120.0
#: steps between roundings of quantization-aware training; checkpoints lie between, so that a
#: resumed run goes on with the same weights
ROUND_EVERY = 4
_CLIP = 1.0
_EVALUATE_ROWS = 16


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores on the development rows: mean loss per answer token, and the shares of tokens
    and of whole answers that the model would pick (argmax, each after the right tokens)."""

    step: int
    loss: float
    tokens: float
    answers: float


@dataclass(slots=True)
class History:
    """What a training run did. ``losses`` are (step, mean loss per answer token)."""

    steps: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose adapter is kept: most answer tokens right, then least loss."""
        return max(self.evaluations, key=lambda e: (e.tokens, -e.loss), default=None)


#: called after each step with the history so far
Report = Callable[[History], None]


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
        RecipeError: the base has no module of lora.targets, or the loss is no number any more.
        MissingExtraError: peft or torch are not installed.
    """
    require("torch", "peft")
    run = _Run(recipe, model, tokenizer, rows, development, out=out)
    return run.go(report)


class _Run:
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

        from converters.fused import fuse
        from converters.rounded import RoundedWeights
        from converters.trunk import Trunk

        torch.manual_seed(recipe.train.seed)
        self._recipe, self._rows, self._tokenizer = recipe, rows, tokenizer
        self._context = model.config.max_position_embeddings
        self._plain = self._encode(rows)  # one that is too long is found before hours of training
        # what augmentation teaches is scored as well: an absent field is in few rows of its own
        changed = augmented(development, recipe.data, seed="development")
        changed = [row for row in changed if row not in development]
        self._development = [*self._encode(development), *self._encode_fitting(changed)]
        if not recipe.train.qlora:  # a 4-bit base is where it has to be
            device = best_device()
            move: Any = model.to  # transformers' decorator hides its types
            model = move(device=device, dtype=best_dtype(device))
        self._model = with_adapter(model, recipe)
        if recipe.lora.start is not None:
            start_from(self._model, recipe.lora.start)
        fuse(self._model)
        self._rounded = RoundedWeights(model) if recipe.train.quantization_aware else None
        self._trunk = Trunk(model, recipe.lora.layers)
        self._head = model.lm_head
        self._trained = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=recipe.train.learning_rate, weight_decay=recipe.train.weight_decay
        )
        per_epoch = math.ceil(len(rows) / recipe.train.batch_rows)
        self._steps = max(1, round(per_epoch * recipe.train.epochs))
        self._checkpoint = Checkpoint(
            out,
            self._model,
            self._optimizer,
            write=self._model.save_pretrained,
            best="adapter",
            weights="adapter_model.safetensors",
        )

    def go(self, report: Report) -> History:
        history = self._checkpoint.resume() or History(self._steps)
        started = done = time.monotonic()
        spent, before = history.seconds, history.losses[-1][0] if history.losses else 0
        every = max(1, self._steps // self._recipe.train.evaluations)
        fresh = True  # a resumed run rounds what it resumes from, as the run before it did
        for step, batch in enumerate(self._batches(), start=1):
            if step <= before:
                continue
            if self._is_stale(history):
                break
            if self._rounded is not None and (fresh or (step - 1) % ROUND_EVERY == 0):
                self._rounded.refresh()
            fresh = False
            history.losses.append((step, self._step(step, batch)))
            history.tokens += sum(len(row.tokens) for row in batch)
            history.seconds = spent + time.monotonic() - started
            report(history)
            if step % every == 0 or step == self._steps:
                if self._rounded is not None:  # scored as it would be shipped
                    self._rounded.refresh()
                history.evaluations.append(self._evaluate(step))
                if history.best is history.evaluations[-1]:
                    self._checkpoint.keep_best()
            elif time.monotonic() - done < CHECKPOINT_EVERY or not self._is_resumable(step):
                continue
            self._checkpoint.save(history)
            done = time.monotonic()
        self._checkpoint.finish(history)
        return history

    def _is_resumable(self, step: int) -> bool:
        """Whether a run that goes on after this step would have the same rounded weights."""
        return self._rounded is None or step % ROUND_EVERY == 0

    def _is_stale(self, history: History) -> bool:
        patience = self._recipe.train.patience
        if patience is None or history.best is None:
            return False
        return len(history.evaluations) - history.evaluations.index(history.best) > patience

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

    def _augmented(self, seed: str) -> list[Encoded]:
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

    def _batches(self) -> Iterator[list[Encoded]]:
        """All steps' batches, epoch after epoch; fixed by the seed alone."""
        left, epoch = self._steps, 0
        while left > 0:
            seed = f"{self._recipe.train.seed} {epoch}"
            rows = self._augmented(seed)
            for batch in grouped(rows, self._recipe.train.batch_rows, random.Random(seed))[:left]:
                left -= 1
                yield batch
            epoch += 1

    def _step(self, step: int, batch: list[Encoded]) -> float:
        import torch

        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.train.learning_rate * schedule(
                step / self._steps, self._recipe.train.warmup
            )
        self._model.train()
        torch.manual_seed(self._recipe.train.seed + step)  # a resumed run drops out the same
        logits, targets = self._answers(batch)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        if not torch.isfinite(loss):
            raise RecipeError(
                f"step {step} of {self._steps}: the loss is no number any more; lower "
                "train.learning_rate or lora.alpha"
            )
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._trained, _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

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
        return Evaluation(step, loss / count, tokens / count, answers / len(rows))


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
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"lora.start: {path}: cannot be read: {error}") from error
    wanted = {name: tuple(value.shape) for name, value in get_peft_model_state_dict(model).items()}
    if wanted != {name: tuple(value.shape) for name, value in found.items()}:
        raise RecipeError(
            f"lora.start: {path}: an adapter of another base, rank, targets or layers; set these "
            "as they were where it was trained"
        )
    set_peft_model_state_dict(model, found)


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


def best_device() -> str:
    """CUDA, else Apple's GPU, else the processor."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: str) -> Any:
    """bfloat16 where the hardware multiplies it, else float32.

    A processor without it emulates bfloat16 at an eighth of float32's speed.
    """
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capable = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if device == "cpu" and capable() else torch.float32


def schedule(progress: float, warmup: float) -> float:
    """The share of the learning rate: a linear rise, then a cosine down to zero."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1 - warmup)))


class _HasTokens(Protocol):
    @property
    def tokens(self) -> tuple[int, ...]: ...


_Item = TypeVar("_Item", bound=_HasTokens)


def grouped(rows: Sequence[_Item], size: int, rng: random.Random) -> list[list[_Item]]:
    """Batches of rows of like length, in random order, so that little is padding."""
    order = list(rows)
    rng.shuffle(order)
    batches = []
    for at in range(0, len(order), size * 16):
        near = sorted(order[at : at + size * 16], key=lambda row: len(row.tokens))
        batches += [near[i : i + size] for i in range(0, len(near), size)]
    rng.shuffle(batches)
    return batches
