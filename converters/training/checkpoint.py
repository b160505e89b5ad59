"""Checkpoints of a training run: weights, optimizer and history, without pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.training.history import Evaluation, History
from edgeslm.formats.files import publish

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

_STATE = "checkpoint.safetensors"
HISTORY = "history.json"


class Checkpoint:
    """The state of a run in a folder, replaced as a whole; `resume` finds the last one.

    ``write`` writes the model as it is shipped into a new folder; what it wrote is kept as
    ``best``, where ``weights`` is the file without which it is nothing.
    """

    def __init__(
        self,
        folder: Path,
        model: Any,
        optimizer: Optimizer,
        *,
        write: Callable[[Path], object],
        best: str,
        weights: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._model, self._optimizer = folder, model, optimizer
        self._write, self._best, self._weights = write, folder / best, weights

    def save(self, history: History) -> None:
        """Write the state; a kill leaves this one or the one before."""
        from safetensors.torch import save_file

        aside = self._folder / (_STATE + ".part")
        tensors = {name: tensor.detach().contiguous() for name, tensor in self._tensors().items()}
        save_file(tensors, aside, metadata={"history": json.dumps(asdict(history))})
        publish(aside, self._folder / _STATE)

    def resume(self) -> History | None:
        """Load the last state; None where there is none, or it is damaged or of another run."""
        from safetensors import SafetensorError, safe_open

        path = self._folder / _STATE
        try:
            with safe_open(path, framework="pt") as file:
                history = _history(json.loads(file.metadata()["history"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        if not self._fit(tensors) or (history.evaluations and not self._has_best()):
            return None
        self._load(tensors)
        return history

    def keep_best(self) -> None:
        """Write the model as it is now, in place of the best so far."""
        aside = self._best.with_name(self._best.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        self._write(aside)
        self._best.mkdir(exist_ok=True)
        for file in aside.iterdir():  # file by file: only the weights differ from those before
            publish(file, self._best / file.name)
        aside.rmdir()

    def finish(self, history: History) -> None:
        """Write the history. The state stays: a step killed after this trains nothing again."""
        aside = self._folder / (HISTORY + ".part")
        aside.write_text(json.dumps(asdict(history), indent=1) + "\n", encoding="utf-8")
        publish(aside, self._folder / HISTORY)

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._parameters():
            tensors[f"model.{name}"] = parameter
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        return tensors

    def _has_best(self) -> bool:
        return (self._best / self._weights).is_file()

    def _fit(self, tensors: dict[str, Tensor]) -> bool:
        """Whether these are this run's tensors; none is loaded before all are known to fit."""
        shapes = {
            f"{kind}.{name}": () if kind == _COUNT else tuple(parameter.shape)
            for name, parameter in self._parameters()
            for kind in _KINDS
        }
        return shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def _load(self, tensors: dict[str, Tensor]) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self._parameters():
                parameter.copy_(tensors[f"model.{name}"])
        for name, parameter in self._parameters():
            self._optimizer.state[parameter] = {
                key: tensors[f"optimizer.{key}.{name}"].to(
                    "cpu" if key == "step" else parameter.device
                )
                for key in ("step", "exp_avg", "exp_avg_sq")
            }

    def _parameters(self) -> list[tuple[str, Any]]:
        return [(n, p) for n, p in self._model.named_parameters() if p.requires_grad]


_COUNT = "optimizer.step"
_KINDS = ("model", _COUNT, "optimizer.exp_avg", "optimizer.exp_avg_sq")


def _history(fields: dict[str, Any]) -> History:
    fields["losses"] = [tuple(item) for item in fields["losses"]]
    fields["evaluations"] = [Evaluation(**item) for item in fields["evaluations"]]
    return History(**fields)
