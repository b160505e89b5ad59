"""Runs the steps of a build in order, skipping those whose inputs have not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from converters.errors import RecipeError, cannot_import, require
from converters.gates.verify import Verdict
from converters.recipe.recipe import Recipe, read_recipe
from converters.steps.causal import CausalWork
from converters.steps.encoder import EncoderWork
from converters.steps.linear import LinearWork
from converters.steps.reader import ReaderWork
from converters.work import Step, StepResult, Work
from edgeslm.errors import EdgeslmError, ResourceError
from edgeslm.formats.files import Progress

#: called when a step begins
Begins = Callable[[Step], None]
#: called when a step has ended, with what it returned
Ends = Callable[[Step, StepResult], None]

#: the build of each kind of recipe
_WORKS: Final[dict[str, type[Work]]] = {
    "causal": CausalWork,
    "encoder": EncoderWork,
    "linear": LinearWork,
}


def open_work(recipe: Path, data_folder: Path, folder: Path) -> Work:
    """The build of a recipe, in a subfolder with its name.

    Raises:
        RecipeError: the recipe cannot be read, or a data file that it names is not there.
        MissingExtraError: a library that its kind is trained with is not installed.
        BaseModelError, ModelNotFoundError: its base is not there.
    """
    read = read_recipe(recipe)
    kind = _work_of(read)
    require(*kind.libraries)
    if not data_folder.is_dir():
        raise RecipeError(f"{data_folder}: no such folder; give the data's with --data FOLDER")
    missing = [file for file in read.data.files if not (data_folder / file.path).is_file()]
    if missing:
        raise RecipeError(
            f"{data_folder / missing[0].path}: no such file; get it from {missing[0].url}"
        )
    for name, path in read.data.references.items():
        if not (data_folder / path).is_file():
            raise RecipeError(f"{data_folder / path}: no such file; it must hold {name}'s answers")
    return kind.open(read, data_folder, folder / read.name)


def _work_of(recipe: Recipe) -> type[Work]:
    reads = recipe.task.kind == "extract" and recipe.kind != "causal"
    return ReaderWork if reads else _WORKS[recipe.kind]


def build(
    work: Work,
    progress: Progress,
    *,
    until: Step = "pack",
    begins: Begins = lambda _step: None,
    ends: Ends = lambda _step, _result: None,
) -> list[Step]:
    """Run every step up to ``until`` whose results do not hold; returns those that ran.

    Raises:
        GateError: the specialist did not pass verification.
        EdgeslmError: another build of it is under way, or what a step raises.
    """
    ran: list[Step] = []
    steps = work.steps_until(until)
    with _held(work):
        for step in steps:
            if work.needs(step) is not None:
                _run(work, step, progress, begins, ends)
                ran.append(step)
    return ran


def run_step(
    work: Work,
    step: Step,
    progress: Progress,
    *,
    begins: Begins = lambda _step: None,
    ends: Ends = lambda _step, _result: None,
) -> None:
    """Run one step, whether its results hold or not.

    Raises:
        GateError: the step is verify, and the specialist did not pass.
        EdgeslmError: a step before it has not run, or what the step raises.
    """
    *before, _ = work.steps_until(step)
    with _held(work):
        for earlier in before:
            why = work.needs(earlier)
            if why is not None:
                raise EdgeslmError(f"the {earlier} step comes first: {why}")
        _run(work, step, progress, begins, ends)


def _run(work: Work, step: Step, progress: Progress, begins: Begins, ends: Ends) -> None:
    begins(step)
    try:
        work.begin(step)
        inputs = work.inputs(step)
        result = work.runs[step](progress)
        work.done(step, inputs)
    except ImportError as error:  # it is installed, but a part of it is missing or does not fit
        raise cannot_import(error) from error
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
    ends(step, result)
    if isinstance(result, Verdict):
        result.require()


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
