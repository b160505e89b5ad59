"""A recipe's section on data: files, fields, how rows are split, copied and changed"""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgeslm.formats.card import ShortText

#: what rows are held out for, and what is left to train on
Part = Literal["train", "development", "gold", "seen"]
#: the parts of every recipe; ``seen`` is there where data.split asks for it
PARTS: tuple[Part, ...] = ("train", "development", "gold")


#: no count of a recipe is larger: rows, tokens, steps
MAX_COUNT = 1_000_000_000

#: numbers and switches are taken as they are written: "8", true and 1.0 are no whole numbers
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]


def _lies_within(path: str) -> str:
    if (
        PurePosixPath(path).is_absolute()
        or PureWindowsPath(path).is_absolute()
        or ".." in path.replace("\\", "/").split("/")
    ):
        raise ValueError("a path within the data folder must be relative and without '..'")
    return path


#: the name of a file within the data folder
DataPath = Annotated[ShortText, AfterValidator(_lies_within)]


class Closed(BaseModel):
    """A section of a recipe: no other keys, and none changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataFile(Closed):
    """One file of examples: .jsonl, .csv (each also .gz), found in the data folder by its name.

    ``url`` and ``licence`` say where anyone can get it.
    """

    path: DataPath
    url: ShortText
    licence: ShortText
    format: Literal["auto", "jsonl", "csv", "messages"] = "auto"


class AnswerField(Closed):
    """One field of an extraction's answer, read from a row by dotted path.

    ``as_`` normalises: ``date`` to ISO 8601 (``day_first`` decides 03/04), ``amount`` to a
    decimal with two places and no currency. ``text`` folds white space.
    """

    source: ShortText
    as_: Literal["text", "date", "amount", "value"] = Field(default="text", alias="as")
    day_first: Switch = True


class Split(Closed):
    """Which rows are held out: by a hash of the input, or of a field for whole groups.

    ``gold`` and ``development`` are fractions; what is left is for training. ``seen`` is the
    fraction of the rows left that is held out from groups which stay in training. Of a group
    gold and development have at most ``per_group`` rows, so that no large one decides a score.
    """

    gold: Number = Field(default=0.15, ge=0.01, le=0.5)
    development: Number = Field(default=0.05, ge=0.01, le=0.5)
    group: ShortText | None = None
    seen: Number = Field(default=0.0, ge=0, le=0.5)
    per_group: Whole | None = Field(default=None, ge=1, le=MAX_COUNT)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that rows are split into."""
        return (*PARTS, "seen") if self.seen else PARTS

    @model_validator(mode="after")
    def _seen_groups(self) -> Split:
        if self.seen and self.group is None:
            raise ValueError(
                "seen must have group beside it: it holds out rows of groups that stay in training"
            )
        if self.per_group is not None and self.group is None:
            raise ValueError("per_group must have group beside it, whose rows it counts")
        return self


class Augment(Closed):
    """Changed copies of training rows, drawn anew for every epoch.

    ``drop_field`` is the share of rows that lose the lines of one field, whose answer becomes
    null; ``vary_field`` the share whose dates and amounts are replaced, in input and answer
    alike; ``swap_field`` the share that gets one of its other texts from another row, and
    ``vary_text`` the share in whose texts rare words and numbers are others; ``drop_part`` the
    share that goes without the last part of the input template.
    """

    drop_field: Number = Field(default=0.0, ge=0, le=1)
    vary_field: Number = Field(default=0.0, ge=0, le=1)
    swap_field: Number = Field(default=0.0, ge=0, le=1)
    vary_text: Number = Field(default=0.0, ge=0, le=1)
    drop_part: Number = Field(default=0.0, ge=0, le=1)


class Data(Closed):
    """Where examples come from and how a row becomes input and answer.

    ``input`` is a template with dotted paths of the row, such as ``{text}, {amount}``.
    ``label`` (classify) is a dotted path, ``answer`` (extract) one source per schema field.
    ``max_rows`` bounds the training rows, drawn by hash. ``references`` are files of other
    systems' answers by the system's name, scored on the gold rows beside the specialist.

    Of copies of an input, training has one row with the answer of the ``majority``, or with
    ``all`` one row for each of its answers; that of n copies then weighs n ** ``weight_power``.
    ``remember`` keeps a hash of each ``training`` input in the file, with how often it had which
    label: where an input comes again, that decides, and what was learned of others little.
    ``everything`` adds the held-out inputs as well, once the scores without them are written down.
    """

    files: tuple[DataFile, ...] = Field(min_length=1)
    input: ShortText = "{text}"
    label: ShortText | None = None
    answer: dict[str, AnswerField] = {}
    confidence: ShortText | None = None
    min_confidence: Number = Field(default=0.85, ge=0, le=1)
    near_duplicate: Number = Field(default=0.85, ge=0.5, le=1)
    max_rows: Whole | None = Field(default=None, ge=10, le=MAX_COUNT)
    copies: Literal["majority", "all"] = "majority"
    weight_power: Number = Field(default=0.5, ge=0, le=1)
    remember: Literal["nothing", "training", "everything"] = "nothing"
    split: Split = Split()
    augment: Augment = Augment()
    references: dict[ShortText, DataPath] = {}

    @property
    def remembers(self) -> bool:
        """Whether the file knows inputs by heart."""
        return self.remember != "nothing"
