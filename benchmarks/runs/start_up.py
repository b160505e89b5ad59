"""How long `import edgeslm` takes, and a fresh process to its first answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.data.receipts import ROOT
from benchmarks.report.results.extraction import StartUp
from benchmarks.runs.extraction import Tick
from edgeslm.evaluation.intervals import median_of


def measure(model: Path, imports: int, starts: int, tick: Tick) -> StartUp:
    """Time ``imports`` pairs of processes and ``starts`` cold starts, each after one unmeasured."""
    bare, full = ["-c", "pass"], ["-c", "import edgeslm"]
    extra = []
    for i in range(imports + 1):
        pair = {tuple(command): 0.0 for command in ((bare, full) if i % 2 else (full, bare))}
        for command in pair:
            pair[command] = _run(command)[0]
        extra.append(pair[tuple(full)] - pair[tuple(bare)])
        tick()
    cold = []
    for _ in range(starts + 1):
        ms, out = _run(["-m", "benchmarks.runs.first_answer", str(model)])
        cold.append((ms, json.loads(out)))
        tick()
    del extra[0], cold[0]
    parts = {name: median(part[name] for _, part in cold) for name in cold[0][1]}
    return StartUp(
        import_edgeslm=median_of(extra),
        cold_start=median_of([ms for ms, _ in cold]),
        cold_start_parts=parts,
    )


def _run(arguments: Sequence[str]) -> tuple[float, str]:
    """Wall-clock milliseconds of a fresh interpreter, its start included, and its output."""
    # a prompt kept by the start before would make a start warm
    environment = {**os.environ, "EDGESLM_PREFIX_CACHE_MB": "0"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return (time.perf_counter() - start) * 1000, done.stdout
