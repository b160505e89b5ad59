"""edgeslm on receipts and an invoice, beside `Llama`: the first part of `make bench`."""

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
from rich.progress import Progress

from benchmarks.data.models import requantized
from benchmarks.data.receipts import ROOT, SCORED, data_file, read_receipts
from benchmarks.peers.llama import Llama, describe_defaults
from benchmarks.report import extraction as report
from benchmarks.report import page
from benchmarks.report.results.extraction import Run, Setting
from benchmarks.report.results.kept import write
from benchmarks.runs import extraction, start_up
from benchmarks.runs.console import bar, bars
from edgeslm.cli import output
from edgeslm.engines.device import machine
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.store.store import Store

MODEL = "smollm2-135m"
KIND = "Q4_0"
CACHE = ROOT / ".cache" / "requantized"
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
            tick = bar(progress, f"{len(labelled)} receipts", len(labelled))
            whole = extraction.read_all(engine, labelled, tick)
        texts, inputs = _compared([r.text for r in labelled][: size.compared])
        turns = 1 + len(peers)
        tick = bar(progress, "receipts beside the peer", turns * len(texts))
        comparisons = [extraction.compare_receipts(engine, peers, texts, inputs, tick)]
        tick = bar(progress, "invoice beside the peer", turns * size.rounds)
        invoice = ROOT / "examples" / "invoice.txt"
        comparisons.append(extraction.compare_invoice(engine, peers, invoice, size.rounds, tick))
    tick = bar(progress, "fresh processes", size.imports + size.starts + 2)
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
def _loaded(path: Path) -> Iterator[tuple[LlamaEngine, list[Llama]]]:
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(contextlib.closing(LlamaEngine(path)))
        peers = [
            stack.enter_context(contextlib.closing(Llama(path, tuned=tuned)))
            for tuned in (True, False)
        ]
        yield engine, peers


def describe_setting(model: str) -> Setting:
    """This machine and these versions; ``model`` says in words which file is measured."""
    here = machine.describe()
    packages = ("edgeslm-core", "llama-cpp-python", "llguidance")
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
    """The commit checked out, "-dirty" where anything but what runs write has been changed."""
    git = ["git", "-C", str(ROOT)]
    written = [":(exclude)benchmarks/results", ":(exclude)benchmarks/LOG.md", ":(exclude)docs"]
    try:
        done = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "diff", "--quiet", "HEAD", "--", ".", *written], check=False
        )
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git here
        return "unknown commit"
    return done.stdout.strip() + ("-dirty" if changed.returncode else "")


def _keep(run: Run, note: str) -> None:
    """Write what a full run found where the repository keeps it."""
    page.keep(page.EXTRACTION, run)
    write(LOG, LOG.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + report.log_entry(run, note))


@click.command()
@click.option("--quick", is_flag=True, help="A few inputs, to see that it works; nothing is kept.")
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--note", default="No change noted.", help="What this run is to show, for LOG.md.")
def main(quick: bool, model: str, note: str) -> None:
    """Measure edgeslm beside llama-cpp-python's own interface. Takes some 10 minutes."""
    console = Console(stderr=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > machine.usable_cores() / 2:
        console.print(f"load average {load:.1f}: this machine is busy, times will mislead")
    try:
        with bars(console) as progress:
            run = measure(model, QUICK if quick else FULL, progress)
    except EdgeslmError as error:
        output.fail(error)
    Console().print(Markdown(report.page(run)))
    if not run.sound:
        console.print("some answers of edgeslm were not valid: nothing is kept of this run")
        sys.exit(UNSOUND)
    if not quick:
        _keep(run, note)
        console.print(f"written: {page.PAGE.relative_to(ROOT)}, {LOG.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
