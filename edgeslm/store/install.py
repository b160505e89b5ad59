"""Installs a model by name: pulled, assembled from base and adapter where it is both, and tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from edgeslm.errors import PullError
from edgeslm.formats.files import Progress, silent
from edgeslm.store.incoming import Assembler
from edgeslm.store.registry import Entry, Registry
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
    assembler = None
    if base is not None:
        make = partial(
            _make, store=store, base=base, assemble=assemble, prove=prove, progress=progress
        )
        assembler = Assembler(base.sha256, make)
    return store.pull(
        entry,
        from_file=from_file,
        accept_new=accept_new,
        progress=progress,
        assembler=assembler,
        verify_hook=_hook(prove, progress),
    )


def _make(
    adapter: Path,
    target: Path,
    *,
    store: Store,
    base: Entry,
    assemble: Assemble,
    prove: Prove,
    progress: Progress,
) -> None:
    """Assemble ``target`` from the pulled base and this adapter."""
    assemble(_pull_base(store, base, prove, progress), adapter, target, progress=progress)


def _pull_base(store: Store, base: Entry, prove: Prove, progress: Progress) -> Path:
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
