"""Runs the steps of a build in order, skipping those whose inputs have not changed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from converters import encoder_steps, linear_steps, steps
from converters.errors import RecipeError, require
from converters.recipe import Recipe, read_recipe
from converters.work import Step, Work
from edgeslm.errors import EdgeslmError, ResourceError
from edgeslm.transfer import Progress

#: share of the measured matrix speed that training reaches; in bfloat16 products are so quick
#: that attention, norms and the optimizer take as long
_EFFICIENCY = {"float32": 0.55, "bfloat16": 0.25}
_BYTES_PER_VALUE = 4

#: called when a step begins (None) and when it ends, with what it returned
Told = Callable[[Step, Any], None]

_NEEDED = ("sklearn", "datasketch", "matplotlib")
_ALSO_NEEDED = {
    "causal": ("torch", "transformers", "peft"),
    "encoder": ("torch", "transformers", "peft", "onnx"),
    "linear": ("onnx",),
}
#: where the steps of each kind of model are
_STEPS = {"causal": steps, "encoder": encoder_steps, "linear": linear_steps}


def open_work(recipe: Path, data_folder: Path, folder: Path) -> Work:
    """The build of a recipe, in a subfolder with its name; raises what reading it does."""
    read = read_recipe(recipe)
    if not data_folder.is_dir():
        raise RecipeError(f"{data_folder}: no such folder; give the data's with --data FOLDER")
    missing = [file for file in read.data.files if not (data_folder / file.path).is_file()]
    if missing:
        raise RecipeError(
            f"{data_folder / missing[0].path}: no such file; get it from {missing[0].url}"
        )
    for name, path in read.data.references.items():
        if not (data_folder / path).is_file():
            raise RecipeError(f"{data_folder / path}: no such file; it is to hold {name}'s answers")
    own = folder / read.name
    return Work(read, data_folder, own, _base(read, own))


def _base(recipe: Recipe, own: Path) -> Path:
    match recipe.kind:
        case "causal":
            from converters.base import resolve_base

            return resolve_base(recipe.base)
        case "encoder":
            from converters.encoder_base import resolve_encoder_base

            return resolve_encoder_base(recipe.base, recipe.base_sha256)
        case "linear":
            return own


def build(
    work: Work, progress: Progress, *, until: Step = "pack", told: Told = lambda *_: None
) -> list[Step]:
    """Run every step up to ``until`` whose results do not hold; returns those that ran.

    Raises:
        GateError: the specialist did not pass verification.
        EdgeslmError: another build of it is under way, or what a step raises.
    """
    ran: list[Step] = []
    _require_step(work, until)
    with _held(work):
        for step in work.steps[: work.steps.index(until) + 1]:
            if work.needs(step) is not None:
                _run(work, step, progress, told)
                ran.append(step)
    return ran


def run_step(work: Work, step: Step, progress: Progress, told: Told = lambda *_: None) -> None:
    """Run one step, whether its results hold or not.

    Raises:
        GateError: the step is verify, and the specialist did not pass.
        EdgeslmError: a step before it has not run, or what the step raises.
    """
    _require_step(work, step)
    with _held(work):
        for earlier in work.steps[: work.steps.index(step)]:
            why = work.needs(earlier)
            if why is not None:
                raise EdgeslmError(f"the {earlier} step comes first: {why}")
        _run(work, step, progress, told)


def _require_step(work: Work, step: Step) -> None:
    if step not in work.steps:
        raise RecipeError(
            f"{work.recipe.name}: a recipe of the kind {work.recipe.kind} has no {step} step; its "
            f"steps are {', '.join(work.steps)}"
        )


def _run(work: Work, step: Step, progress: Progress, told: Told) -> None:
    require(*_NEEDED, *_ALSO_NEEDED[work.recipe.kind])
    told(step, None)
    run: Callable[[Work, Progress], Any] = getattr(_STEPS[work.recipe.kind], step)
    try:
        work.begin(step)
        inputs = work.inputs(step)
        found = run(work, progress)
        work.done(step, inputs)
    except OSError as error:
        raise EdgeslmError(
            f"{step}: {error}; see that {work.folder} is whole, can be written and has room, or "
            "choose another with --work"
        ) from error
    except (MemoryError, RuntimeError) as error:  # torch has no class of its own on processors
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise ResourceError(
            f"{step}: not enough memory: {error}; lower train.batch_rows, lora.layers or "
            "train.max_tokens"
        ) from error
    told(step, found)
    if step == "verify":
        found.require()


@contextmanager
def _held(work: Work) -> Iterator[None]:
    try:
        work.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work.folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise EdgeslmError(f"{work.folder}: another build of it is under way") from error
    except OSError as error:
        raise EdgeslmError(f"{work.folder}: cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do. ``tokens`` are those of one epoch, ``seconds`` and ``memory``
    (bytes) estimates for training; None until the data step has run, and of small models."""

    steps: dict[Step, str | None]
    rows: dict[str, int] | None
    tokens: int | None
    seconds: float | None
    memory: int | None


def plan(work: Work) -> Plan:
    """What `build` would run and why, and what training would take on this machine."""
    needed = {step: work.needs(step) for step in work.steps}
    if needed["data"] is not None:
        return Plan(needed, None, None, None, None)
    rows: dict[str, int] = {part: len(work.rows(part)) for part in work.recipe.data.split.parts}
    if work.recipe.kind != "causal":  # minutes at most
        return Plan(needed, rows, None, None, None)
    require("torch")
    encoded = steps.encoded(work, "train")
    tokens = sum(len(row.tokens) for row in encoded)
    longest = max(len(row.tokens) for row in encoded)
    parameters, flops, width = _training_cost(work)
    seconds = tokens * work.recipe.train.epochs * flops / _training_speed()
    batch = longest * work.recipe.train.batch_rows
    memory = _BYTES_PER_VALUE * (2 * parameters + batch * width)
    return Plan(needed, rows, tokens, seconds, memory)


def _training_cost(work: Work) -> tuple[int, float, int]:
    """Parameters, operations per token, and values that one token keeps for the way back.

    Every layer goes forward (2 operations a parameter); only the trained ones go back, and
    only through the activations, for their weights are frozen.
    """
    from converters.base import runtime_gguf
    from edgeslm.gguf_file import read_gguf

    info = read_gguf(runtime_gguf(work.base, work.folder))
    layers = [t for t in info.tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    parameters = sum(math.prod(tensor.shape) for tensor in info.tensors)
    inner = sum(math.prod(tensor.shape) for tensor in layers)
    share = min(1.0, (work.recipe.lora.layers or info.n_layer) / info.n_layer)
    kept = 2 * sum(sum(tensor.shape) for tensor in layers)
    return parameters, 2 * inner * (1 + share), int(kept * share)


def _training_speed() -> float:
    """Operations per second of training on this machine, by a matrix product in its dtype."""
    import torch

    from converters.training_loop import best_device, best_dtype

    device = best_device()
    dtype = best_dtype(device)
    a, b = (torch.rand(shape, device=device, dtype=dtype) for shape in ((1024, 576), (576, 1536)))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b).sum().item()  # a GPU is waited for
        best = min(best, time.perf_counter() - start)
    return _EFFICIENCY[str(dtype).removeprefix("torch.")] * 2 * 1024 * 576 * 1536 / best
