"""`make bench`: measures everything, shows progress, writes docs/benchmarks.md and LOG.md."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import contention, decode_report, report, spine, start_up
from benchmarks.decode_results import kept
from benchmarks.models import requantized
from benchmarks.peer import Peer, describe_defaults
from benchmarks.receipts import ROOT, SCORED, data_file, read_receipts
from benchmarks.results import Run, Setting, write
from benchmarks.spine import Tick
from edgeslm import cli, machine
from edgeslm.engines.llama import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.store import Store

MODEL = "smollm2-135m"
KIND = "Q4_0"
CACHE = ROOT / ".cache" / "requantized"
RESULTS = ROOT / "benchmarks" / "results" / "spine.json"
PAGE = ROOT / "docs" / "benchmarks.md"
LOG = ROOT / "benchmarks" / "LOG.md"
UNSOUND = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How much a run measures; ``compared`` receipts and ``rounds`` of the invoice go to peers."""

    receipts: int
    compared: int
    rounds: int
    imports: int
    starts: int


FULL = Size(receipts=SCORED, compared=10, rounds=5, imports=20, starts=5)
QUICK = Size(receipts=3, compared=2, rounds=1, imports=3, starts=1)


def measure(model: str, size: Size, progress: Progress) -> Run:
    """Everything, in one run.

    Raises:
        EdgeslmError: the model is not pulled, or cannot be loaded.
    """
    started = time.monotonic()
    setting = describe_setting(
        f"{model}, requantized to {KIND}"
    )  # before the machine is busy with us
    path = requantized(Store().resolve(model), KIND, CACHE)
    data = data_file()
    labelled = read_receipts(data)[: size.receipts] if data else []
    with _loaded(path) as (engine, peers):
        whole = None
        if labelled:
            tick = _bar(progress, f"{len(labelled)} receipts", len(labelled))
            whole = spine.read_all(engine, labelled, tick)
        texts, inputs = _compared([r.text for r in labelled][: size.compared])
        turns = 1 + len(peers)
        tick = _bar(progress, "receipts beside the peer", turns * len(texts))
        comparisons = [spine.compare_receipts(engine, peers, texts, inputs, tick)]
        tick = _bar(progress, "invoice beside the peer", turns * size.rounds)
        invoice = ROOT / "examples" / "invoice.txt"
        comparisons.append(spine.compare_invoice(engine, peers, invoice, size.rounds, tick))
    tick = _bar(progress, "fresh processes", size.imports + size.starts + 2)
    return Run(
        setting=setting,
        receipts=whole,
        comparisons=comparisons,
        start_up=start_up.measure(path, size.imports, size.starts, tick),
        skipped=[]
        if data
        else ["receipts, as receipts.jsonl.gz is not in the folder EDGESLM_DATA"],
        seconds=time.monotonic() - started,
    )


def _compared(texts: list[str]) -> tuple[list[str], str]:
    """Receipts for the comparison and what they are; the examples where there is no data."""
    if texts:
        return texts, f"the first {len(texts)} of the receipts above"
    examples = sorted((ROOT / "examples").glob("receipt-*.txt"))
    return [path.read_text(encoding="utf-8") for path in examples], "examples/receipt-*.txt"


@contextmanager
def _loaded(path: Path) -> Iterator[tuple[LlamaEngine, list[Peer]]]:
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(contextlib.closing(LlamaEngine(path)))
        peers = [
            stack.enter_context(contextlib.closing(Peer(path, tuned=tuned)))
            for tuned in (True, False)
        ]
        yield engine, peers


def _bar(progress: Progress, what: str, total: int) -> Tick:
    bar = progress.add_task(what, total=total)
    return lambda: progress.advance(bar)


def describe_setting(model: str) -> Setting:
    """This machine and these versions; ``model`` says in words which file is measured."""
    here = machine.describe()
    packages = ("edgeslm", "llama-cpp-python", "llguidance")
    return Setting(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        commit=_commit(),
        processor=here.cpu_model or "unknown processor",
        system=f"{here.os}, Python {platform.python_version()}",
        threads=machine.default_threads(),
        memory_gb=here.memory_total / 1e9,
        load_average=None if here.load_average is None else here.load_average[0],
        model=model,
        versions={name: version(name) for name in packages},
        peer_defaults=describe_defaults(),
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git here
        return "unknown commit"
    return done.stdout.strip()


def _keep(run: Run, note: str) -> None:
    """Write what a full run found where the repository keeps it."""
    write(RESULTS, run.model_dump_json(indent=2) + "\n")
    write(PAGE, report.page(run) + decode_report.section(kept()))
    write(LOG, LOG.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + report.log_entry(run, note))


@click.command()
@click.option("--quick", is_flag=True, help="A few inputs, to see that it works; nothing is kept.")
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--contention", "busy", is_flag=True, help="Run benchmarks.contention instead.")
@click.option("--note", default="No change noted.", help="What this run is to show, for LOG.md.")
@click.pass_context
def main(context: click.Context, quick: bool, model: str, busy: bool, note: str) -> None:
    """Measure edgeslm beside llama-cpp-python's own interface. Takes some 10 minutes."""
    if busy:
        context.invoke(contention.main, model=model)
        return
    console = Console(stderr=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > machine.usable_cores() / 2:
        console.print(f"load average {load:.1f}: this machine is busy, times will mislead")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console) as progress:
            run = measure(model, QUICK if quick else FULL, progress)
    except EdgeslmError as error:
        cli.fail(error)
    Console().print(Markdown(report.page(run)))
    if not run.sound:
        console.print("some answers of edgeslm were not valid: nothing is kept of this run")
        sys.exit(UNSOUND)
    if not quick:
        _keep(run, note)
        console.print(f"written: {PAGE.relative_to(ROOT)}, {LOG.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
