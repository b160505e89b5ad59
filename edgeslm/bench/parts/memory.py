"""Memory at its highest, of a fresh process that loads a model and answers; run as its child too.

The child reads one JSON object from its input and prints one: bytes, or what went wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil

from edgeslm.bench.report.schema import Footprint
from edgeslm.bench.workload.workload import Workload
from edgeslm.children import run_child
from edgeslm.engines.device import machine
from edgeslm.errors import EdgeslmError, EngineError, MachineError

_TIMEOUT_S = 900.0


def footprint(
    path: Path,
    workload: Workload,
    *,
    threads: int | None = None,
    gpu_layers: int | None = None,
) -> Footprint:
    """Bytes that a process has at most which loads ``path`` and answers the longest text.

    Resident memory counts the pages of the model file that are mapped. GPU memory is what all
    programs have more of after the answer than before the load, as the build's backend tells.

    Raises:
        EngineError: the child failed; the message has its reason.
    """
    question = {
        "path": str(path),
        "text": max((row.text for row in workload.rows), key=len),
        "task": {
            "kind": workload.kind,
            "schema": workload.schema,
            "labels": workload.labels,
            "max_tokens": workload.max_tokens,
            "cut": workload.cut,
        },
        "options": {"threads": threads, "gpu_layers": gpu_layers},
    }
    machine.prepare_openmp()
    try:
        child = run_child(
            "edgeslm.bench.parts.memory", input=json.dumps(question).encode(), timeout=_TIMEOUT_S
        )
    except (MachineError, TimeoutError) as error:
        raise EngineError(f"{path}: no process could tell its memory: {error}") from error
    answer = _last_line(child.stdout)
    if child.returncode != 0 or answer is None:
        last = child.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise EngineError(
            f"{path}: the process that tells its memory ended with {child.returncode}: "
            f"{last or 'it gave no message'}"
        )
    if "error" in answer:
        raise EngineError(f"{path}: its memory could not be told: {answer['error']}")
    return Footprint(rss=answer["rss"], vram=answer["vram"], file=path.stat().st_size)


def _last_line(output: bytes) -> dict[str, Any] | None:
    """The child's answer; what libraries print stands before it."""
    try:
        answer = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def peak_rss() -> int:
    """Bytes of resident memory that this process had at most."""
    if sys.platform == "linux":
        # not getrusage: there a child begins with the peak of the process that started it
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _free_gpu_memory() -> int | None:
    """Free bytes of the first GPU; None without one."""
    from edgeslm.engines.llama.memory import free_gpu_memory, gpu_names

    return free_gpu_memory() if gpu_names() else None


def _measure(question: dict[str, Any]) -> dict[str, Any]:
    """Load and answer once: this process's peak, and what the GPU has less of."""
    from edgeslm.models.load import load

    before = _free_gpu_memory()
    workload = Workload(rows=(), source="", **question["task"])
    model: Any = load(Path(question["path"]), **question["options"])
    with model:
        workload.answerer(model)(question["text"])
        after = _free_gpu_memory()
    vram = None if before is None or after is None else max(0, before - after)
    return {"rss": peak_rss(), "vram": vram}


def main() -> None:
    """The child: print what was measured, or what went wrong."""
    try:
        answer = _measure(json.load(sys.stdin))
    except EdgeslmError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
