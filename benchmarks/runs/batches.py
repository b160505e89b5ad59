"""Requests per second of `map` by width, against the engine alone on the very same batches.

python -m benchmarks.runs.batches [--quick] [--texts 24] [--width 1 --width 8]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.data.models import requantized
from benchmarks.data.schemas import Receipt
from benchmarks.peers import questions
from benchmarks.report import page
from benchmarks.report.batches import RESULTS, BatchesRun, Curve, Point, table
from benchmarks.runs.extract import CACHE, KIND, MODEL, describe_setting
from edgeslm.cli import output
from edgeslm.decoding.session import FIRST_FREE, WORK
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.models.gguf import GgufModel
from edgeslm.store.store import Store

WIDTHS = (1, 2, 4, 8, 16)
LABELS = (
    "grocery",
    "restaurant",
    "fuel",
    "hardware",
    "stationery",
    "pharmacy",
    "clothing",
    "other",
)
_MAX_TOKENS = 96
#: how often each width is measured; a virtual machine is faster in one minute than in the next
_TURNS = 3

Answers = Callable[[list[str], int], Iterator[object]]


class Recorder:
    """An engine that keeps the calls that work on its sequences, to be made again."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self.calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def evaluate(self, batch: Batch) -> Logits:
        self.calls.append((self._engine.evaluate, (batch,)))
        return self._engine.evaluate(batch)

    def fork(self, source: int, target: int) -> None:
        self.calls.append((self._engine.fork, (source, target)))
        self._engine.fork(source, target)

    def truncate(self, sequence: int, length: int) -> None:
        self.calls.append((self._engine.truncate, (sequence, length)))
        self._engine.truncate(sequence, length)

    def clear(self) -> None:
        """Forget the calls, and empty the sequences that answers had: the last ones' are freed
        with the next request alone, which what is made again has not."""
        self.calls.clear()
        for sequence in (WORK, *range(FIRST_FREE, self._engine.max_sequences)):
            self._engine.truncate(sequence, 0)

    @property
    def rows(self) -> int:
        """Rows that were evaluated."""
        batches = (arguments[0] for _, arguments in self.calls)
        return sum(len(batch.tokens) for batch in batches if isinstance(batch, Batch))


def measure(
    recorder: Recorder, answers: Answers, texts: list[str], widths: Sequence[int]
) -> list[Point]:
    """Answer all texts at every width, in turns that turn around, and take the median turn.

    Each time the engine's calls are made again without anything around them.
    """
    _check(answers(texts, max(widths)))  # the context grows, the prefix is evaluated
    turns: dict[int, list[Point]] = {width: [] for width in widths}
    for turn in range(_TURNS):
        for width in widths if turn % 2 == 0 else reversed(widths):
            turns[width].append(_once(recorder, answers, texts, width))
    return [_median(turns[width]) for width in widths]


def _once(recorder: Recorder, answers: Answers, texts: list[str], width: int) -> Point:
    recorder.clear()
    start = time.perf_counter()
    _check(answers(texts, width))
    seconds = time.perf_counter() - start
    calls, rows = recorder.calls[:], recorder.rows
    recorder.clear()
    start = time.perf_counter()
    for call, arguments in calls:
        call(*arguments)
    alone = time.perf_counter() - start
    return Point(
        width=width, requests=len(texts) / seconds, rows=rows / seconds, share=alone / seconds
    )


def _median(points: Sequence[Point]) -> Point:
    return Point(
        width=points[0].width,
        requests=median(point.requests for point in points),
        rows=median(point.rows for point in points),
        share=median(point.share for point in points),
    )


def _check(answers: Iterable[object]) -> None:
    for answer in answers:
        if isinstance(answer, EdgeslmError):
            raise answer


def curves(recorder: Recorder, texts: list[str], widths: tuple[int, ...]) -> Iterator[Curve]:
    """Both tools at every width."""
    with GgufModel(recorder) as model:
        extract, classify = model.extractor(Receipt), model.classifier(LABELS)
        tools: dict[str, tuple[Answers, list[str]]] = {
            "receipts, four fields": (
                lambda texts, width: extract.map(texts, width=width, max_tokens=_MAX_TOKENS),
                texts,
            ),
            f"first line of a receipt, {len(LABELS)} labels": (
                lambda texts, width: classify.map(texts, width=width),
                [text.partition("\n")[0] for text in texts],
            ),
        }
        for task, (answers, inputs) in tools.items():
            yield Curve(task=task, n=len(inputs), points=measure(recorder, answers, inputs, widths))


@click.command()
@click.option("--quick", is_flag=True, help="Two texts, two widths; nothing is kept.")
@click.option("--model", default=MODEL, show_default=True, help="A pulled model, or a .gguf file.")
@click.option("--texts", "count", type=click.IntRange(1), default=24, show_default=True)
@click.option("--width", "widths", type=click.IntRange(1), multiple=True, default=WIDTHS)
@click.option("--gpu-layers", type=int, default=None, help="0: the processor alone.")
def main(
    *, quick: bool, model: str, count: int, widths: tuple[int, ...], gpu_layers: int | None
) -> None:
    """Measure extraction and classification of many texts at every width."""
    progress, started = Console(stderr=True), time.monotonic()
    if quick:
        count, widths = 2, (1, 2)
    texts, _ = questions.receipt_texts(count)
    setting = describe_setting(f"{Path(model).name}, requantized to {KIND}")
    measured = []
    try:
        path = requantized(Store().resolve(model), KIND, CACHE)
        for curve in curves(Recorder(LlamaEngine(path, gpu_layers=gpu_layers)), texts, widths):
            measured.append(curve)
            progress.print(Markdown(table(curve)))
    except EdgeslmError as error:
        output.fail(error)
    run = BatchesRun(setting=setting, curves=measured, seconds=time.monotonic() - started)
    if quick:
        progress.print("not kept: two texts say nothing of speed")
        return
    page.keep(RESULTS, run)
    progress.print(f"written: {RESULTS.name}, {page.PAGE.name}")


if __name__ == "__main__":
    main()
