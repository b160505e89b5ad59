"""How long decodes and requests take while other programs keep the cores busy.

python -m benchmarks.runs.contention [--quick] [--seconds 150] [--fixed] [--model NAME]
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.data.models import requantized
from benchmarks.data.receipts import ROOT
from benchmarks.report import page
from benchmarks.report.contention import RESULTS, ContentionRun, Times, section, summary
from benchmarks.report.results.extraction import DEFAULTS, OWN
from benchmarks.runs import timed_process
from benchmarks.runs.extract import CACHE, KIND, MODEL, describe_setting
from edgeslm.cli import output
from edgeslm.engines.device import machine
from edgeslm.errors import EdgeslmError
from edgeslm.store.store import Store

EXAMPLES = ROOT / "examples"
FIXED = "edgeslm, all threads always"
BUSY = (0, 1, 3, 6)
#: decodes of edgeslm, or of its peer, between two requests
DECODES = 20
_LOOP = (
    "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: 0"
)


def measure(
    model: Path, seconds: float, *, fixed: bool, busy: Sequence[int] = BUSY
) -> Iterator[Times]:
    """edgeslm and its peer beside each number of busy processes, some ``seconds`` for each number.

    ``fixed`` adds edgeslm with a thread count that does not follow the load.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("receipt-*.txt"))]
    openers = {OWN: partial(timed_process.open_edgeslm, model, None)}
    if fixed:
        threads = machine.default_threads()
        openers[FIXED] = partial(timed_process.open_edgeslm, model, threads)
    openers[DEFAULTS] = partial(timed_process.open_llama, model)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(open_)) for name, open_ in openers.items()}
        for worker in workers.values():
            worker.submit(timed_process.time_request, texts[0]).result()  # opens it, unmeasured
        for n in busy:
            yield from _beside(n, workers, texts, seconds)


def _worker(opener: Callable[[], None]) -> ProcessPoolExecutor:
    """One of them in its own process: the OpenMP library reads its settings once."""
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=opener)


def _beside(
    n: int, workers: Mapping[str, Executor], texts: Sequence[str], seconds: float
) -> list[Times]:
    """Take turns until the time is up; the order turns around from one round to the next."""
    all_times = {name: Times(busy=n, peer=name, decodes=[], requests=[]) for name in workers}
    with _busy_processes(n, lifetime_s=60 + 10 * seconds):
        end = time.monotonic() + seconds
        for i in itertools.count():
            text = texts[i % len(texts)]
            for name in list(workers)[:: 1 if i % 2 == 0 else -1]:
                times, worker = all_times[name], workers[name]
                times.requests.append(worker.submit(timed_process.time_request, text).result())
                times.decodes.extend(worker.submit(timed_process.time_decodes, DECODES).result())
            if time.monotonic() >= end:
                break
    return list(all_times.values())


@contextmanager
def _busy_processes(n: int, lifetime_s: float) -> Iterator[None]:
    """``n`` endless loops, which also end by themselves should this process be killed."""
    command = [sys.executable, "-c", _LOOP, str(lifetime_s)]
    loops = [subprocess.Popen(command) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@click.command()
@click.option("--quick", is_flag=True, help="A second for each number; nothing is kept.")
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--seconds", default=150.0, show_default=True, help="For each number of processes.")
@click.option("--fixed", is_flag=True, help="Also with a thread count that ignores the load.")
def main(*, quick: bool, model: str, seconds: float, fixed: bool) -> None:
    """Measure beside 0, 1, 3 and 6 busy processes. Takes some 12 minutes."""
    progress = Console(stderr=True)
    started = time.monotonic()
    setting = describe_setting(f"{Path(model).name}, requantized to {KIND}")
    try:
        path = requantized(Store().resolve(model), KIND, CACHE)
        results = []
        for times in measure(path, 1.0 if quick else seconds, fixed=fixed):
            results.append(times)
            progress.print(f"beside {times.busy}: {times.peer}, {summary(times.requests, 0)} ms")
    except EdgeslmError as error:
        output.fail(error)
    run = ContentionRun(setting=setting, times=results, seconds=time.monotonic() - started)
    Console().print(Markdown(section(run)))
    if quick:
        progress.print("not kept: a quick run says nothing of tails")
        return
    page.keep(RESULTS, run)
    progress.print(f"written: {RESULTS.name}, {page.PAGE.name}")


if __name__ == "__main__":
    main()
