"""Classification beside other libraries, with 8 and with 77 labels, and cold starts of all.

python -m benchmarks.runs.classify [--quick] [--inputs 50] [--only 8,77,starts] [--model NAME]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from benchmarks.data import intents
from benchmarks.data.intents import EIGHT, Intents
from benchmarks.data.models import requantized
from benchmarks.peers.environments import LLAMA, PEERS
from benchmarks.peers.questions import LabelQuestion
from benchmarks.report import classify as classify_report
from benchmarks.report import page
from benchmarks.report.results.classify import (
    RESULTS,
    ClassifyRun,
    ColdStarts,
    LabelComparison,
    LabelResult,
    kept,
)
from benchmarks.report.results.extraction import OWN
from benchmarks.runs import cold_start
from benchmarks.runs.console import Tick, bar, bars, parts_of
from benchmarks.runs.extract import CACHE, MODEL, UNSOUND, describe_setting
from benchmarks.runs.lineup import lineup
from benchmarks.runs.turns import Given, Peer, median_if_told, take_turns
from edgeslm.cli import output
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.evaluation.intervals import median_of, share
from edgeslm.store.store import Store

PARTS = ("8", "77", "starts")
#: a run of fewer texts shows that all works; its numbers are not kept
ENOUGH = 10
_CLASSIFIERS = tuple(peer for peer in PEERS if peer.classifies)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures: ``inputs`` of each set of labels, ``rounds`` of cold starts."""

    parts: tuple[str, ...]
    inputs: int
    rounds: int


def measure(path: Path, words: str, plan: Plan, progress: Progress) -> ClassifyRun:
    """Run the parts of the plan; ``words`` says which model file ``path`` is.

    Raises:
        EdgeslmError: the model cannot be loaded, or does not fit.
    """
    started, setting = time.monotonic(), describe_setting(words)
    sets, skipped = _intents(plan)
    comparisons: list[LabelComparison] = []
    with closing(LlamaEngine(path)) as engine:
        if sets:
            with _lineup(path, progress) as (peers, missing):
                comparisons = [
                    _compare(engine, labelled, peers, missing, progress) for labelled in sets
                ]
        starts = _starts(engine, path, plan.rounds, progress) if "starts" in plan.parts else None
    return ClassifyRun(
        setting=setting,
        comparisons=comparisons,
        starts=starts,
        skipped=skipped,
        seconds=time.monotonic() - started,
    )


def _intents(plan: Plan) -> tuple[list[Intents], list[str]]:
    """The sets of labels and their texts, and which are missing."""
    sets, skipped = [], []
    if "8" in plan.parts:
        sets.append(intents.eight(plan.inputs))
    if "77" in plan.parts:
        data = intents.banking77()
        if data is None:
            skipped.append("77 labels, as banking77.jsonl.gz is not in the folder EDGESLM_DATA")
        else:
            sets.append(intents.all_labels(data, plan.inputs))
    return sets, skipped


@contextmanager
def _lineup(path: Path, progress: Progress) -> Iterator[tuple[list[Peer], dict[str, str]]]:
    tick = bar(progress, "installing and starting peers", len(_CLASSIFIERS))
    with lineup(path, _CLASSIFIERS, tick) as ready:
        yield ready


def _compare(
    engine: LlamaEngine,
    labelled: Intents,
    peers: Sequence[Peer],
    missing: dict[str, str],
    progress: Progress,
) -> LabelComparison:
    question = LabelQuestion(engine, labelled.labels)
    tick = bar(progress, f"{len(labelled.labels)} labels", len(peers) * len(labelled.rows))
    return compare(question, labelled, peers, missing, tick)


def compare(
    question: LabelQuestion,
    labelled: Intents,
    peers: Sequence[Peer],
    missing: dict[str, str],
    tick: Tick,
) -> LabelComparison:
    """All on all texts; ``peers[0]`` is edgeslm. ``missing`` peers never started, and why.

    Raises:
        EngineError: edgeslm's prompt is not the one that peers are given.
    """
    pairs = [(question, text) for text, _ in labelled.rows]
    given, failed, _ = take_turns(pairs, peers, None, tick)
    return LabelComparison(
        labels=len(labelled.labels),
        inputs=labelled.inputs,
        n=len(pairs),
        peers=[
            _result(peer, given[peer.name], given[OWN], labelled)
            for peer in peers
            if peer.name in given
        ],
        unavailable=missing | failed,
    )


def _result(peer: Peer, given: Given, own: Given, labelled: Intents) -> LabelResult:
    replies = given.replies
    answers = [reply.text for reply in replies]
    ratios = [theirs.ms / ours.ms for theirs, ours in zip(replies, own.replies, strict=True)]
    right = sum(answer == row[1] for answer, row in zip(answers, labelled.rows, strict=True))
    return LabelResult(
        name=peer.name,
        about=peer.about,
        ms=median(reply.ms for reply in replies),
        ratio=None if peer.name == OWN else median_of(ratios),
        decodes=median_if_told([reply.decodes for reply in replies]),
        accuracy=share(right, len(answers)),
        valid=sum(answer in labelled.labels for answer in answers),
        same=sum(a == reply.text for a, reply in zip(answers, own.replies, strict=True)),
        same_prompt=sum(reply.same_prompt for reply in replies),
        prepare_ms=given.prepare_ms,
    )


def _starts(engine: LlamaEngine, path: Path, rounds: int, progress: Progress) -> ColdStarts:
    question = LabelQuestion(engine, EIGHT)
    ready, missing = cold_start.starters(path, question, (LLAMA, *_CLASSIFIERS))
    tick = bar(progress, "cold starts", len(ready) * (rounds + 1))
    return cold_start.measure("a short text into 8 labels", ready, missing, rounds, tick)


def completed(run: ClassifyRun, before: ClassifyRun | None) -> ClassifyRun:
    """The run, with the parts that it left out from one of the same model, code and machine."""
    if before is None or _what(before) != _what(run):
        return run
    sets = {c.labels: c for c in (*before.comparisons, *run.comparisons)}
    return run.model_copy(
        update={
            "comparisons": [sets[labels] for labels in sorted(sets)],
            "starts": run.starts or before.starts,
            "seconds": run.seconds + before.seconds,
        }
    )


def _what(run: ClassifyRun) -> tuple[object, ...]:
    s = run.setting
    return s.model, s.commit, s.processor, s.threads, s.versions


@click.command()
@click.option("--quick", is_flag=True, help="Two texts, one start of each; nothing is kept.")
@click.option("--inputs", type=click.IntRange(1), default=50, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True,
              help="Cold starts of each.")  # fmt: skip
@click.option("--only", "parts", default=",".join(PARTS), show_default=True,
              callback=parts_of(PARTS))  # fmt: skip
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--kind", default=None, help="Requantize it first, such as Q4_0.")
def main(
    *, quick: bool, inputs: int, rounds: int, parts: tuple[str, ...], model: str, kind: str | None
) -> None:
    """Measure classification and cold starts beside other libraries."""
    console = Console(stderr=True)
    plan = Plan(parts, 2, 1) if quick else Plan(parts, inputs, rounds)
    try:
        source = Store().resolve(model)
        path = source if kind is None else requantized(source, kind, CACHE)
        words = Path(model).name + ("" if kind is None else f", requantized to {kind}")
        with bars(console) as progress:
            run = measure(path, words, plan, progress)
    except EdgeslmError as error:
        output.fail(error)
    Console().print(Markdown(classify_report.section(run)))
    if not run.sound:
        console.print("an answer of edgeslm is no label: nothing is kept of this run")
        sys.exit(UNSOUND)
    if plan.inputs < ENOUGH:
        console.print(f"not kept: that takes {ENOUGH} inputs")
        return
    page.keep(RESULTS, completed(run, kept()))
    console.print(f"written: {RESULTS.name}, {page.PAGE.name}, {page.PLOT.name}")


if __name__ == "__main__":
    main()
