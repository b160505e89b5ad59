"""Models that Python packages bring: found by an entry point, and no code of a package is run.

A package announces a model by an entry point of the group `edgeslm.models`: its name is the
model's, its value the folder in the package that holds a models.toml and the file. The entry point
is read and never loaded, for loading it would import what a stranger wrote. In a checkout of
edgeslm the folder specialists/ is looked through as well, so that a clone needs no installing.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeslm.errors import RegistryError
from edgeslm.store.announced import Announced, announced
from edgeslm.store.entry import Entry, FileSource, parse_source, read_registry
from edgeslm.store.remembered import Place

RECORD: Final = "models.toml"
#: a requirement of another package of models
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(==[^\s;,*]+)?")
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


def find(name: str) -> Packaged | None:
    """The model of this name that a package brings.

    Raises:
        RegistryError: two packages bring one of this name, or the package is damaged.
    """
    announcements = [one for one in announced() if one.name == name]
    if len(announcements) > 1:
        first, second = announcements[0].package, announcements[1].package
        raise RegistryError(
            f"two packages bring a model called {name!r}: {first} and {second}; uninstall one: "
            f"pip uninstall {second}"
        )
    return read(announcements[0]) if announcements else None


@dataclass(frozen=True, slots=True)
class Refused:
    """A name that packages announce and that gives no model: of two packages, or of a damaged."""

    name: str
    error: RegistryError
    twice: bool


def survey() -> tuple[tuple[Packaged, ...], tuple[Refused, ...]]:
    """The models of all packages by name, and the names that give none; each for itself."""
    brought, refused = [], []
    announcements = Counter(one.name for one in announced())
    for name, count in sorted(announcements.items()):
        try:
            one = find(name)
        except RegistryError as error:
            refused.append(Refused(name, error, count > 1))
        else:
            brought += [one] if one is not None else []
    return tuple(brought), tuple(refused)


def find_all() -> tuple[Packaged, ...]:
    """The models of all packages, by name; without names that ``find`` refuses."""
    return survey()[0]


def names() -> tuple[str, ...]:
    """The names that packages announce, whether or not their files are good."""
    return tuple(dict.fromkeys(one.name for one in announced()))


def read(one: Announced) -> Packaged:
    """The model that is announced; of an installed package, both files must be its own.

    Raises:
        RegistryError: the package is damaged.
    """
    if one.distribution is None:
        return _read(one.folder / RECORD, one)
    record, own = f"{one.value}/{RECORD}", one.own()
    if _FOLDER.fullmatch(one.value) is None or record not in own:
        raise RegistryError(
            f"{one.package}: brings no {record[:200]!r} for {one.name!r}; {_again(one.package)}"
        )
    packaged = _read(one.root / record, one)
    if f"{one.value}/{packaged.path.name}" not in own:
        raise RegistryError(
            f"{one.package}: {packaged.path.name!r} is none of its files; {_again(one.package)}"
        )
    return packaged


def missing_requirements(packaged: Packaged) -> tuple[str, ...]:
    """What the package of a model requires and what is not installed so.

    Of the forms that packages of models have: a name, or NAME==VERSION.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        required = requires(packaged.package) or ()
    except PackageNotFoundError:  # a folder of a checkout
        return ()
    return tuple(one for one in required if _REQUIREMENT.fullmatch(one) and not _is_here(one))


def _is_here(requirement: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    name, _, wanted = requirement.partition("==")
    try:
        return version(name) == wanted or not wanted
    except PackageNotFoundError:
        return False


def _again(package: str) -> str:
    return f"install it again: pip install --force-reinstall --no-deps {package}"


def _read(record: Path, one: Announced) -> Packaged:
    name, package = one.name, one.package
    entries = {entry.name: entry for entry in read_registry(record)}
    if name not in entries:
        raise RegistryError(f"{record}: has no model {name!r}, which {package} announces")
    packaged = Packaged(entries[name], package, one.version)
    source = parse_source(packaged.entry.source)
    if not isinstance(source, FileSource) or source.path.parent != record.resolve().parent:
        raise RegistryError(f"{record}: the source of {name!r} must be a file beside it")
    if not packaged.entry.verified:
        raise RegistryError(f"{record}: the sha256 of {name!r} must not be 'unverified'")
    return packaged
