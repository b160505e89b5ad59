"""Scanned receipts with their true values: the data, how values are compared, the scores."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edgeslm.evaluation.intervals import Estimate, bootstrap, share
from edgeslm.evaluation.normalize import normal_amount, normal_date

ROOT = Path(__file__).resolve().parents[2]
FIELDS = ("company", "date", "address", "total")
#: receipts that are scored; the rules of rules.py were written on the others
SCORED = 100


@dataclass(frozen=True, slots=True)
class Labelled:
    """The text of a receipt, a line for each line of print, and its true values as printed."""

    text: str
    truth: Mapping[str, str | None]


class Scores(BaseModel):
    """F1 of each field and of all together, and the share of receipts with no field wrong."""

    model_config = ConfigDict(frozen=True)

    fields: dict[str, Estimate]
    overall: Estimate
    records: Estimate


def data_folder() -> Path:
    """Where data sets lie: the folder EDGESLM_DATA, or one beside the repository."""
    folder = os.environ.get("EDGESLM_DATA")
    return Path(folder) if folder else ROOT.parent / "shared" / "data"


def data_file() -> Path | None:
    """The receipts, or None if absent."""
    path = data_folder() / "receipts.jsonl.gz"
    return path if path.is_file() else None


def read_receipts(path: Path) -> list[Labelled]:
    """All receipts, in the order of a hash of their text, which no author chose.

    The first SCORED are for scoring, the others for writing rules and prompts.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows.sort(key=lambda row: hashlib.sha256(row["text"].encode()).hexdigest())
    return [Labelled(row["text"], {f: row["key"].get(f) for f in FIELDS}) for row in rows]


# --- comparing values ---------------------------------------------------------


def normal(field: str, value: Any) -> str | None:
    """A value in the spelling that is compared; None if there is none.

    Dates become ISO dates, read day first; amounts lose their currency and get two
    decimals; words lose case and white space. What cannot be read stays as it is, and
    so equals only its like.
    """
    text = f"{value:f}" if isinstance(value, Decimal) else str(value or "").strip()
    if not text:
        return None
    if field == "date":
        return normal_date(text) or text
    if field == "total":
        return normal_amount(text) or text
    return "".join(text.casefold().split())


# --- scores -------------------------------------------------------------------


def score(
    answers: Sequence[Mapping[str, Any] | None], truth: Sequence[Mapping[str, Any]]
) -> Scores:
    """Compare what was found in each receipt (None: nothing) with the truth.

    A field counts as found if it has a value. F1 is 2 * right / (found + true), so a
    wrong value costs twice, a missing one once. Where truth and answer both have no value
    nothing is counted; for the whole record that is right.
    """
    counts = np.array(
        [
            [_count(field, answer or {}, true) for field in FIELDS]
            for answer, true in zip(answers, truth, strict=True)
        ]
    )
    wrong = (2 * counts[:, :, 0] != counts[:, :, 1]).any(axis=1)
    n = len(counts)
    return Scores(
        fields={field: _f1(counts[:, i]) for i, field in enumerate(FIELDS)},
        overall=_f1(counts.sum(axis=1)),
        records=share(n - int(wrong.sum()), n),
    )


def _count(field: str, answer: Mapping[str, Any], true: Mapping[str, Any]) -> tuple[int, int]:
    """Whether the field is right (0 or 1), and how many of answer and truth have a value."""
    got, want = normal(field, answer.get(field)), normal(field, true.get(field))
    return int(got is not None and got == want), (got is not None) + (want is not None)


def _f1(counts: NDArray[np.int_]) -> Estimate:
    """F1 over receipts; ``counts`` is [n, 2] of (right, with a value)."""

    def of(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        right, present = counts[rows].sum(axis=1).T
        return np.asarray(2 * right / np.maximum(present, 1), np.float64)

    return bootstrap(len(counts), of)
