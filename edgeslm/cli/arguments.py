"""Arguments that several commands take: names of models, and choices with a near miss."""

from __future__ import annotations

import contextlib
import difflib
import os
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from edgeslm.errors import InputError
from edgeslm.formats.files import SUFFIXES, read_small

#: a models.toml that is larger is none
_MAX_REGISTRY_BYTES = 1024 * 1024

C = TypeVar("C", bound=Callable[..., Any])


class ModelName(click.ParamType[str]):
    """A name from `edgeslm models`, or the path of a model file; a shell completes both."""

    name = "name"

    def __init__(self, *, does: str | None = None) -> None:
        """With ``does``, a task, a shell offers only models that can do it, or may be able to."""
        self._does = does

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if "/" in incomplete or "\\" in incomplete:
            return [CompletionItem(incomplete, type="file")]
        names = [name for name in _known_names() if name.startswith(incomplete)]
        if self._does is not None:
            names = _able(names, self._does)
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


class PulledName(ModelName):
    """A name of a pulled model; with ``before``, of one that has a version before."""

    def __init__(self, *, before: bool = False) -> None:
        super().__init__()
        self._before = before

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given = ctx.params.get(param.name or "") or ()
        return [
            CompletionItem(name)
            for name in _pulled_names(before=self._before)
            if name.startswith(incomplete) and name not in given
        ]


def _pulled_names(*, before: bool = False) -> Sequence[str]:
    """The names of pulled models, or of those with a version ``before`` the current one."""
    from edgeslm.store import places
    from edgeslm.store.versions import read_state

    names: list[str] = []
    with contextlib.suppress(OSError):
        for path in sorted(places.default_home().glob("models/*/state.json")):
            state = None
            if before:
                with contextlib.suppress(OSError, ValueError):
                    state = read_state(path.parent)
            if not before or (state is not None and state.previous is not None):
                names.append(path.parent.name)
    return names


def _known_names() -> Sequence[str]:
    """The names of registries, packages and pulled models, as far as they can be read.

    Nothing is checked, so that a shell need not wait for what checks.
    """
    from importlib.metadata import entry_points

    from edgeslm.store import places

    names = set(_pulled_names())
    for file in places.registry_files():
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError, TypeError):
            tables = tomllib.loads(read_small(file, _MAX_REGISTRY_BYTES).decode()).get("model", [])
            names.update(str(table["name"]) for table in tables if "name" in table)
    names.update(point.name for point in entry_points(group="edgeslm.models"))
    folder = places.checkout_specialists()
    if folder is not None:
        names.update(path.name for path in folder.iterdir() if path.is_dir())
    return sorted(names)


def _able(names: list[str], task: str) -> list[str]:
    """Those of the names whose model can do a task, as the cards of files on this device say.

    One without a card, or without a file here, may extract or classify, but it cannot tag.
    """
    from edgeslm.formats.glance import task_kind

    files = _files_here()
    kinds = {name: task_kind(files[name]) if name in files else None for name in names}
    if task == "tag":
        return [name for name in names if kinds[name] == "tag"]
    other = "generate" if task == "extract" else task  # `extract` answers it as well
    return [name for name in names if kinds[name] in (None, task, other)]


def _files_here() -> dict[str, Path]:
    """The files of pulled models and of those in packages; of an adapter alone, the adapter."""
    from edgeslm.store import places
    from edgeslm.store.announced import announced
    from edgeslm.store.versions import read_state

    files: dict[str, Path] = {}
    with contextlib.suppress(OSError, ValueError, LookupError):
        for one in announced():
            for suffix in SUFFIXES:
                path = one.folder / f"{one.name}{suffix}"
                if path.is_file():
                    files[one.name] = path
    for name in _pulled_names():
        folder = places.default_home() / "models" / name
        with contextlib.suppress(OSError, ValueError):
            state = read_state(folder)
            if state is not None:
                files.setdefault(name, folder / state.current.file_name)
    return files


class Choice(click.Choice[str]):
    """One of some words; a near miss is told what was probably meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(value, str) and value not in self.choices:
            near = difflib.get_close_matches(value, self.choices, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.fail(f"{value!r} is not one of {', '.join(self.choices)}{hint}", param, ctx)
        return super().convert(value, param, ctx)


def model_name(
    metavar: str = "NAME", *, kind: ModelName | None = None, **more: Any
) -> Callable[[C], C]:
    """The argument that names a model, or with ``nargs=-1`` several."""
    plural = "names" if more.get("nargs") == -1 else "name"
    return click.argument(plural, type=kind or ModelName(), metavar=metavar, **more)


def check_output(path: Path) -> None:
    """Refuse at once a file that could not be written at the end.

    Raises:
        InputError: its folder is not there, or takes no files.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: {path.parent} takes no files; choose another folder")
