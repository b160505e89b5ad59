"""From making a process to its first answer, for edgeslm and every peer, taking turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.data.receipts import ROOT
from benchmarks.peers.environments import PeerError, PeerSpec, ensure
from benchmarks.peers.questions import Question
from benchmarks.report.results.classify import ColdStarts, StartResult
from benchmarks.report.results.extraction import OWN
from benchmarks.runs.first_answer import TEXT
from benchmarks.runs.lineup import start
from edgeslm.evaluation.intervals import median_of

#: the second and all later starts of an app
RESTORED = f"{OWN}, prompt saved by an earlier start"


@dataclass(frozen=True, slots=True)
class Starter:
    """edgeslm or a peer; ``once`` gives milliseconds from making a process to its answer."""

    name: str
    once: Callable[[], float]


def starters(
    model: Path, question: Question, peers: Sequence[PeerSpec]
) -> tuple[list[Starter], dict[str, str]]:
    """edgeslm twice and all peers that can be installed, and by name why others cannot."""
    labels = question.form.get("labels", [])
    command = [sys.executable, "-m", "benchmarks.runs.first_answer", str(model), *labels]
    unsaved = {**os.environ, "EDGESLM_PREFIX_CACHE_MB": "0"}
    ready = [
        Starter(OWN, lambda: first_line(command, unsaved)),
        Starter(RESTORED, lambda: first_line(command, dict(os.environ))),
    ]
    missing = {}
    for peer in peers:
        try:
            ready.append(_peer(peer, ensure(peer), model, question))
        except PeerError as error:
            missing[peer.name] = str(error)
    return ready, missing


def _peer(peer: PeerSpec, python: Path, model: Path, question: Question) -> Starter:
    tokens, text = question.tokens(TEXT), question.rendered(TEXT)
    wanted = question.wanted

    def once() -> float:
        begun = time.perf_counter()
        with start(peer, python, model) as remote:
            remote.prepare(wanted)
            remote.answer(tokens, text, question.max_tokens)
            return (time.perf_counter() - begun) * 1000

    return Starter(peer.name, once)


def first_line(command: Sequence[str], environment: dict[str, str]) -> float:
    """Milliseconds until a fresh process writes its first line. PeerError if it writes none."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        ms = (time.perf_counter() - begun) * 1000
    if not line:
        raise PeerError(f"{' '.join(command[1:3])} ended with status {process.returncode}")
    return ms


def measure(
    task: str,
    ready: Sequence[Starter],
    missing: dict[str, str],
    rounds: int,
    tick: Callable[[], None],
) -> ColdStarts:
    """Start all ``rounds`` times, after once unmeasured; ``found[0]`` is edgeslm.

    The order turns around from one round to the next. A peer that fails once is left out.

    Raises:
        PeerError: edgeslm does not answer.
    """
    given: dict[str, list[float]] = {starter.name: [] for starter in ready}
    failed: dict[str, str] = {}
    for i in range(rounds + 1):
        for starter in ready[:: 1 if i % 2 == 0 else -1]:
            if starter.name in given:
                try:
                    given[starter.name].append(starter.once())
                except PeerError as error:
                    if starter is ready[0]:
                        raise
                    failed[starter.name] = str(error)
                    del given[starter.name]
            tick()
    times = {name: each[1:] for name, each in given.items()}
    results = [_result(name, each, times[ready[0].name]) for name, each in times.items()]
    return ColdStarts(task=task, n=rounds, results=results, unavailable=missing | failed)


def _result(name: str, times: Sequence[float], own: Sequence[float]) -> StartResult:
    same = times is own
    ratio = None if same else median_of([a / b for a, b in zip(times, own, strict=True)])
    return StartResult(name=name, ms=median(times), ratio=ratio)
