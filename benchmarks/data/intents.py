"""Short texts with their intent: of BANKING77 where the data are, else a few that are made up."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.receipts import data_folder

#: eight of the 77, fixed before anything was measured
EIGHT = (
    "card_arrival",
    "change_pin",
    "exchange_rate",
    "lost_or_stolen_card",
    "request_refund",
    "terminate_account",
    "top_up_failed",
    "verify_my_identity",
)
_MADE_UP = (
    ("My new card was posted two weeks ago and is still not here.", "card_arrival"),
    ("How long does a card take to get to Norway?", "card_arrival"),
    ("I would like other digits for the code of my card.", "change_pin"),
    ("Can the PIN be changed at any cash machine?", "change_pin"),
    ("What do I get in euros for 100 pounds today?", "exchange_rate"),
    ("Where do your rates for foreign currency come from?", "exchange_rate"),
    ("My wallet was taken on the train, the card was in it.", "lost_or_stolen_card"),
    ("I cannot find my card anywhere since last night.", "lost_or_stolen_card"),
    ("The shop will not take the jacket back, I want my money.", "request_refund"),
    ("Please cancel the purchase and pay me back.", "request_refund"),
    ("I am leaving you, please close everything.", "terminate_account"),
    ("How do I delete my account for good?", "terminate_account"),
    ("Adding money from my bank was refused again.", "top_up_failed"),
    ("The top-up did not go through, why?", "top_up_failed"),
    ("Which papers prove who I am?", "verify_my_identity"),
    ("Your app asks for my passport, where do I send it?", "verify_my_identity"),
)


@dataclass(frozen=True, slots=True)
class Intents:
    """Texts, each with its label, and all labels there are. ``inputs`` says in words which."""

    inputs: str
    labels: tuple[str, ...]
    rows: Sequence[tuple[str, str]]


def banking77() -> Path | None:
    """The rows of BANKING77, or None where they are absent."""
    path = data_folder() / "banking77.jsonl.gz"
    return path if path.is_file() else None


def eight(count: int) -> Intents:
    """At most ``count`` texts of the eight labels."""
    path = banking77()
    if path is None:
        rows = _MADE_UP[:count]
        return Intents(f"{len(rows)} made-up texts", EIGHT, rows)
    rows = tuple(row for row in _read(path) if row[1] in EIGHT)[:count]
    return Intents(f"{len(rows)} texts of BANKING77, of eight of its labels", EIGHT, rows)


def all_labels(path: Path, count: int) -> Intents:
    """At most ``count`` texts of all 77 labels."""
    rows = _read(path)
    labels = tuple(sorted({label for _, label in rows}))
    rows = rows[:count]
    return Intents(f"{len(rows)} texts of BANKING77, of any label", labels, rows)


def _read(path: Path) -> tuple[tuple[str, str], ...]:
    """All rows, in the order of a hash of their text, which no author chose."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [(row["text"], row["label"]) for row in map(json.loads, lines)]
    return tuple(sorted(rows, key=lambda row: hashlib.sha256(row[0].encode()).hexdigest()))
