"""edgeslm and its peers, loaded and ready to take turns; why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.environments import ENVIRONMENTS, Peer, PeerError, ensure
from benchmarks.peers.llama import CONTEXT
from benchmarks.peers.llama import Peer as InProcessPeer
from benchmarks.peers.remote import Remote
from benchmarks.runs.turns import Apart, InProcess, Own, Side
from edgeslm.engines.device import machine


@contextmanager
def contestants(
    model: Path, peers: Sequence[Peer], tick: Callable[[], None]
) -> Iterator[tuple[list[Side], dict[str, str]]]:
    """edgeslm, ``Llama``, those of ``peers`` that start, and by name why the others do not."""
    llama = f"llama-cpp-python {version('llama-cpp-python')}"
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        own = InProcess(stack.enter_context(closing(InProcessPeer(model, tuned=True))), llama)
        sides: list[Side] = [Own(f"edgeslm {version('edgeslm')} on {llama}"), own]
        for peer in peers:
            try:
                sides.append(Apart(stack.enter_context(start(peer, ensure(peer), model))))
            except PeerError as error:
                missing[peer.name] = str(error)
            tick()
        yield sides, missing


def start(peer: Peer, python: Path, model: Path) -> Remote:
    """A process of a peer that has loaded the model. PeerError if it cannot."""
    worker = [str(python), "-m", "benchmarks.peers.worker", peer.module, peer.kind]
    settings = [str(model), str(machine.default_threads()), str(CONTEXT)]
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    return Remote(peer.name, [*worker, *settings], ENVIRONMENTS / f"{peer.module}-{peer.kind}.log")
