"""Installs a model by name: pulled, assembled from base and adapter where it is both, and tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from edgeslm.errors import CardError, PullError
from edgeslm.formats.card import Card
from edgeslm.formats.files import Progress, silent
from edgeslm.models.gguf import is_onnx
from edgeslm.store.incoming import Assembler
from edgeslm.store.registry import Entry, Registry
from edgeslm.store.store import Store


class Assemble(Protocol):
    """Writes the model that a base and an adapter are together, whole or not at all."""

    def __call__(self, base: Path, adapter: Path, target: Path, *, progress: Progress) -> Path: ...


def _assemble(base: Path, adapter: Path, target: Path, *, progress: Progress) -> Path:
    from edgeslm.store.assemble import assemble  # here, for it loads numpy

    return assemble(base, adapter, target, progress=progress)


def install(
    name: str,
    *,
    store: Store | None = None,
    registry: Registry | None = None,
    from_file: Path | None = None,
    accept_new: bool = False,
    progress: Progress = silent,
    assemble: Assemble = _assemble,
) -> Path:
    """Make the model of this name current, after it passed the self-test of its card.

    ``from_file`` and ``accept_new`` are as for ``Store.pull``; for an adapter, they speak
    of the adapter. Its base is pulled where it is not here. Does nothing, and asks for no
    network, where the model is here as the registry names it.

    Raises:
        ModelNotFoundError: no registry has the name.
        RegistryError: its entry names a base that is none.
        PullError: it or its base did not arrive, could not be assembled or kept, or fails
            its self-test; what was there is untouched.
    """
    store = Store() if store is None else store
    registry = Registry.load() if registry is None else registry
    entry = registry.get(name)
    base = registry.base_of(entry)
    assembler = None
    if base is not None:
        make = partial(_make, store=store, base=base, assemble=assemble, progress=progress)
        assembler = Assembler(base.sha256, make)
    return store.pull(
        entry,
        from_file=from_file,
        accept_new=accept_new,
        progress=progress,
        assembler=assembler,
        verify_hook=_hook(progress),
    )


def prove(path: Path, progress: Progress = silent) -> None:
    """Check that a file is a model and gives the answers that its card's examples promise.

    An .onnx is loaded as well, also where its card has no examples: it is quick.

    Raises:
        ModelFileError, CardError: it is none, or an example has another answer.
        ResourceError, MachineError: this device cannot run it.
    """
    card = _card_of(path)
    if card is None or not card.examples:
        return
    from edgeslm.evaluation.selftest import self_test_of

    progress("running self-tests", 0, None)
    failed = [test for test in self_test_of(path) if not test.passed]
    if failed:
        raise CardError(
            f"{len(failed)} of {len(card.examples)} self-tests of its card fail; "
            f"example {failed[0].number}: {failed[0].outcome()}"
        )


def _card_of(path: Path) -> Card | None:
    """The card of a file that can be read; an .onnx must also load."""
    if is_onnx(path):
        from edgeslm.models.onnx import open_onnx

        with open_onnx(path) as model:
            return model.card
    from edgeslm.formats.gguf.info import read_gguf

    return read_gguf(path).card


def _make(
    adapter: Path,
    target: Path,
    *,
    store: Store,
    base: Entry,
    assemble: Assemble,
    progress: Progress,
) -> None:
    """Assemble ``target`` from the pulled base and this adapter."""
    assemble(_pull_base(store, base, progress), adapter, target, progress=progress)


def _pull_base(store: Store, base: Entry, progress: Progress) -> Path:
    def of_the_base(what: str, done: int, total: int | None) -> None:
        progress(f"base {base.name}: {what}", done, total)

    try:
        return store.pull(base, progress=of_the_base, verify_hook=_hook(of_the_base))
    except PullError as error:
        raise type(error)(
            f"its base is not here and cannot be pulled ({error}); once "
            f"`edgeslm pull {base.name}` works, this does too"
        ) from error


def _hook(progress: Progress) -> Callable[[Path], None]:
    """What a file must pass before it becomes current."""
    return lambda path: prove(path, progress)
