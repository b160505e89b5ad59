"""Constrained decoding beside other libraries, and what copy drafts give and cost.

python -m benchmarks.decode [--inputs 20] [--only receipts,invoices] [--model NAME_OR_PATH]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import decode_report, report, subjects
from benchmarks.decode_results import RESULTS, Comparison, DecodeRun, Drafts, Overhead, kept
from benchmarks.drafts import drafts, overhead
from benchmarks.models import requantized
from benchmarks.peer import CONTEXT
from benchmarks.peer import Peer as InProcessPeer
from benchmarks.peers.environments import ENVIRONMENTS, PEERS, Peer, PeerError, ensure
from benchmarks.peers.remote import Remote
from benchmarks.receipts import Labelled, data_file, read_receipts
from benchmarks.results import Run, write
from benchmarks.run import CACHE, MODEL, PAGE, UNSOUND, describe_setting
from benchmarks.run import RESULTS as SPINE
from benchmarks.side_by_side import Apart, Bare, InProcess, Own, Side, Tick, compare
from edgeslm import cli, machine
from edgeslm.engines.llama import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.store import Store

PARTS = ("receipts", "invoices", "drafts", "overhead")
KINDS = ("Q4_0", "Q8_0", "Q4_K_M", "F16")
#: a run of fewer inputs shows that all works; its numbers are not kept
ENOUGH = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures: ``inputs`` of each task, and ``receipts`` for each quantization."""

    parts: tuple[str, ...]
    inputs: int
    receipts: int
    kinds: tuple[str, ...]


def measure(source: Path, path: Path, words: str, plan: Plan, progress: Progress) -> DecodeRun:
    """Run the parts of the plan.

    Args:
        source: the model file that other quantizations are made from.
        path: the one that contestants load.
        words: which it is.

    Raises:
        EdgeslmError: the model cannot be loaded, or does not fit.
    """
    started, setting = time.monotonic(), describe_setting(words)
    comparisons: list[Comparison] = []
    overheads: list[Overhead] = []
    with closing(LlamaEngine(path)) as engine:
        if {"receipts", "invoices"} & set(plan.parts):
            comparisons = _compare(engine, path, plan, progress)
        if "overhead" in plan.parts:
            tasks = subjects.nothing_copied(engine, plan.inputs)
            tick = _bar(progress, "nothing to copy", sum(len(task.pairs) for task in tasks))
            overheads = [overhead(task, tick) for task in tasks]
    found = _drafts(source, plan, progress) if "drafts" in plan.parts else []
    return DecodeRun(
        setting=setting,
        comparisons=comparisons,
        drafts=found,
        overheads=overheads,
        seconds=time.monotonic() - started,
    )


def _compare(engine: LlamaEngine, path: Path, plan: Plan, progress: Progress) -> list[Comparison]:
    with _contestants(path, progress) as (sides, missing), closing(LlamaEngine(path)) as alone:
        found = []
        if "receipts" in plan.parts:
            task = subjects.receipts(engine, plan.inputs)
            tick = _bar(progress, task.name, len(sides) * len(task.pairs))
            found.append(compare(task, sides, missing, Bare(alone), tick))
        if "invoices" in plan.parts:
            task = subjects.invoices(engine, plan.inputs)
            tick = _bar(progress, task.name, len(sides) * len(task.pairs))
            found.append(compare(task, sides, missing, None, tick))
    return found


@contextmanager
def _contestants(path: Path, progress: Progress) -> Iterator[tuple[list[Side], dict[str, str]]]:
    """edgeslm, ``Llama``, all peers that start, and why the others do not."""
    llama = f"llama-cpp-python {version('llama-cpp-python')}"
    missing: dict[str, str] = {}
    tick = _bar(progress, "installing and starting peers", len(PEERS))
    with ExitStack() as stack:
        own = InProcess(stack.enter_context(closing(InProcessPeer(path, tuned=True))), llama)
        sides: list[Side] = [Own(f"edgeslm {version('edgeslm')} on {llama}"), own]
        for peer in PEERS:
            try:
                sides.append(Apart(stack.enter_context(_start(peer, path))))
            except PeerError as error:
                missing[peer.name] = str(error)
            tick()
        yield sides, missing


def _start(peer: Peer, model: Path) -> Remote:
    worker = [str(ensure(peer)), "-m", "benchmarks.peers.worker", peer.module, peer.kind]
    settings = [str(model), str(machine.default_threads()), str(CONTEXT)]
    return Remote(peer.name, [*worker, *settings], ENVIRONMENTS / f"{peer.module}-{peer.kind}.log")


def _drafts(source: Path, plan: Plan, progress: Progress) -> list[Drafts]:
    labelled, inputs = _labelled(plan.receipts)
    found = []
    for kind in plan.kinds:
        tick = _bar(progress, f"drafts with {kind}", len(labelled))
        with closing(LlamaEngine(requantized(source, kind, CACHE))) as engine:
            found.append(drafts(engine, kind, labelled, inputs, tick))
    return found


def _labelled(count: int) -> tuple[list[Labelled], str]:
    data = data_file()
    if data is not None:
        labelled = read_receipts(data)[:count]
        return labelled, f"{len(labelled)} scanned receipts"
    texts, inputs = subjects.receipt_texts(count)
    return [Labelled(text, {}) for text in texts], inputs


def _bar(progress: Progress, what: str, total: int) -> Tick:
    bar = progress.add_task(what, total=total)
    return lambda: progress.advance(bar)


def completed(run: DecodeRun, before: DecodeRun | None, parts: tuple[str, ...]) -> DecodeRun:
    """The run, with the parts that it left out from one of the same model, code and machine."""
    if before is None or _what(before) != _what(run):
        return run
    names = {name: subject for name, subject in _TASKS.items() if subject not in parts}
    comparisons = [c for c in before.comparisons if c.task in names] + run.comparisons
    order = list(_TASKS)
    return run.model_copy(
        update={
            "comparisons": sorted(comparisons, key=lambda c: order.index(c.task)),
            "drafts": run.drafts if "drafts" in parts else before.drafts,
            "overheads": run.overheads if "overhead" in parts else before.overheads,
            "seconds": run.seconds + before.seconds,
        }
    )


_TASKS = {subjects.RECEIPTS: "receipts", subjects.INVOICES: "invoices"}


def _what(run: DecodeRun) -> tuple[object, ...]:
    s = run.setting
    return s.model, s.commit, s.processor, s.threads, s.versions


def _keep(run: DecodeRun) -> None:
    write(RESULTS, run.model_dump_json(indent=2) + "\n")
    spine = Run.model_validate_json(SPINE.read_text(encoding="utf-8"))
    write(PAGE, report.page(spine) + decode_report.section(run))


def _parts(
    known: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    def read(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
        chosen = tuple(part.strip() for part in value.split(","))
        unknown = [part for part in chosen if part not in known]
        if unknown:
            raise click.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(known)}")
        return chosen

    return read


@click.command()
@click.option("--inputs", type=click.IntRange(1), default=ENOUGH, show_default=True)
@click.option("--only", "parts", default=",".join(PARTS), show_default=True, callback=_parts(PARTS))
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--kind", default=None, help="Requantize it first, such as Q4_0.")
@click.option("--receipts", type=click.IntRange(1), default=100, show_default=True,
              help="For each quantization, with drafts and without.")  # fmt: skip
@click.option("--kinds", default=",".join(KINDS), show_default=True, callback=_parts(KINDS))
def main(
    *,
    inputs: int,
    parts: tuple[str, ...],
    model: str,
    kind: str | None,
    receipts: int,
    kinds: tuple[str, ...],
) -> None:
    """Measure edgeslm beside other libraries. The whole takes more than an hour on 2 cores."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        source = Store().resolve(model)
        path = source if kind is None else requantized(source, kind, CACHE)
        words = Path(model).name + ("" if kind is None else f", requantized to {kind}")
        plan = Plan(parts, inputs, receipts, kinds)
        with Progress(*columns, console=console) as progress:
            run = measure(source, path, words, plan, progress)
    except EdgeslmError as error:
        cli.fail(error)
    Console().print(Markdown(decode_report.section(run)))
    if not run.sound:
        console.print("an answer of edgeslm was not valid, or not the same with drafts: not kept")
        sys.exit(UNSOUND)
    if inputs < ENOUGH:
        console.print(f"not kept: that takes {ENOUGH} inputs")
        return
    _keep(completed(run, kept(), parts))
    console.print(f"written: {RESULTS.name}, {PAGE.name}")


if __name__ == "__main__":
    main()
