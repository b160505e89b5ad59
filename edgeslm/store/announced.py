"""Which models Python packages announce, read without pydantic and without code of a package.

An announcement is an entry point of the group `edgeslm.models`; it is read and never loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeslm.store import places

if TYPE_CHECKING:
    from importlib.metadata import Distribution

GROUP: Final = "edgeslm.models"


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

    def has(self, path: Path) -> bool:
        """Whether this very file lies in the folder, and is one of the package's own."""
        if self.folder.resolve() != path.parent or not path.is_file():
            return False
        return self.distribution is None or f"{self.value}/{path.name}" in self.own()

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


def canonical(package: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()


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
