"""What was verified once is remembered by its stamp, so that a load need not hash a file again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeslm.formats.files import Progress, file_sha256, read_small, silent
from edgeslm.store import places
from edgeslm.store.announced import announcements_stamp

VERIFIED: Final = "verified.json"
PLACE: Final = "package.json"
_MAX_BYTES: Final = 64 * 1024
#: files of one model that are remembered: its versions, and its part from a package
_MAX_FILES: Final = 8

#: size, time of the last change in nanoseconds, inode and device of a file
Stamp = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is written or replaced; raises OSError where there is none."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def is_whole(
    path: Path, sha256: str, folder: Path, *, fresh: bool = False, progress: Progress = silent
) -> bool:
    """Whether a file has this hash, by what ``folder`` remembers of it, else by hashing it.

    ``fresh`` hashes in any case. A file that was whole is remembered; where that cannot be
    written down, the next call hashes again.

    Raises:
        OSError: the file cannot be read.
    """
    files = _files(folder)
    name, stamp = str(path.absolute()), stamp_of(path)
    wanted = [sha256, *stamp]
    if not fresh and files.get(name) == wanted:
        return True
    if file_sha256(path, progress) != sha256 or stamp_of(path) != stamp:
        return False
    if files.get(name) != wanted:
        remember_whole(path, sha256, folder)
    return True


def remember_whole(path: Path, sha256: str, folder: Path) -> None:
    """Keep that this file, as it is now, has this hash."""
    name = str(path.absolute())
    others = [(key, value) for key, value in _files(folder).items() if key != name and _exists(key)]
    kept = [*others[-_MAX_FILES + 1 :], (name, [sha256, *stamp_of(path)])]
    _write(folder / VERIFIED, {"files": dict(kept)})


def _files(folder: Path) -> dict[str, Any]:
    files = _read(folder / VERIFIED).get("files")
    return files if isinstance(files, dict) else {}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a package has the file of a name, and its hash; ``adapter`` where a base is missing."""

    path: Path
    sha256: str
    package: str
    adapter: bool


def recall_place(folder: Path) -> Place | None:
    """Where a package has the file of the name ``folder.name``.

    What is remembered counts while the packages on the path announce what they announced then, and
    while the registries and the file are as they were.
    """
    known = _read(folder / PLACE)
    place = known.get("place")
    if not isinstance(place, list):
        return None
    match place:
        case [str(path), str(sha256), str(package), bool(adapter)]:
            remembered = Place(Path(path), sha256, package, adapter)
            return remembered if known.get("around") == _around(remembered) else None
    return None


def is_from_package(folder: Path) -> bool:
    """Whether what this folder holds was once found in a package."""
    return (folder / PLACE).is_file()


def remember_place(folder: Path, place: Place) -> None:
    """Keep where a package has the file, for as long as it announces it and registries stay."""
    parts = [str(place.path), place.sha256, place.package, place.adapter]
    _write(folder / PLACE, {"place": parts, "around": _around(place)})


def forget_place(folder: Path) -> None:
    """From now on the folder's own versions count, whatever a package brings."""
    (folder / PLACE).unlink(missing_ok=True)


def _around(place: Place) -> list[list[Any]]:
    """The stamps of what decides who has a name: packages, registries, the own record."""
    own = place.path.with_name("models.toml")
    paths = [*places.registry_files(), own, place.path]
    stamps = [[str(path), *(stamp_of(path) if path.exists() else ())] for path in paths]
    return [*announcements_stamp(), *stamps]


def _exists(name: str) -> bool:
    return Path(name).is_file()


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(read_small(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):  # none, or a kill cut it: then hash again
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, record: dict[str, Any]) -> None:
    # A memory that is lost costs a hash, so it is not synced, and a full disk is no error.
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("x", encoding="utf-8") as file:  # x follows no link
                json.dump(record, file)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
