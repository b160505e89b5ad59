"""Installs a model by name: pulled, assembled from base and adapter where it is both, and tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from edgeslm.errors import EdgeslmError, ModelNotPulledError, PullError
from edgeslm.formats.files import Progress, silent
from edgeslm.store.entry import Entry, FileSource, PypiSource, parse_source
from edgeslm.store.incoming import Assembler
from edgeslm.store.packages import Packaged, missing_requirements
from edgeslm.store.registry import Registry
from edgeslm.store.remembered import forget_place, remember_place
from edgeslm.store.store import Store

#: checks that a file may become current; raises an EdgeslmError where it may not
Prove = Callable[[Path], None]


class Assemble(Protocol):
    """Writes the model that a base and an adapter are together, whole or not at all."""

    def __call__(self, base: Path, adapter: Path, target: Path, *, progress: Progress) -> Path: ...


def _assemble(base: Path, adapter: Path, target: Path, *, progress: Progress) -> Path:
    from edgeslm.store.assemble import assemble  # here, for it loads numpy

    return assemble(base, adapter, target, progress=progress)


def install(
    name: str,
    *,
    prove: Prove,
    store: Store | None = None,
    registry: Registry | None = None,
    from_file: Path | None = None,
    accept_new: bool = False,
    progress: Progress = silent,
    assemble: Assemble = _assemble,
) -> Path:
    """Make the model of this name current, after ``prove`` let its file pass.

    ``prove`` is asked about a whole model before it gets its name; the store knows no model.
    ``from_file`` and ``accept_new`` are as for ``Store.pull``; for an adapter, they speak
    of the adapter. Its base is pulled where it is not here. Does nothing, and asks for no
    network, where the model is here as the registry names it.

    Raises:
        ModelNotFoundError: no registry has the name.
        RegistryError: its entry names a base that is none.
        PullError: it or its base did not arrive, could not be assembled or kept, or was
            refused by ``prove``; what was there is untouched.
    """
    store = Store() if store is None else store
    registry = Registry.load() if registry is None else registry
    entry = registry.get(name)
    base = registry.base_of(entry)
    if from_file is not None and not from_file.is_file():
        raise PullError(f"{name}: {from_file}: no such file")
    packaged = registry.packaged(name) if from_file is None else None
    if packaged is not None and base is None:
        path = store.take(packaged.place, name, fresh=True, progress=progress)
        _hook(prove, progress)(path)
        return path
    assembler = None
    if base is not None:
        make = partial(
            _make,
            base=lambda: _base_file(store, registry, base, prove, progress),
            assemble=assemble,
            progress=progress,
        )
        assembler = Assembler(base.sha256, make)
    path = store.pull(
        entry,
        from_file=from_file,
        accept_new=accept_new,
        progress=progress,
        assembler=assembler,
        verify_hook=_hook(prove, progress),
    )
    if packaged is not None:
        remember_place(path.parent, packaged.place)
    else:
        forget_place(path.parent)
    return path


def locate(name_or_path: str | Path, *, store: Store | None = None) -> Path:
    """The file of a model, for loading it: as ``Store.resolve``, and without the network.

    An adapter that a package brings is assembled first, where its base is on this device.
    Its weights are then held to those that were proven; its self-test is left to a pull.

    Raises:
        PullError: it could not be assembled or kept. Others are those of ``Store.resolve``.
    """
    store = Store() if store is None else store
    try:
        return store.resolve(name_or_path)
    except ModelNotPulledError:
        registry = Registry.load()
        packaged = registry.packaged(str(name_or_path))
        if packaged is None or (base := registry.base_of(packaged.entry)) is None:
            raise
        if not _is_here(store, registry, base):
            missing = _missing(packaged, base)
            pip = f"it needs the package {missing}: run `pip install {missing}`, or "
            raise ModelNotPulledError(
                f"{name_or_path} is an adapter, and its base {base.name} is not on this device; "
                f"{pip if missing else 'run '}`edgeslm pull {name_or_path}`"
            ) from None
    return install(str(name_or_path), prove=lambda _: None, store=store, registry=registry)


def _missing(packaged: Packaged, base: Entry) -> str:
    """The packages that would bring a base, as pip takes them; empty where none is known."""
    required = missing_requirements(packaged)
    source = parse_source(base.source)
    if not required and isinstance(source, PypiSource):
        return f"{source.package}=={source.version}"
    return " ".join(required)


def _is_here(store: Store, registry: Registry, base: Entry) -> bool:
    """Whether the file of a base can be had without the network."""
    source = parse_source(base.source)
    if registry.packaged(base.name) is not None or isinstance(source, FileSource):
        return True
    if isinstance(source, PypiSource):
        from edgeslm.store.wheel import installed_member

        if installed_member(source) is not None:
            return True
    try:
        return store.sha256_of(store.resolve(base.name, registry)) == base.sha256
    except EdgeslmError:
        return False


def _make(
    adapter: Path,
    target: Path,
    *,
    base: Callable[[], Path],
    assemble: Assemble,
    progress: Progress,
) -> None:
    """Assemble ``target`` from the base, which is brought now, and this adapter."""
    assemble(base(), adapter, target, progress=progress)


def _base_file(
    store: Store, registry: Registry, base: Entry, prove: Prove, progress: Progress
) -> Path:
    """The file of a base, of a package or pulled."""
    packaged = registry.packaged(base.name)
    if packaged is not None:
        return store.take(packaged.place, base.name, fresh=False, progress=progress)

    def of_the_base(what: str, done: int, total: int | None) -> None:
        progress(f"base {base.name}: {what}", done, total)

    try:
        return store.pull(base, progress=of_the_base, verify_hook=_hook(prove, of_the_base))
    except PullError as error:
        raise type(error)(
            f"its base is not here and cannot be pulled ({error}); once "
            f"`edgeslm pull {base.name}` works, this does too"
        ) from error


def _hook(prove: Prove, progress: Progress) -> Prove:
    """What a file must pass before it becomes current."""

    def hook(path: Path) -> None:
        progress("trying it", 0, None)
        prove(path)

    return hook
