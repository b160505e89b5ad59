"""What a call answers: Extraction, Classification, Tags, and what they cost. All frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """What one call cost. Times are wall-clock milliseconds.

    ``prompt_tokens`` counts the whole prompt; ``cached_tokens`` of it were not
    evaluated again. ``decodes`` counts calls of the engine for the answer.
    ``total_ms`` also covers tokenizing, masking, evidence and waiting in the queue.
    """

    prefill_ms: float
    decode_ms: float
    total_ms: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    decodes: int

    def to_dict(self) -> dict[str, float | int]:
        """The numbers by their names, times rounded to microseconds."""
        return {
            "prefill_ms": round(self.prefill_ms, 3),
            "decode_ms": round(self.decode_ms, 3),
            "total_ms": round(self.total_ms, 3),
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "decodes": self.decodes,
        }


class PageBox(NamedTuple):
    """A rectangle on a page of a document, from the page's left upper corner, in its unit."""

    page: int
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of an extraction.

    ``confidence`` is the probability (0 to 1) of the leaf's text under the model,
    over the tokens where the grammar left a choice and renormalised over what it
    allowed; 0 where the budget cut or filled the leaf, and where null stands for what was made
    up. Where the model's card has a calibration for this field, it is the share of such answers
    that were right.
    ``span`` are half-open code-point offsets into the caller's text, None where the value is
    not found there. ``disagreement`` (0 to 1) is the probability that the grammar took away
    at these tokens: near 1, the model wanted to write something else, whatever its confidence.

    ``probabilities`` are those of every value that could stand here, where these are listed
    (an enum, a boolean, null), given the text and the answer so far; they add up to 1 and are
    never calibrated. A value is named by its JSON text, a string by itself. The answer's own
    is the likeliest (but in a sampled answer, and where an answer with the likeliest one would
    break a rule of the schema or a budget). None for other leaves, and in an answer that a budget
    ended.

    ``reading`` (0 to 1) is how likely the text means this number or date: less than 1 where its
    spelling can mean another (03/04/2026, 1,234), or where the text has a spelling of the kind
    that cannot be read, or where the number has more digits than the value holds (a double, but
    for decimals of a pydantic class). ``confidence`` is multiplied by it, but for calibrated
    fields, whose share of right answers was measured on such spellings.

    ``grounded`` is whether the text offers this date, time or number, in an answer that takes
    those from the text where it has some (``grounded="auto"``): False is one that was written
    freely, since the text has none that could stand here. A time is grounded with its time of day
    and its offset: where the text says no offset, Z stands for it, which is not grounded and has a
    ``reading`` of 0.5. None for other leaves and answers. With ``grounded=True`` a time whose
    offset the text does not say is no value: null then has that ``reading``, and where null is not
    allowed the text is refused.

    ``boxes`` are where the value stands on the pages of a document (`edgeslm.read_document`), one
    for each line; empty for a text and for a document without pages.
    """

    confidence: float
    span: tuple[int, int] | None
    disagreement: float = 0.0
    probabilities: Mapping[str, float] | None = None
    reading: float = 1.0
    grounded: bool | None = None
    boxes: tuple[PageBox, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The field as JSON values, likeliest listed value first."""
        values: dict[str, Any] = {
            "confidence": round(self.confidence, 6),
            "span": None if self.span is None else list(self.span),
            "disagreement": round(self.disagreement, 6),
        }
        if self.reading < 1:
            values["reading"] = round(self.reading, 6)
        if self.grounded is not None:
            values["grounded"] = self.grounded
        if self.boxes:
            values["boxes"] = [
                {"page": box.page, "box": [round(side, 2) for side in box[1:]]}
                for box in self.boxes
            ]
        if self.probabilities is not None:
            values["probabilities"] = _ranked(self.probabilities)
        return values


@dataclass(frozen=True, slots=True)
class Extraction(Generic[T]):
    """A validated value and where it came from.

    ``json`` is the exact text that was decoded; ``value`` is that text validated by
    the pydantic class, or parsed when the schema was a dict. ``fields`` maps the
    RFC 9535 path of every leaf, such as ``$.items[0].price``, to its Field; it is empty
    for calls with ``evidence=False``.
    ``complete`` is False if a budget ended the answer and edgeslm closed it.
    ``nothing_read`` says that no value of the answer stands in the text, listed values (an enum,
    a boolean) aside: all of it is null or made up. Where some fields by name must stand in the
    text, what the others make up is then null, with a confidence of 0, as far as the schema lets
    it be. It is False where this cannot be told: in an answer that was cut, and for a task that
    writes text of its own.
    ``confidence`` (0 to 1) is that of the whole record: that all of its fields are right. A model
    that reads gives one; None for one that writes.
    """

    value: T
    json: str
    complete: bool
    fields: Mapping[str, Field]
    timing: Timing
    nothing_read: bool = False
    confidence: float | None = None

    def plain(self) -> Any:
        """The value as JSON's types, to compare with another."""
        import json

        return json.loads(self.json)

    def to_dict(self) -> dict[str, Any]:
        """The answer as one JSON line's object."""
        return {
            "value": self.plain(),
            "complete": self.complete,
            **({} if self.confidence is None else {"confidence": round(self.confidence, 6)}),
            **({"nothing_read": True} if self.nothing_read else {}),
            "fields": {path: field.to_dict() for path, field in self.fields.items()},
            "timing": self.timing.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """A label and the probability of every label; they add up to 1.

    The label is the likeliest, but for the out-of-scope label of a card that has one: that is
    also said where no other is sure enough. ``confidence`` is that of the decision: the label's
    own probability, or how sure it is that no other label is right.
    """

    label: str
    confidence: float
    probabilities: Mapping[str, float]
    timing: Timing

    def plain(self) -> str:
        """The label."""
        return self.label

    def to_dict(self) -> dict[str, Any]:
        """The answer as one JSON line's object, likeliest label first."""
        return {
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "probabilities": _ranked(self.probabilities),
            "timing": self.timing.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Labels:
    """Any number of labels, likeliest first, and the independent probability of every label."""

    labels: tuple[str, ...]
    probabilities: Mapping[str, float]

    def plain(self) -> list[str]:
        """The labels in the order of the alphabet."""
        return sorted(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """The answer of one head as JSON values, likeliest label first."""
        return {"labels": list(self.labels), "probabilities": _ranked(self.probabilities)}


@dataclass(frozen=True, slots=True)
class Tags:
    """The answers of all heads to one text, by head, from one pass.

    A head has a Classification, or Labels where it is multi-label. Their timing is the pass's.
    """

    heads: Mapping[str, Classification | Labels]
    timing: Timing

    def plain(self) -> dict[str, str | list[str]]:
        """A label of each head, or a sorted list of them where it is multi-label."""
        return {name: answer.plain() for name, answer in self.heads.items()}

    def to_dict(self) -> dict[str, Any]:
        """The answer as one JSON line's object."""
        heads = {name: answer.to_dict() for name, answer in self.heads.items()}
        for answer in heads.values():
            answer.pop("timing", None)  # said once, for all
        return {"heads": heads, "timing": self.timing.to_dict()}


@dataclass(frozen=True, slots=True)
class Asked:
    """One member of a cascade, or its fallback, that was asked; ``ms`` is what that cost.

    ``label`` is None where it failed, with the reason in ``error``. ``confidence`` is None
    where a fallback gave none. ``threshold`` None: its confidence is never enough.
    """

    member: str
    ms: float
    label: str | None = None
    confidence: float | None = None
    threshold: float | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ms": round(self.ms, 3)}


@dataclass(frozen=True, slots=True)
class CascadeAnswer:
    """What a cascade answers, who of it did, and why that one.

    ``reason`` is ``"sure"`` for the first member that is sure enough (only these answers are
    under the cascade's bound), or ``"fallback"`` for the fallback's. The others are of no member
    that was sure enough: the best local answer, because there is no fallback (``"unsure"``), it
    failed (``"fallback failed"``), or time was up (``"deadline"``).
    """

    label: str
    confidence: float | None
    member: str
    reason: Literal["sure", "fallback", "unsure", "fallback failed", "deadline"]
    asked: tuple[Asked, ...]
    total_ms: float

    def to_dict(self) -> dict[str, Any]:
        """The answer as one JSON line's object."""
        return {
            "label": self.label,
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            "member": self.member,
            "reason": self.reason,
            "asked": [step.to_dict() for step in self.asked],
            "total_ms": round(self.total_ms, 3),
        }


def _ranked(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Likeliest first, rounded to six places."""
    ordered = sorted(probabilities.items(), key=lambda item: -item[1])
    return {name: round(share, 6) for name, share in ordered}
