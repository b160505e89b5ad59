"""The training loop: steps, checkpoints, evaluations and the early stop."""

from __future__ import annotations

import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from converters.errors import RecipeError
from converters.training.history import Evaluation, History

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

    from converters.recipe.recipe import Train
    from converters.training.checkpoint import Checkpoint

#: seconds between checkpoints, besides those after each evaluation
CHECKPOINT_EVERY = 120.0
_CLIP = 1.0


#: called after each step with the history so far
Report = Callable[[History], None]


class _HasTokens(Protocol):
    @property
    def tokens(self) -> tuple[int, ...]: ...


Item = TypeVar("Item", bound=_HasTokens)


class TrainingRun(ABC, Generic[Item]):
    """A run over ``rows`` training rows. A subclass says what they are and what is lost on them.

    Each of the optimizer's groups has a ``rate``, its share of the learning rate. A run that was
    killed goes on from its last checkpoint, and ends as it would have ended.
    """

    def __init__(
        self,
        settings: Train,
        model: Module,
        optimizer: Optimizer,
        checkpoint: Checkpoint,
        *,
        rows: int,
    ) -> None:
        self._settings, self._model = settings, model
        self._optimizer, self._checkpoint = optimizer, checkpoint
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self._steps = max(1, round(math.ceil(rows / settings.batch_rows) * settings.epochs))

    @abstractmethod
    def _epoch(self, seed: str) -> Sequence[Item]:
        """One epoch's rows in any order, fixed by the seed."""

    @abstractmethod
    def _loss(self, step: int, batch: list[Item]) -> Tensor:
        """The mean loss of a batch, a scalar."""

    @abstractmethod
    def _evaluate(self, step: int) -> Evaluation:
        """Score the development rows."""

    def _begin(self, *, resumed: bool) -> None:
        """Called before the first step, with the weights that it starts from."""

    def _is_resumable(self, step: int) -> bool:
        """Whether all that the next step depends on is in a checkpoint after this one."""
        return True

    def go(self, report: Report) -> History:
        """Train to the end, or until the evaluations get no better.

        Raises:
            RecipeError: the loss is not a number any more.
        """
        history = self._checkpoint.resume()
        self._begin(resumed=history is not None)
        history = history or History(self._steps)
        started = saved = time.monotonic()
        spent, before = history.seconds, history.losses[-1][0] if history.losses else 0
        every = max(1, self._steps // self._settings.evaluations)
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
            elif time.monotonic() - saved < CHECKPOINT_EVERY or not self._is_resumable(step):
                continue
            self._checkpoint.save(history)
            saved = time.monotonic()
        self._checkpoint.finish(history)
        return history

    def _is_stale(self, history: History) -> bool:
        patience = self._settings.patience
        if patience is None or history.peak is None:
            return False
        return len(history.evaluations) - history.evaluations.index(history.peak) > patience

    def _batches(self) -> Iterator[list[Item]]:
        """All steps' batches, epoch after epoch; fixed by the seed alone."""
        left, epoch = self._steps, 0
        while left > 0:
            seed = f"{self._settings.seed} {epoch}"
            rows = self._epoch(seed)
            for batch in grouped(rows, self._settings.batch_rows, random.Random(seed))[:left]:
                left -= 1
                yield batch
            epoch += 1

    def _step(self, step: int, batch: list[Item]) -> float:
        import torch

        share = schedule(step / self._steps, self._settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * group["rate"] * share
        self._model.train()
        torch.manual_seed(self._settings.seed + step)  # a resumed run drops out the same
        loss = self._loss(step, batch)
        if not torch.isfinite(loss):
            raise RecipeError(
                f"step {step} of {self._steps}: the loss is not a number any more; lower "
                "train.learning_rate or, of an adapter, lora.alpha"
            )
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._trained, _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.item())


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


def grouped(rows: Sequence[Item], size: int, rng: random.Random) -> list[list[Item]]:
    """Batches of rows of like length, in random order, so that little is padding."""
    order = list(rows)
    rng.shuffle(order)
    batches = []
    for at in range(0, len(order), size * 16):
        near = sorted(order[at : at + size * 16], key=lambda row: len(row.tokens))
        batches += [near[i : i + size] for i in range(0, len(near), size)]
    rng.shuffle(batches)
    return batches
