"""DataSummary: what the data step read, kept and dropped, in numbers; written as summary.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from converters.recipe.data import Part


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartSummary(_Closed):
    """One part. ``counts`` has the rows of each label, or those with a value in each field.

    ``sha256`` is `rows.rows_sha256` of its rows.
    """

    rows: int
    sha256: str
    counts: dict[str, int]


class DataSummary(_Closed):
    """What became of all rows: ``read`` is ``kept`` and the sum of ``dropped``.

    ``dropped`` has the rows by reason; exact duplicates, rows over max_rows, and rows drawn for
    ``seen`` whose group is not in training are counted only, all others are in review.jsonl,
    and so are the ``suspects``, which were kept.
    ``suspects_checked`` rows were looked at. ``leaks`` is how many rows of training,
    development or gold are the same as, or a near-duplicate of, a row of another of them.
    ``sha256`` covers all parts.
    """

    recipe: str
    read: int
    kept: int
    dropped: dict[str, int]
    parts: dict[Part, PartSummary]
    leaks: int
    suspects: int
    suspects_checked: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return self.model_dump(mode="json")
