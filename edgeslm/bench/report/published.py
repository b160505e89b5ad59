"""Figures that others published, as data: shown beside measured ones, and marked as not measured"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MARK: Final = "published, not measured here"

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of a published table. Times in milliseconds; a span is (lowest, highest).

    ``p50`` is the time of a whole answer, which for the task "50 tokens" has that many.
    """

    model: str
    device: str | None
    task: str
    p50: Span
    p99: float | None = None
    first_token: float | None = None
    tokens_per_second: Span | None = None
    tokens: int | None = None

    @property
    def name(self) -> str:
        return self.model if self.device is None else f"{self.model}, {self.device}"

    @property
    def words(self) -> str:
        """All that was published, in one line."""
        parts = [f"{self.task}: {span(self.p50)} ms"]
        if self.p99 is not None:
            parts.append(f"p99 about {self.p99:g} ms")
        if self.first_token is not None:
            parts.append(f"first token {self.first_token:g} ms")
        if self.tokens_per_second is not None:
            parts.append(f"{span(self.tokens_per_second)} tokens/s")
        return ", ".join(parts) + (" *" if self.contradiction else "")

    @property
    def contradiction(self) -> str | None:
        """Why the row cannot be true as it stands, or None if it can."""
        if self.tokens is None or self.tokens_per_second is None:
            return None
        slowest, fastest = (1000 * self.tokens / speed for speed in self.tokens_per_second)
        if fastest <= self.p50[1]:
            return None
        return (
            f"{self.name}: contradicts itself. {self.tokens} tokens at "
            f"{span(self.tokens_per_second)} tokens/s take {fastest:,.0f}–{slowest:,.0f} ms, "
            f"not the {span(self.p50)} ms of the same row."
        )


def span(values: Span) -> str:
    """A lowest and a highest value, or the one that both are."""
    lowest, highest = values
    return f"{lowest:g}" if lowest == highest else f"{lowest:g}–{highest:g}"


ROWS: Final = (
    PublishedRow("fine-tuned 8B", None, "classify", (85, 85)),
    PublishedRow("fine-tuned 7B", None, "classify", (78, 78)),
    PublishedRow("fine-tuned 3B", None, "classify", (42, 42)),
    PublishedRow("fine-tuned 8B", None, "extract", (160, 160)),
    PublishedRow("fine-tuned 7B", None, "extract", (145, 145)),
    PublishedRow(
        "Llama 3.3 8B Q4",
        "RTX 4090",
        "50 tokens",
        p50=(55, 65),
        p99=90,
        first_token=15,
        tokens_per_second=(80, 120),
        tokens=50,
    ),
    PublishedRow(
        "Qwen 2.5 7B Q4",
        "M2",
        "50 tokens",
        p50=(100, 140),
        p99=200,
        first_token=20,
        tokens_per_second=(30, 50),
        tokens=50,
    ),
)
