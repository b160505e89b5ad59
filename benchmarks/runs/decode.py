"""Constrained decoding beside other libraries, and what copy drafts give and cost.

python -m benchmarks.runs.decode [--quick] [--inputs 20] [--only receipts,invoices] [--model NAME]
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from benchmarks.data.models import requantized
from benchmarks.data.receipts import Labelled, data_file, read_receipts
from benchmarks.peers import questions
from benchmarks.peers.environments import PEERS
from benchmarks.report import decode as decode_report
from benchmarks.report import page
from benchmarks.report.results.decode import (
    Comparison,
    DecodeRun,
    Drafts,
    Overhead,
    file_of,
    kept_in,
)
from benchmarks.runs.console import bar, bars, parts_of
from benchmarks.runs.drafts import drafts, overhead
from benchmarks.runs.extract import CACHE, MODEL, UNSOUND, describe_setting
from benchmarks.runs.known_answers import KnownAnswerEngine, known_invoices
from benchmarks.runs.lineup import lineup
from benchmarks.runs.turns import Bare, compare
from edgeslm.cli import output
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.store.store import Store

PARTS = ("receipts", "invoices", "right", "overhead", "drafts")
KINDS = ("Q4_0", "Q8_0", "Q4_K_M", "IQ4_NL", "F16")
#: a run of fewer inputs shows that all works; its numbers are not kept
ENOUGH = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures: ``inputs`` of each task, and ``receipts`` for each quantization.

    Peers ``without`` whom it goes are named as left out.
    """

    parts: tuple[str, ...]
    inputs: int
    receipts: int
    kinds: tuple[str, ...]
    without: tuple[str, ...] = ()


QUICK = Plan(("receipts",), inputs=2, receipts=1, kinds=KINDS)


def measure(source: Path, path: Path, words: str, plan: Plan, progress: Progress) -> DecodeRun:
    """Run the parts of the plan.

    Args:
        source: the model file that other quantizations are made from.
        path: the one that all load.
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
            tasks = questions.nothing_copied(engine, plan.inputs)
            tick = bar(progress, "nothing to copy", sum(len(task.pairs) for task in tasks))
            overheads = [overhead(task, tick) for task in tasks]
    right = _right(path, plan, progress) if "right" in plan.parts else []
    draft_results = _drafts(source, plan, progress) if "drafts" in plan.parts else []
    return DecodeRun(
        setting=setting,
        comparisons=comparisons,
        drafts=draft_results,
        overheads=overheads,
        right=right,
        seconds=time.monotonic() - started,
    )


def _compare(engine: LlamaEngine, path: Path, plan: Plan, progress: Progress) -> list[Comparison]:
    peers = [peer for peer in PEERS if peer.name not in plan.without]
    tick = bar(progress, "installing and starting peers", len(peers))
    with (
        lineup(path, peers, tick) as (ready, missing),
        closing(LlamaEngine(path)) as alone,
    ):
        missing.update(dict.fromkeys(plan.without, "left out of this run"))
        comparisons = []
        if "receipts" in plan.parts:
            task = questions.receipts(engine, plan.inputs)
            tick = bar(progress, task.name, len(ready) * len(task.pairs))
            comparisons.append(compare(task, ready, missing, Bare(alone), tick))
        if "invoices" in plan.parts:
            task = questions.invoices(engine, plan.inputs)
            tick = bar(progress, task.name, len(ready) * len(task.pairs))
            comparisons.append(compare(task, ready, missing, None, tick))
    return comparisons


def _right(path: Path, plan: Plan, progress: Progress) -> list[Overhead]:
    with closing(KnownAnswerEngine(path)) as model:
        task = known_invoices(model, plan.inputs)
        return [overhead(task, bar(progress, "right answers", len(task.pairs)))]


def _drafts(source: Path, plan: Plan, progress: Progress) -> list[Drafts]:
    labelled, inputs = _labelled(plan.receipts)
    results = []
    for kind in plan.kinds:
        tick = bar(progress, f"drafts with {kind}", len(labelled))
        with closing(LlamaEngine(requantized(source, kind, CACHE))) as engine:
            results.append(drafts(engine, kind, labelled, inputs, tick))
    return results


def _labelled(count: int) -> tuple[list[Labelled], str]:
    data = data_file()
    if data is not None:
        labelled = read_receipts(data)[:count]
        return labelled, f"{len(labelled)} scanned receipts"
    texts, inputs = questions.receipt_texts(count)
    return [Labelled(text, {}) for text in texts], inputs


def completed(run: DecodeRun, before: DecodeRun | None, parts: tuple[str, ...]) -> DecodeRun:
    """The run, with the parts that it left out from one of the same model, code and machine."""
    if before is None or _what(before) != _what(run):
        return run
    names = {name: question for name, question in _TASKS.items() if question not in parts}
    comparisons = [c for c in before.comparisons if c.task in names] + run.comparisons
    order = list(_TASKS)
    return run.model_copy(
        update={
            "comparisons": sorted(comparisons, key=lambda c: order.index(c.task)),
            "drafts": _by_kind([*before.drafts, *run.drafts]),
            "overheads": run.overheads if "overhead" in parts else before.overheads,
            "right": run.right if "right" in parts else before.right,
            "seconds": run.seconds + before.seconds,
        }
    )


def _by_kind(results: list[Drafts]) -> list[Drafts]:
    """The last of each quantization, in the order of KINDS."""
    last = {drafts.kind: drafts for drafts in results}
    return [last[kind] for kind in KINDS if kind in last]


_TASKS = {questions.RECEIPTS: "receipts", questions.INVOICES: "invoices"}


def _what(run: DecodeRun) -> tuple[object, ...]:
    s = run.setting
    return s.model, s.commit, s.processor, s.threads, s.versions


@click.command()
@click.option("--quick", is_flag=True, help="Two receipts, to see that it works; nothing is kept.")
@click.option("--inputs", type=click.IntRange(1), default=ENOUGH, show_default=True)
@click.option(
    "--only", "parts", default=",".join(PARTS), show_default=True, callback=parts_of(PARTS)
)
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--kind", default=None, help="Requantize it first, such as Q4_0.")
@click.option("--receipts", type=click.IntRange(1), default=100, show_default=True,
              help="For each quantization, with drafts and without.")  # fmt: skip
@click.option("--without", multiple=True, metavar="PEER", default=(),
              type=click.Choice([peer.name for peer in PEERS]),
              help="Leave a peer out, such as a slow one; the page says so.")  # fmt: skip
@click.option("--kinds", default=",".join(KINDS), show_default=True, callback=parts_of(KINDS))
def main(
    *,
    quick: bool,
    inputs: int,
    parts: tuple[str, ...],
    model: str,
    kind: str | None,
    receipts: int,
    without: tuple[str, ...],
    kinds: tuple[str, ...],
) -> None:
    """Measure edgeslm beside other libraries. The whole takes more than an hour on 2 cores."""
    console = Console(stderr=True)
    try:
        source = Store().resolve(model)
        path = source if kind is None else requantized(source, kind, CACHE)
        words = Path(model).name + ("" if kind is None else f", requantized to {kind}")
        plan = QUICK if quick else Plan(parts, inputs, receipts, kinds, without)
        for part in plan.parts:  # each is kept before the next one begins
            with bars(console) as progress:
                run = measure(source, path, words, replace(plan, parts=(part,)), progress)
            _keep(run, part, console, enough=plan.inputs >= ENOUGH)
    except EdgeslmError as error:
        output.fail(error)


def _keep(run: DecodeRun, part: str, console: Console, *, enough: bool) -> None:
    """Show a part of the run, and publish it beside the others if it is one to rely on."""
    Console().print(Markdown(decode_report.section([run])))
    if not run.sound:
        console.print("an answer of edgeslm was not valid, or not the same with drafts: not kept")
        sys.exit(UNSOUND)
    if not enough:
        console.print(f"not kept: that takes {ENOUGH} inputs")
        return
    path = file_of(run)
    before = kept_in(path) if path.is_file() else None
    page.keep(path, completed(run, before, (part,)))
    console.print(f"written: {path.name}, {page.PAGE.name}")


if __name__ == "__main__":
    main()
