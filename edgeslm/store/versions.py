"""The record of one model's folder: which verified file is current, and which one is before it."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeslm.errors import PullError
from edgeslm.formats.files import SUFFIXES, Progress, Suffix, file_sha256, publish

STATE = "state.json"
LOCK = "lock"
INCOMING: Final = "incoming"
#: what a record is written to before it gets its name
_ASIDE = r"(state|verified|package)\.json(\.\d+)?\.new"
_VERSION = r"[0-9a-f]{64}\.(gguf|onnx)"
#: versions, and what a kill left of a record
_OLD = re.compile(rf"{_VERSION}|{_ASIDE}")
#: everything of a model's folder that edgeslm writes
_OWN = re.compile(rf"{_VERSION}|{_ASIDE}|(state|verified|package)\.json|{LOCK}|{INCOMING}")
#: what a pull writes into `incoming`: a file, its note, what is assembled, pip's own folder
_ARRIVING = re.compile(
    r"part\.(gguf|onnx)(\.json)?|assembled\.(gguf|onnx)|\.assembled\..*\.\d+\.part|pip-\w+"
)
_MAX_STATE_BYTES = 64 * 1024
#: the version of the record's format; another is taken for damage
_FORMAT: Final = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")

# Dataclasses and not pydantic ones, since each load of a pulled name reads a record.


@dataclass(frozen=True)
class Parts:
    """What an assembled file was made from: an adapter and a base, by their hashes."""

    adapter_sha256: str
    base_sha256: str

    def __post_init__(self) -> None:
        _require_sha256(self.adapter_sha256)
        _require_sha256(self.base_sha256)


@dataclass(frozen=True)
class Version:
    """One verified file: its hash, bytes, ending, and the source it came from.

    An assembled one also has its ``parts``; ``source`` is then that of the adapter.
    """

    sha256: str
    size: int
    suffix: Suffix
    source: str
    parts: Parts | None = None

    def __post_init__(self) -> None:
        _require_sha256(self.sha256)
        if type(self.size) is not int or self.size < 1:
            raise ValueError(f"no size of a file: {self.size!r}")
        if self.suffix not in SUFFIXES or not isinstance(self.source, str):
            raise ValueError("no ending, or no source, of a model file")

    @property
    def file_name(self) -> str:
        """The name of the file in the model's folder."""
        return self.sha256 + self.suffix

    def is_whole(self, folder: Path, progress: Progress) -> bool:
        """Whether its file is in ``folder``, byte for byte."""
        path = folder / self.file_name
        return has_size(path, self.size) and file_sha256(path, progress) == self.sha256


@dataclass(frozen=True)
class State:
    """Which version is current, and which one a rollback brings back."""

    current: Version
    previous: Version | None = None


def has_size(path: Path, size: int) -> bool:
    """Whether the file is there and has this many bytes."""
    return path.is_file() and path.stat().st_size == size


def read_state(folder: Path) -> State | None:
    """The record of a folder, None where there is none.

    Raises:
        OSError, ValueError: it cannot be read, or is damaged.
    """
    try:
        with (folder / STATE).open("rb") as file:
            text = file.read(_MAX_STATE_BYTES).decode()
    except FileNotFoundError:
        return None
    try:
        return _state(**json.loads(text))
    except (TypeError, RecursionError) as error:  # no table, or one of other keys
        raise ValueError(f"no record: {error}") from error


def write_state(folder: Path, state: State) -> None:
    """Make this the record of the folder, in one step."""
    aside = folder / f"{STATE}.new"
    aside.unlink(missing_ok=True)
    record = {"format": _FORMAT, **asdict(state, dict_factory=_without_none)}
    with aside.open("x", encoding="utf-8") as file:  # x follows no link
        file.write(json.dumps(record, separators=(",", ":")))
    publish(aside, folder / STATE)


def _state(*, current: Any, previous: Any = None, format: Any = _FORMAT) -> State:
    """The record of these parts of its JSON; raises TypeError, ValueError."""
    if type(format) is not int or format != _FORMAT:
        raise ValueError(f"a record of the format {format!r}")
    return State(_version(**current), None if previous is None else _version(**previous))


def _version(*, parts: Any = None, **fields: Any) -> Version:
    return Version(**fields, parts=None if parts is None else Parts(**parts))


def _without_none(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def _require_sha256(value: object) -> None:
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise ValueError(f"no sha256: {value!r}")


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
    """Remove older versions, and what killed pulls left; nothing that edgeslm did not write."""
    versions = (state.current, state.previous)
    wanted = {version.file_name for version in versions if version}
    for path in folder.iterdir():
        if path.name not in wanted and _OLD.fullmatch(path.name):
            _remove(path)
    incoming = folder / INCOMING
    if incoming.is_dir() and not incoming.is_symlink():
        for path in incoming.iterdir():
            if _ARRIVING.fullmatch(path.name):
                _remove(path)
        with suppress(OSError):  # what is not edgeslm's stays, and the folder with it
            incoming.rmdir()


def refuse_links(folder: Path) -> None:
    """Refuse a folder in which a link stands where edgeslm would write or delete.

    Raises:
        PullError: it is a link, or one of edgeslm's names in it is; the message says which.
    """
    own = [folder]
    if folder.is_dir() and not folder.is_symlink():
        own += [path for path in folder.iterdir() if _OWN.fullmatch(path.name)]
    incoming = folder / INCOMING
    if incoming.is_dir() and not incoming.is_symlink():
        own += [path for path in incoming.iterdir() if _ARRIVING.fullmatch(path.name)]
    for path in own:
        if path.is_symlink():
            raise PullError(
                f"{path} is a link; edgeslm writes and deletes only in its own folders: remove it"
            )


def _remove(path: Path) -> None:
    """Remove a file, a folder or a link; what a link names stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # it follows no links
    else:
        with suppress(OSError):  # open elsewhere on Windows: the next pull removes it
            path.unlink()
