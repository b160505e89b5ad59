"""Which models Python packages announce, read without pydantic and without code of a package.

An announcement is an entry point of the group `edgeslm.models`; it is read and never loaded.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeslm.store import places

if TYPE_CHECKING:
    from importlib.metadata import Distribution

GROUP: Final = "edgeslm.models"
#: how the folders are called where installers note what they installed
_METADATA: Final = (".dist-info", "egg-info")


@dataclass(frozen=True, slots=True)
class Announced:
    """A name that a package announces, and the folder of the package that holds its model.

    ``distribution`` is the installed package; None where it is a folder of a checkout.
    """

    name: str
    package: str
    version: str
    value: str
    root: Path
    distribution: Distribution | None

    @property
    def folder(self) -> Path:
        return self.root / self.value

    def own(self) -> frozenset[str]:
        """The files that the installed package lists as its own."""
        files = self.distribution.files if self.distribution is not None else None
        return frozenset(file.as_posix() for file in files or ())


def announced() -> Iterator[Announced]:
    """The announcements of a checkout and of all packages that are on the path now."""
    seen = set()
    for folder in _checkout_folders():
        for one in _in_checkout(folder):
            seen.add(canonical(one.package))
            yield one
    from importlib.metadata import distributions

    for distribution in distributions():
        text = distribution.read_text("entry_points.txt")
        if text is None or GROUP not in text:
            continue
        package = distribution.name
        if canonical(package) not in seen:  # the first on the path is what Python takes
            seen.add(canonical(package))
            root = Path(str(distribution.locate_file("")))
            for point in distribution.entry_points:
                if point.group == GROUP:
                    yield Announced(
                        *(point.name, package, distribution.version, point.value, root),
                        distribution,
                    )


def announcements_stamp() -> list[list[str | int]]:
    """What is another list once ``announced`` would give something else.

    By place on the path it is a checksum of when the entry points of its packages were written:
    they are not read, which takes several times as long, nor is importlib.metadata imported.
    """
    projects = [folder / "pyproject.toml" for folder in _checkout_folders()]
    stamps = [_stamp("checkout", projects)]
    stamps += [_stamp(place, _entry_points(Path(place))) for place in dict.fromkeys(sys.path)]
    return [stamp for stamp in stamps if stamp is not None]


def _entry_points(place: Path) -> Iterator[Path]:
    """Where entry points may stand in a place on the path, which may be an archive."""
    try:
        with os.scandir(place) as entries:
            names = sorted(e.name for e in entries if e.name.lower().endswith(_METADATA))
    except NotADirectoryError:
        yield place
    except OSError:
        return
    else:
        yield from (place / name / "entry_points.txt" for name in names)


def _stamp(place: str, files: Iterable[Path]) -> list[str | int] | None:
    """None where none of the files is there."""
    written = []
    for file in files:
        with suppress(OSError):
            status = file.stat()
            written.append((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
    return [place, zlib.crc32(repr(written).encode())] if written else None


def canonical(package: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def package_of(name: str) -> str | None:
    """The installed package that announces a model of this name, for pip to uninstall."""
    here = (one for one in announced() if one.name == name and one.distribution is not None)
    return next((one.package for one in here), None)


def _checkout_folders() -> Iterator[Path]:
    specialists = places.checkout_specialists()
    if specialists is not None:
        yield from sorted(path.parent for path in specialists.glob("*/pyproject.toml"))


def _in_checkout(folder: Path) -> Iterator[Announced]:
    import tomllib

    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    for name, value in project["entry-points"][GROUP].items():
        yield Announced(name, project["name"], project["version"], value, folder, None)
