"""One build: the folder where each step's results lie, and whether they still hold."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from converters.data.rows import Row, read_rows
from converters.errors import RecipeError
from converters.recipe.data import Part
from converters.recipe.recipe import Recipe
from edgeslm.errors import EdgeslmError
from edgeslm.formats.files import Progress, file_sha256, publish

Step = Literal["data", "train", "merge", "export", "quantize", "verify", "pack"]
#: every step that some kind of model takes, in the order of a build
STEPS: tuple[Step, ...] = ("data", "train", "merge", "export", "quantize", "verify", "pack")

#: keys of a task that decide how it is answered, and nothing about rows or training
_ANSWERING = frozenset({"grounded", "max_tokens", "out_of_scope"})


class StepResult(Protocol):
    """What a step returns: plain values that the command line shows."""

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""


#: what runs a step
Run = Callable[[Progress], StepResult]


@dataclass(frozen=True)
class Work(ABC):
    """One recipe's build. Each kind of model has a subclass in `converters.steps`, which says what
    its steps are, what they read, what they leave, and runs them.

    ``base`` is the GGUF or Hugging Face folder that is trained; a linear model has none, and
    the build's own folder stands there.
    """

    recipe: Recipe
    data_folder: Path
    folder: Path
    base: Path

    #: the libraries without which no step runs, by the names they are imported by
    libraries: ClassVar[tuple[str, ...]]
    #: of the files that hold the model at runtime
    suffix: ClassVar[str]

    @classmethod
    def open(cls, recipe: Recipe, data_folder: Path, folder: Path) -> Self:
        """The build of a recipe in ``folder``; raises what finding its base does."""
        return cls(recipe, data_folder, folder, cls.find_base(recipe, folder))

    @staticmethod
    @abstractmethod
    def find_base(recipe: Recipe, folder: Path) -> Path:
        """What the recipe trains.

        Raises:
            BaseModelError, ModelNotFoundError: there is no such base.
        """

    @property
    @abstractmethod
    def runs(self) -> dict[Step, Run]:
        """The steps of this kind of model in their order, each with what runs it."""

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self.runs)

    def steps_until(self, last: Step) -> tuple[Step, ...]:
        """The steps up to ``last``, in their order.

        Raises:
            RecipeError: this kind of model has no such step.
        """
        if last not in self.steps:
            raise RecipeError(
                f"{self.recipe.name}: a recipe of the kind {self.recipe.kind} has no {last} step; "
                f"its steps are {', '.join(self.steps)}"
            )
        return self.steps[: self.steps.index(last) + 1]

    # --- files ----------------------------------------------------------------

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def training(self) -> Path:
        return self.folder / "train"

    @property
    def candidate(self) -> Path:
        return self.folder / f"candidate{self.suffix}"

    @property
    def model(self) -> Path:
        return self.folder / f"{self.recipe.name}{self.suffix}"

    def rows(self, part: Part) -> list[Row]:
        """Rows of the data step; raises DataError where it did not run."""
        return read_rows(self.data / f"{part}.jsonl")

    @property
    def judged(self) -> dict[Part, list[Row]]:
        """The rows that the gates judge by: gold ones and, where the recipe has them, seen ones."""
        parts: tuple[Part, ...] = ("gold", "seen")
        return {part: self.rows(part) for part in parts if part in self.recipe.data.split.parts}

    @property
    def judged_rows(self) -> list[Row]:
        """Rows of all parts of ``judged``, one after the other."""
        return [row for rows in self.judged.values() for row in rows]

    def in_words(self, part: Part) -> str:
        """Which rows those of ``judged`` are."""
        split = self.recipe.data.split
        by = "a hash of the input" if split.group is None else f"a hash of {split.group}"
        files = ", ".join(file.path for file in self.recipe.data.files)
        since = ", remembered since" if self.recipe.data.remember == "everything" else ""
        if part == "seen":
            return (
                f"{split.seen:.0%} of the rows of {files} whose {split.group} is in training, "
                f"by a hash of the row{since}"
            )
        unseen = ", unseen in training" if split.seen else ""
        return f"{split.gold:.0%} of {files}, by {by}{unseen}{since}"

    def report(self, step: Step) -> Path:
        """What a step found, as JSON."""
        return self.folder / f"{step}.json"

    def write_report(self, step: Step, values: dict[str, Any]) -> None:
        write_json(self.report(step), values)

    def read_report(self, step: Step) -> dict[str, Any]:
        """Raises EdgeslmError where the step did not run."""
        try:
            values: dict[str, Any] = json.loads(self.report(step).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise EdgeslmError(
                f"{self.report(step)}: cannot be read; run the {step} step first"
            ) from error
        return values

    # --- what holds ------------------------------------------------------------

    def needs(self, step: Step) -> str | None:
        """Why a step has to run; None where its results hold."""
        try:
            noted = self._note(step).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return "not done yet"
        if noted != self.inputs(step):
            return "its inputs have changed"
        missing = [path for path in self.results(step) if not path.exists()]
        return f"{missing[0].name} is missing" if missing else None

    def begin(self, step: Step) -> None:
        """A step that runs anew holds nothing until it is done, nor do those after it."""
        for later in self.steps[self.steps.index(step) :]:
            self._note(later).unlink(missing_ok=True)

    def done(self, step: Step, inputs: str) -> None:
        """Note that a step's results hold for ``inputs``, those that it began with."""
        aside = self.folder / f".{step}.inputs.part"
        aside.write_text(inputs, encoding="utf-8")
        publish(aside, self._note(step))

    def inputs(self, step: Step) -> str:
        """A hash of all that decides a step's results: its own inputs and those before it."""
        digest = sha256()
        for name in self.steps_until(step):
            for value in self.own_inputs(name):
                digest.update(json.dumps(value, sort_keys=True).encode())
        return digest.hexdigest()

    def own_inputs(self, step: Step) -> Iterator[Any]:
        """JSON values that decide a step's results beside what the steps before it leave.

        A kind adds its own to these, which every kind has.
        """
        recipe = self.table
        match step:
            case "data":
                task = {key: recipe["task"][key] for key in recipe["task"].keys() - _ANSWERING}
                yield [task, _data_inputs(recipe["data"])]
                yield [identity(self.data_folder / file.path) for file in self.recipe.data.files]
            case "train":
                start = self.recipe.lora.start
                lora = {**recipe["lora"], "start": start and identity(start)}
                yield [recipe["prompt"], lora, recipe["train"]]
                yield [recipe["data"]["augment"], self.base_identity]
            case "quantize":
                yield [recipe["quantize"], recipe["gates"]["max_drop"], recipe["gates"]["fold"]]
                yield {key: recipe["task"].get(key) for key in ("grounded", "max_tokens")}
            case "verify":
                yield [recipe["gates"], recipe["examples"]]
                if self.recipe.data.remember == "everything":
                    yield recipe["data"]["remember"]
                if self.recipe.serve_as != ("file",):
                    yield recipe["serve_as"]
                references = self.recipe.data.references
                if references:
                    yield {n: identity(self.data_folder / path) for n, path in references.items()}
            case "pack":
                yield [recipe[key] for key in ("name", "version", "licence", "description")]

    def results(self, step: Step) -> list[Path]:
        """What a step leaves for those after it, or for people; a kind adds its own to these."""
        match step:
            case "data":
                return [
                    *(self.data / f"{part}.jsonl" for part in self.recipe.data.split.parts),
                    self.data / "summary.json",
                ]
            case "quantize":
                return [self.candidate, self.report(step)]
            case "export" | "verify":
                return [self.report(step)]
            case "pack":
                return [self.model]
            case _:
                return []

    @property
    def table(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        values: dict[str, Any] = self.recipe.model_dump(mode="json", by_alias=True)
        return values

    @property
    def base_identity(self) -> str | list[str] | None:
        """What tells the base from others."""
        return identity(self.base)

    def _note(self, step: Step) -> Path:
        return self.folder / f".{step}.inputs"


def _data_inputs(data: dict[str, Any]) -> dict[str, Any]:
    """What of the data table decides the rows; options that are off are no inputs."""
    unused = {"references", "remember"}
    if data["copies"] == "majority":
        unused |= {"copies", "weight_power"}
    optional = {"seen", "per_group"}
    split = {key: value for key, value in data["split"].items() if value or key not in optional}
    return {**without(data, unused), "augment": None, "split": split}


def without(table: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """A table of a recipe without some of its keys."""
    return {key: value for key, value in table.items() if key not in keys}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a report, aside first."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    publish(aside, path)


def identity(path: Path) -> str | list[str] | None:
    """What tells a file, or all files of a folder, from others; None where it is missing."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        return [f"{file.name} {file_sha256(file)}" for file in files]
    return file_sha256(path) if path.is_file() else None
