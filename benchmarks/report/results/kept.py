"""Results as files of JSON, as the repository keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A part of a run's results."""

    model_config = ConfigDict(frozen=True, extra="forbid")


F = TypeVar("F", bound=Frozen)


def read(kind: type[F], path: Path) -> F | None:
    """The run that a file keeps; None where there is no file."""
    if not path.is_file():
        return None
    return kind.model_validate_json(path.read_text(encoding="utf-8"))


def write(path: Path, text: str) -> None:
    """Write a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8", newline="\n")
    with aside.open("r+b") as file:
        os.fsync(file.fileno())
    aside.replace(path)
