"""The work folder of one build: where each step's results lie, and whether they still hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from converters.data.rows import Row, read_rows
from converters.recipe.data import Part
from converters.recipe.recipe import Recipe
from edgeslm.errors import EdgeslmError
from edgeslm.formats.files import file_sha256, publish

Step = Literal["data", "train", "merge", "export", "quantize", "verify", "pack"]
STEPS: tuple[Step, ...] = ("data", "train", "merge", "export", "quantize", "verify", "pack")
#: the steps that each kind of model takes, in their order
STEPS_OF: Final[dict[str, tuple[Step, ...]]] = {
    "causal": STEPS,
    "encoder": ("data", "train", "export", "quantize", "verify", "pack"),
    "linear": ("data", "train", "quantize", "verify", "pack"),
}

#: keys of a task that decide how it is answered, and nothing about rows or training
_ANSWERING = frozenset({"grounded", "max_tokens", "out_of_scope"})
#: options of an encoder that decide what export adds to it, and nothing of its training
_BESIDE = ("linear_features", "logit_adjustment")


@dataclass(frozen=True)
class Work:
    """One recipe's build. ``base`` is the GGUF or Hugging Face folder that is trained; a linear
    model has none, and the build's own folder stands there."""

    recipe: Recipe
    data_folder: Path
    folder: Path
    base: Path

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of this kind of model, in their order."""
        return STEPS_OF[self.recipe.kind]

    @property
    def suffix(self) -> str:
        """Of the files that hold the model at runtime."""
        return ".gguf" if self.recipe.kind == "causal" else ".onnx"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def training(self) -> Path:
        return self.folder / "train"

    @property
    def peft(self) -> Path:
        return self.training / "adapter"

    @property
    def merged_hf(self) -> Path:
        return self.folder / "merged-hf"

    @property
    def draft(self) -> Path:
        """The adapter as GGUF, with the importance matrix once that is known, without proof."""
        return self.folder / "draft.gguf"

    @property
    def merged(self) -> Path:
        """Base and adapter as float weights, made as a device makes them."""
        return self.folder / "merged.F32.gguf"

    @property
    def encoder(self) -> Path:
        """The trained encoder, as a folder."""
        return self.training / "model"

    @property
    def float_onnx(self) -> Path:
        """The trained encoder with float weights."""
        return self.folder / "float.onnx"

    @property
    def linear(self) -> Path:
        """The trained linear model."""
        return self.training / "linear.onnx"

    @property
    def float_logits(self) -> Path:
        """What the linear model's float weights say of development and judged rows."""
        return self.training / "logits.npz"

    @property
    def exported(self) -> Path:
        """The merged transformers model through the converter, to compare with ``merged``."""
        return self.folder / "exported.F32.gguf"

    @property
    def candidate(self) -> Path:
        return self.folder / f"candidate{self.suffix}"

    @property
    def model(self) -> Path:
        return self.folder / f"{self.recipe.name}{self.suffix}"

    @property
    def adapter(self) -> Path:
        return self.folder / f"{self.recipe.name}.adapter.gguf"

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
        except (OSError, ValueError) as error:
            raise EdgeslmError(
                f"{self.report(step)}: cannot be read; run the {step} step first"
            ) from error
        return values

    def needs(self, step: Step) -> str | None:
        """Why a step has to run; None where its results hold."""
        try:
            found = self._note(step).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return "not done yet"
        if found != self.inputs(step):
            return "its inputs have changed"
        missing = [path for path in self.results(step) if not path.exists()]
        return f"{missing[0].name} is missing" if missing else None

    def results(self, step: Step) -> list[Path]:
        """What a step leaves for those after it, or for people."""
        match step:
            case "data":
                return [
                    *(self.data / f"{part}.jsonl" for part in self.recipe.data.split.parts),
                    self.data / "summary.json",
                ]
            case "train":
                return [self._trained]
            case "merge":
                return [self.merged_hf, self.draft, self.merged]
            case "quantize":
                return [self.candidate, self.report(step)]
            case "export" | "verify":
                onnx = step == "export" and self.recipe.kind == "encoder"
                return [*([self.float_onnx] if onnx else []), self.report(step)]
            case "pack":
                return [self.model, self.adapter] if self.recipe.kind == "causal" else [self.model]

    @property
    def _trained(self) -> Path:
        match self.recipe.kind:
            case "causal":
                return self.peft
            case "encoder":
                return self.encoder
            case "linear":
                return self.linear

    def begin(self, step: Step) -> None:
        """A step that runs anew holds nothing until it is done, nor do those after it."""
        for later in self.steps[self.steps.index(step) :]:
            self._note(later).unlink(missing_ok=True)

    def _note(self, step: Step) -> Path:
        return self.folder / f".{step}.inputs"

    def done(self, step: Step, inputs: str) -> None:
        """Note that a step's results hold for ``inputs``, those that it began with."""
        aside = self.folder / f".{step}.inputs.part"
        aside.write_text(inputs, encoding="utf-8")
        publish(aside, self._note(step))

    def inputs(self, step: Step) -> str:
        """A hash of all that decides a step's results: its own inputs and those before it."""
        digest = sha256()
        for name in self.steps[: self.steps.index(step) + 1]:
            for value in self._own_inputs(name):
                digest.update(json.dumps(value, sort_keys=True).encode())
        return digest.hexdigest()

    def _own_inputs(self, step: Step) -> Iterator[Any]:
        recipe = self.recipe.model_dump(mode="json", by_alias=True)
        match step:
            case "data":
                task = {key: recipe["task"][key] for key in recipe["task"].keys() - _ANSWERING}
                yield [task, _data_inputs(recipe["data"])]
                yield [_identity(self.data_folder / file.path) for file in self.recipe.data.files]
            case "train":
                start = self.recipe.lora.start
                lora = {**recipe["lora"], "start": start and _identity(start)}
                yield [recipe["prompt"], lora, recipe["train"]]
                yield [recipe["data"]["augment"], self._identity_of_base()]
                if self.recipe.kind != "causal":
                    yield [self.recipe.kind, _without(recipe["encoder"], _BESIDE)]
                if self.recipe.kind == "linear":
                    yield self.recipe.data.remembers
            case "export":
                if self.recipe.kind == "encoder":
                    yield [self.recipe.data.remembers, *map(recipe["encoder"].get, _BESIDE)]
            case "quantize":
                yield [recipe["quantize"], recipe["gates"]["max_drop"]]
                yield {key: recipe["task"].get(key) for key in ("grounded", "max_tokens")}
                if self.recipe.kind != "causal":
                    yield recipe["task"].get("out_of_scope")
            case "verify":
                yield [recipe["gates"], recipe["examples"]]
                if self.recipe.data.remember == "everything":
                    yield recipe["data"]["remember"]
                references = self.recipe.data.references
                if references:
                    yield {n: _identity(self.data_folder / path) for n, path in references.items()}
            case "pack":
                yield [recipe[key] for key in ("name", "version", "licence", "description")]

    def _identity_of_base(self) -> str | list[str] | None:
        return None if self.recipe.kind == "linear" else _identity(self.base)


def _data_inputs(data: dict[str, Any]) -> dict[str, Any]:
    """What of the data table decides the rows; options that are off are no inputs."""
    unused = {"references", "remember"}
    if data["copies"] == "majority":
        unused |= {"copies", "weight_power"}
    optional = {"seen", "per_group"}
    split = {key: value for key, value in data["split"].items() if value or key not in optional}
    return {**_without(data, unused), "augment": None, "split": split}


def _without(table: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a report, aside first."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    publish(aside, path)


def _identity(path: Path) -> str | list[str] | None:
    """What tells a file, or all files of a folder, from others; None where it is missing."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        return [f"{file.name} {file_sha256(file)}" for file in files]
    return file_sha256(path) if path.is_file() else None
