"""The record of one model's folder: which verified file is current, and which one is before it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeslm.registry import Suffix
from edgeslm.transfer import Progress, file_sha256, publish

STATE = "state.json"
LOCK = "lock"
_MAX_STATE_BYTES = 64 * 1024

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Parts(BaseModel):
    """What an assembled file was made from: an adapter and a base, by their hashes."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    adapter_sha256: _Sha256
    base_sha256: _Sha256


class Version(BaseModel):
    """One verified file: its hash, bytes, ending, and the source it came from.

    An assembled one also has its ``parts``; ``source`` is then that of the adapter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    sha256: _Sha256
    size: Annotated[int, Field(ge=1)]
    suffix: Suffix
    source: str
    parts: Parts | None = None

    @property
    def file_name(self) -> str:
        """The name of the file in the model's folder."""
        return self.sha256 + self.suffix

    def is_whole(self, folder: Path, progress: Progress) -> bool:
        """Whether its file is in ``folder``, byte for byte."""
        path = folder / self.file_name
        return has_size(path, self.size) and file_sha256(path, progress) == self.sha256


class State(BaseModel):
    """Which version is current, and which one a rollback brings back."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    format: Literal[1] = 1
    current: Version
    previous: Version | None = None


def has_size(path: Path, size: int) -> bool:
    """Whether the file is there and has this many bytes."""
    return path.is_file() and path.stat().st_size == size


def read_state(folder: Path) -> State | None:
    """The record of a folder, None where there is none.

    Raises:
        OSError, ValidationError: it cannot be read, or is damaged.
    """
    try:
        with (folder / STATE).open("rb") as file:
            return State.model_validate_json(file.read(_MAX_STATE_BYTES))
    except FileNotFoundError:
        return None


def write_state(folder: Path, state: State) -> None:
    """Make this the record of the folder, in one step."""
    aside = folder / f"{STATE}.new"
    aside.write_text(state.model_dump_json(exclude_none=True), encoding="utf-8")
    publish(aside, folder / STATE)


def kept(folder: Path, state: State | None, version: Version) -> Version | None:
    """Which version stays for a rollback: the one that was current, if it is another and whole."""
    if state is None:
        return None
    candidates = (state.current, state.previous)
    return next(
        (
            before
            for before in candidates
            if before
            and before.sha256 != version.sha256
            and has_size(folder / before.file_name, before.size)
        ),
        None,
    )


def sweep(folder: Path, state: State) -> None:
    """Remove what no version needs: older files, and what killed pulls left."""
    versions = (state.current, state.previous)
    wanted = {STATE, LOCK, *(version.file_name for version in versions if version)}
    for path in folder.iterdir():
        if path.name not in wanted:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):  # open elsewhere on Windows: the next pull removes it
                    path.unlink()
