"""Card: what a specialist promises, as the JSON under `edgeslm.card` in its model file."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from edgeslm.arguments import shown
from edgeslm.errors import CardError, first_fault
from edgeslm.formats.card_facts import CARD_FORMAT, MAX_CARD_BYTES, MAX_HEADS, MAX_LABELS
from edgeslm.formats.labels import doubled
from edgeslm.formats.text import FOLD_WORDS, Fold

#: steps that the calibration of one field may have
MAX_STEPS: Final = 50
#: fields that may have a calibration
MAX_FIELDS: Final = 1000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
ShortText = Annotated[str, Field(min_length=1, max_length=200)]


class _Closed(BaseModel):
    # a validator is built when it is first used: for the whole card, not again for each part
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Style(_Closed):
    """How JSON is spelled: the separators that training used, enforced while decoding."""

    item_separator: Literal[",", ", "] = ","
    key_separator: Literal[":", ": "] = ":"


class ExtractTask(_Closed):
    """Text in, one JSON value out.

    ``grounded`` values are taken from the text alone: all, those of the named properties, or
    (``"auto"``) dates, times and numbers where the text has some. It is what the task was proven
    with.
    """

    kind: Literal["extract"] = "extract"
    json_schema: dict[str, Any]
    style: Style = Style()
    max_tokens: int = Field(default=512, ge=1, le=65536)
    grounded: bool | Literal["auto"] | tuple[str, ...] = False

    @model_validator(mode="after")
    def _grounded_exist(self) -> ExtractTask:
        known = self.json_schema.get("properties")
        if isinstance(known, dict) and not isinstance(self.grounded, bool | str):
            unknown = [name for name in self.grounded if name not in known]
            if unknown:
                raise ValueError(f"grounded names no property: {', '.join(map(repr, unknown))}")
        return self


class LabelSpec(_Closed):
    """One label. ``verbalizer`` is what the model says for it (default: the name)."""

    name: ShortText
    verbalizer: ShortText | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None

    @property
    def text(self) -> str:
        return self.verbalizer or self.name


class _LabelSet(_Closed):
    """A closed set of labels, no two of one verbalizer or of names that read the same."""

    labels: tuple[LabelSpec, ...] = Field(min_length=2, max_length=MAX_LABELS)

    @field_validator("labels", mode="before")
    @classmethod
    def _names_become_specs(cls, labels: Any) -> Any:
        if isinstance(labels, list | tuple):
            return [{"name": item} if isinstance(item, str) else item for item in labels]
        return labels

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        wrong = doubled(label.name for label in self.labels)
        if wrong is not None:
            raise ValueError(wrong)
        spoken = Counter(label.text for label in self.labels)
        twice = sorted(text for text, times in spoken.items() if times > 1)
        if twice:
            raise ValueError(f"verbalizer given twice: {', '.join(map(repr, twice))}")
        return self


class ClassifyTask(_LabelSet):
    """Text in, one label of a closed set out.

    ``out_of_scope`` is the label for a text that belongs to no other; it is also said where
    the card's calibration finds no other sure enough.
    """

    kind: Literal["classify"] = "classify"
    out_of_scope: ShortText | None = None

    @model_validator(mode="after")
    def _out_of_scope_is_a_label(self) -> Self:
        if self.out_of_scope is not None and self.out_of_scope not in {
            label.name for label in self.labels
        }:
            raise ValueError(f"out_of_scope must be one of the labels, not {self.out_of_scope!r}")
        return self


class Head(_LabelSet):
    """One label set of a TagTask: one label of it, or any number with ``multi_label``.

    Probabilities of a multi-label head are independent; a label is given from ``threshold`` on.
    """

    name: ShortText
    multi_label: bool = False
    threshold: Share = 0.5


class TagTask(_Closed):
    """Text in, an answer of each of several label sets out, from one pass of an encoder."""

    kind: Literal["tag"] = "tag"
    heads: tuple[Head, ...] = Field(min_length=1, max_length=MAX_HEADS)

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [head.name for head in self.heads]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"head given twice: {', '.join(map(repr, doubled))}")
        return self


class GenerateTask(_Closed):
    """Text in, one JSON value of free text fields out (a summary, a query, a reformatting)."""

    kind: Literal["generate"] = "generate"
    json_schema: dict[str, Any]
    style: Style = Style()
    max_tokens: int = Field(default=512, ge=1, le=65536)


Task = Annotated[ExtractTask | ClassifyTask | TagTask | GenerateTask, Field(discriminator="kind")]


class PromptSpec(_Closed):
    """The words around the text. ``user`` holds ``{{ text }}`` exactly once and no other variable.

    ``chat_template_sha256`` is the hash of the GGUF's chat template, so that a card
    cannot be moved to a file that would spell its prompt otherwise.
    """

    system: Annotated[str, Field(max_length=65536)] | None = None
    user: Annotated[str, Field(max_length=65536)] = "{{ text }}"
    chat_template_sha256: Sha256 | None = None

    @field_validator("user")
    @classmethod
    def _one_text(cls, user: str) -> str:
        if user.count("{{ text }}") != 1:
            raise ValueError("the user template must hold '{{ text }}' exactly once")
        rest = user.replace("{{ text }}", "")
        if any(mark in rest for mark in ("{{", "{%", "{#")):
            raise ValueError("the user template must hold no template code but '{{ text }}'")
        return user


class FieldCalibration(_Closed):
    """What a field's raw confidence is worth: a step function that never falls.

    ``values[i]`` is the share that was right from ``starts[i]`` up to the next start; the first
    one holds below it, too. Errors are those of ``n`` values it was not fitted on (Brier: the
    mean squared distance from right or wrong, 0 to 1).
    """

    starts: tuple[Share, ...] = Field(min_length=1, max_length=MAX_STEPS)
    values: tuple[Share, ...] = Field(min_length=1, max_length=MAX_STEPS)
    n: int = Field(ge=1)
    ece_before: Share
    ece_after: Share
    brier_before: Share
    brier_after: Share

    @model_validator(mode="after")
    def _never_falls(self) -> FieldCalibration:
        if len(self.starts) != len(self.values):
            raise ValueError("starts and values must have the same length")
        if any(a >= b for a, b in pairwise(self.starts)):
            raise ValueError("starts must be strictly increasing")
        if any(a > b for a, b in pairwise(self.values)):
            raise ValueError("values must not decrease")
        return self

    def of(self, confidence: float) -> float:
        """The calibrated confidence of a raw one; both 0 to 1."""
        return self.values[max(0, bisect_right(self.starts, confidence) - 1)]


class Calibration(_Closed):
    """What confidences are corrected by, and the data it was fitted on.

    ``temperature`` and ``threshold`` are a classifier's. Where its task has an ``out_of_scope``
    label, that is said when the likeliest of the others has a calibrated probability below
    ``threshold``; with ``reject`` = "energy", when the log-sum-exp of their logits (before the
    temperature) is below ``energy`` instead. ``fields`` are an extractor's, by path:
    RFC 9535 with a wildcard for every item of an array, such as ``$.items[*].price``. Errors
    of an extractor are the means over its calibrated fields, weighted by their ``n``.
    """

    temperature: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    threshold: float | None = Field(default=None, ge=0, le=1)
    reject: Literal["probability", "energy"] = "probability"
    energy: float | None = Field(default=None, allow_inf_nan=False)
    fields: dict[str, FieldCalibration] = Field(default={}, max_length=MAX_FIELDS)
    fitted_on_sha256: Sha256 | None = None
    n: int | None = Field(default=None, ge=1)
    ece_before: float | None = Field(default=None, ge=0, le=1)
    ece_after: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _energy_has_a_bound(self) -> Self:
        if self.reject == "energy" and self.energy is None:
            raise ValueError('reject = "energy" needs the bound, energy')
        return self


class CategoryScore(_Closed):
    """A score of one label or field, with its lower 95 % confidence bound."""

    n: int = Field(ge=0)
    value: float = Field(ge=0, le=1)
    lower: float | None = Field(default=None, ge=0, le=1)


class Score(_Closed):
    """One metric on one gold set.

    ``fold`` says how texts were compared by a score of extraction (`normalize.normal`).
    """

    metric: ShortText
    fold: Fold = "case"
    value: float = Field(ge=0, le=1)
    interval: tuple[float, float] | None = None
    n: int = Field(ge=1)
    gold: ShortText
    gold_sha256: Sha256 | None = None
    by_category: dict[str, CategoryScore] = {}
    baselines: dict[str, float] = {}

    def words(self, task: Task) -> str:
        """The metric, and where texts are compared, how."""
        compares = isinstance(task, ExtractTask | GenerateTask)
        return f"{self.metric} ({FOLD_WORDS[self.fold]})" if compares else self.metric

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # the key came later: a card that does without it stays one that loaders before it read
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if (key, value) != ("fold", "case")}


class Provenance(_Closed):
    """What the file was made from."""

    base: str | None = None
    base_sha256: Sha256 | None = None
    adapter_sha256: Sha256 | None = None
    recipe_sha256: Sha256 | None = None
    data_sha256: Sha256 | None = None
    tools: dict[str, str] = {}
    sources: tuple[str, ...] = ()


#: how a specialist may be served: as the one file that it is, or as an adapter beside its base
Serving = Literal["file", "adapter"]


class Example(_Closed):
    """A self-test: this input must give this answer (a value, or a label)."""

    input: Annotated[str, Field(min_length=1, max_length=65536)]
    expected: Any


class Card(_Closed):
    """A specialist's promise. Closed and versioned; holds no code.

    ``proven_as`` are the ways of serving that its scores were measured in. Beside its base an
    adapter works on weights that are rounded otherwise than those of the file, and may answer
    otherwise: only scores whose metric ends in "as adapter" speak of that.
    """

    format: Literal[1] = CARD_FORMAT
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    version: ShortText = "1"
    licence: ShortText
    description: Annotated[str, Field(max_length=2000)] = ""
    task: Task
    prompt: PromptSpec = PromptSpec()
    calibration: Calibration | None = None
    scores: tuple[Score, ...] = ()
    proven_as: tuple[Serving, ...] = Field(default=("file",), min_length=1, max_length=2)
    provenance: Provenance = Provenance()
    examples: tuple[Example, ...] = Field(default=(), max_length=100)

    def promised(self, metric: str, fold: Fold = "case") -> Score | None:
        """The first score of this metric that has an interval, with texts compared so."""
        return next(
            (s for s in self.scores if (s.metric, s.fold) == (metric, fold) and s.interval), None
        )

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> Card:
        """Parse a card; ``where`` names its place in errors.

        Raises:
            CardError: malformed, too large, of a newer format, or with unknown keys.
        """
        if len(text) > MAX_CARD_BYTES:
            raise CardError(
                f"{where}: the card has {len(text)} bytes, over the {MAX_CARD_BYTES} allowed"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise CardError(_explain(error, where)) from error

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, where: str) -> Card:
        """Validate a card that came as TOML or a dict; raises CardError."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise CardError(_explain(error, where)) from error

    def to_json(self) -> str:
        """The card as the compact JSON that a model file carries."""
        return self.model_dump_json(exclude_defaults=False)


def _explain(error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False)[0]
    if first["loc"] == ("format",):
        return (
            f"{where}: the card has format {shown(first['input'])}, "
            f"this edgeslm reads format {CARD_FORMAT}; update edgeslm"
        )
    return f"{where}: card, at {first_fault(error, whole='the card')}"
