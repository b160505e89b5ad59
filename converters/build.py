"""Runs the steps of a build in order, skipping those whose inputs have not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from converters.errors import RecipeError, require
from converters.recipe.recipe import Recipe, read_recipe
from converters.steps import causal as steps
from converters.steps import encoder as encoder_steps
from converters.steps import linear as linear_steps
from converters.work import Step, Work
from edgeslm.errors import EdgeslmError, ResourceError
from edgeslm.formats.files import Progress

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
            from converters.causal.base import resolve_base

            return resolve_base(recipe.base)
        case "encoder":
            from converters.encoder.base import resolve_encoder_base

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
