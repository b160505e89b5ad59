"""ExtractOptions: the arguments of a call of an Extractor, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from edgeslm import arguments
from edgeslm.formats.text import TRUNCATE, Truncate
from edgeslm.tasks.extraction.grounding import Grounded

OnBudget = Literal["close", "raise"]
OnInvalid = Literal["retry", "raise"]


class ExtractArguments(TypedDict, total=False):
    """The keyword arguments that a call of an Extractor and its ``map`` share."""

    max_tokens: int | None
    on_budget: OnBudget
    on_invalid: OnInvalid
    truncate: Truncate
    temperature: float
    seed: int
    drafts: bool
    evidence: bool
    grounded: Grounded | None


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """How one answer is decoded; ``Extractor.__call__`` says what each field means.

    ``max_tokens`` and ``grounded`` are None for what the extractor was made with.

    Raises:
        ArgumentError: a value that has no meaning.
    """

    max_tokens: int | None = None
    on_budget: OnBudget = "close"
    on_invalid: OnInvalid = "retry"
    truncate: Truncate = None
    temperature: float = 0.0
    seed: int = 0
    drafts: bool = True
    evidence: bool = True
    grounded: Grounded | None = None

    @classmethod
    def of(cls, method: str, given: Mapping[str, Any]) -> ExtractOptions:
        """The options that a ``method`` of an Extractor was given by name.

        Raises:
            TypeError: it has none of that name. ArgumentError: a value that has no meaning.
        """
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise TypeError(f"Extractor.{method}() got an unexpected keyword argument {name!r}")
        return cls(**given)

    def __post_init__(self) -> None:
        arguments.count_or_none("max_tokens", self.max_tokens)
        arguments.choice("on_budget", self.on_budget, ("close", "raise"))
        arguments.choice("on_invalid", self.on_invalid, ("retry", "raise"))
        arguments.choice("truncate", self.truncate, TRUNCATE)
        arguments.number("temperature", self.temperature, least=0)
        arguments.count("seed", self.seed, least=0, most=None)
        arguments.flag("drafts", self.drafts)
        arguments.flag("evidence", self.evidence)
