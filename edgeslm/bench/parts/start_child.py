"""One new process, from its first line to its first answer; prints the milliseconds as JSON.

Run by `edgeslm.bench.parts.start` as a file, with the task as JSON on stdin, so that nothing
of edgeslm is imported before the clock runs.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

_begun = time.perf_counter()


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Import, load, answer twice, then load again as often as the task says.

    The first answer evaluates the fixed prompt and the second does not, so what it took
    longer is the prompt's part. ``alive`` is the time of this process, by its own clock.
    """
    from edgeslm.models.load import load

    if task["path"].endswith(".gguf"):
        importlib.import_module("edgeslm.engines.llama.engine")

    imported = time.perf_counter()
    model = load(task["path"], threads=task["threads"])
    loaded = time.perf_counter()
    call: Any
    if task["kind"] == "classify":
        call = model.classifier(task["labels"])
    elif task["kind"] == "tag":
        call = model.tagger()
    else:
        call = model.extractor(task["schema"])
    ready = time.perf_counter()
    call(task["text"])
    answered = time.perf_counter()
    call(task["text"])
    again = time.perf_counter() - answered
    model.close()
    prefix = max(0.0, answered - ready - again)
    parts = {
        "import": imported - _begun,
        "load": loaded - imported,
        "prefix": ready - loaded + prefix,
        "answer": answered - ready - prefix,
    }
    return {
        "parts": {name: 1000 * seconds for name, seconds in parts.items()},
        "first": 1000 * (answered - loaded),
        "warm": [_load(task) for _ in range(task["warm"])],
        "alive": 1000 * (time.perf_counter() - _begun),
    }


def _load(task: dict[str, Any]) -> float:
    """Milliseconds of a load in a process that loaded before."""
    from edgeslm.models.load import load

    start = time.perf_counter()
    load(task["path"], threads=task["threads"]).close()
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.load(sys.stdin.buffer))) + "\n")
