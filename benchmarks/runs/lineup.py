"""edgeslm and its peers, loaded and ready to take turns; why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import edgeslm
from benchmarks.peers.environments import ENVIRONMENTS, PeerError, PeerSpec, ensure
from benchmarks.peers.llama import CONTEXT, Llama
from benchmarks.peers.remote import Remote
from benchmarks.runs.turns import Apart, InProcess, Own, Peer
from edgeslm.engines.device import machine


@contextmanager
def lineup(
    model: Path, specs: Sequence[PeerSpec], tick: Callable[[], None]
) -> Iterator[tuple[list[Peer], dict[str, str]]]:
    """edgeslm, ``Llama``, those of ``specs`` that start, and by name why the others do not."""
    llama = f"llama-cpp-python {version('llama-cpp-python')}"
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        own = InProcess(stack.enter_context(closing(Llama(model, tuned=True))), llama)
        peers: list[Peer] = [Own(f"edgeslm {edgeslm.__version__} on {llama}"), own]
        for spec in specs:
            try:
                peers.append(Apart(stack.enter_context(start(spec, ensure(spec), model))))
            except PeerError as error:
                missing[spec.name] = str(error)
            tick()
        yield peers, missing


def start(spec: PeerSpec, python: Path, model: Path) -> Remote:
    """A process of a peer that has loaded the model. PeerError if it cannot."""
    worker = [str(python), "-m", "benchmarks.peers.worker", spec.module, spec.kind]
    settings = [str(model), str(machine.default_threads()), str(CONTEXT)]
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    return Remote(spec.name, [*worker, *settings], ENVIRONMENTS / f"{spec.module}-{spec.kind}.log")
