"""Models that Python packages bring: found by an entry point, and no code of a package is run.

A package announces a model by an entry point of the group `edgeslm.models`: its name is the
model's, its value the folder in the package that holds a models.toml and the file. The entry point
is read and never loaded, for loading it would import what a stranger wrote. In a checkout of
edgeslm the folder specialists/ is looked through as well, so that a clone needs no installing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeslm.errors import RegistryError
from edgeslm.store import places
from edgeslm.store.entry import Entry, FileSource, parse_source, read_registry
from edgeslm.store.remembered import Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import Distribution

GROUP: Final = "edgeslm.models"
RECORD: Final = "models.toml"
_FOLDER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model that a package brings; its entry's source is a file of the package."""

    entry: Entry
    package: str
    version: str

    @property
    def path(self) -> Path:
        """The model file; of an adapter, the adapter."""
        source = parse_source(self.entry.source)
        assert isinstance(source, FileSource)
        return source.path

    @property
    def place(self) -> Place:
        """Where it is, as the store remembers it."""
        adapter = self.entry.base is not None
        return Place(self.path, self.entry.sha256, self.package, adapter)


@dataclass(frozen=True, slots=True)
class _Announced:
    """A name that a package announces; ``read`` gives the model or raises RegistryError."""

    name: str
    package: str
    read: Callable[[], Packaged]


def find(name: str) -> Packaged | None:
    """The model of this name that a package brings.

    Raises:
        RegistryError: two packages bring one of this name, or the package is damaged.
    """
    found = [one for one in _announced() if one.name == name]
    if len(found) > 1:
        first, second = found[0].package, found[1].package
        raise RegistryError(
            f"two packages bring a model called {name!r}: {first} and {second}; uninstall one: "
            f"pip uninstall {second}"
        )
    return found[0].read() if found else None


def find_all() -> tuple[Packaged, ...]:
    """The models of all packages, by name; raises RegistryError as ``find`` does."""
    names = sorted({one.name for one in _announced()})
    return tuple(found for name in names if (found := find(name)) is not None)


def names() -> tuple[str, ...]:
    """The names that packages announce, whether or not their files are good."""
    return tuple(dict.fromkeys(one.name for one in _announced()))


def _announced() -> Iterator[_Announced]:
    seen = set()
    for folder in _checkout_folders():
        for one in _in_checkout(folder):
            seen.add(_canonical(one.package))
            yield one
    from importlib.metadata import distributions

    for distribution in distributions():
        text = distribution.read_text("entry_points.txt")
        if text is None or GROUP not in text:
            continue
        package = distribution.name
        if _canonical(package) not in seen:  # the first on the path is what Python takes
            seen.add(_canonical(package))
            for point in distribution.entry_points:
                if point.group == GROUP:
                    read = partial(_read_installed, distribution, point.name, point.value)
                    yield _Announced(point.name, package, read)


def _canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _read_installed(distribution: Distribution, name: str, folder: str) -> Packaged:
    """The model of an installed package; both of its files must be among the package's own."""
    package, version = distribution.name, distribution.version
    record = f"{folder}/{RECORD}"
    own = {file.as_posix() for file in distribution.files or ()}
    if _FOLDER.fullmatch(folder) is None or record not in own:
        raise RegistryError(
            f"{package}: brings no {record[:200]!r} for {name!r}; {_again(package)}"
        )
    place = Path(str(distribution.locate_file(record)))
    found = _read(place, name, package, version)
    if f"{folder}/{found.path.name}" not in own:
        raise RegistryError(
            f"{package}: {found.path.name!r} is none of its files; {_again(package)}"
        )
    return found


def _again(package: str) -> str:
    return f"install it again: pip install --force-reinstall --no-deps {package}"


def _read(record: Path, name: str, package: str, version: str) -> Packaged:
    entries = {entry.name: entry for entry in read_registry(record)}
    if name not in entries:
        raise RegistryError(f"{record}: has no model {name!r}, which {package} announces")
    found = Packaged(entries[name], package, version)
    source = parse_source(found.entry.source)
    if not isinstance(source, FileSource) or source.path.parent != record.resolve().parent:
        raise RegistryError(f"{record}: the source of {name!r} must be a file beside it")
    if not found.entry.verified:
        raise RegistryError(f"{record}: the sha256 of {name!r} must not be 'unverified'")
    return found


# --- a checkout of edgeslm ----------------------------------------------------


def _checkout_folders() -> Iterator[Path]:
    specialists = places.checkout_specialists()
    if specialists is not None:
        yield from sorted(path.parent for path in specialists.glob("*/pyproject.toml"))


def _in_checkout(folder: Path) -> Iterator[_Announced]:
    import tomllib

    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    package, version = project["name"], project["version"]
    for name, value in project["entry-points"][GROUP].items():
        read = partial(_read, folder / value / RECORD, name, package, version)
        yield _Announced(name, package, read)
