"""Requests per second of `map` by width, against the engine alone on the very same batches.

python -m benchmarks.batches [--texts 24] [--width 1 --width 8]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from benchmarks.models import requantized
from benchmarks.receipts import ROOT, data_file, read_receipts
from benchmarks.tasks import Receipt
from edgeslm.engine import Batch, Logits
from edgeslm.engines.llama import LlamaEngine
from edgeslm.errors import EdgeslmError
from edgeslm.model import Model
from edgeslm.store import Store

WIDTHS = (1, 2, 4, 8, 16)
#: what `map` should reach of the engine's own speed
TARGET = 0.9
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

Answers = Callable[[list[str], int], Iterator[object]]


@dataclass(frozen=True, slots=True)
class Point:
    """One width: requests and rows per second, and the share of the engine's own speed."""

    width: int
    requests: float
    rows: float
    share: float


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

    @property
    def rows(self) -> int:
        """Rows that were evaluated."""
        batches = (arguments[0] for _, arguments in self.calls)
        return sum(len(batch.tokens) for batch in batches if isinstance(batch, Batch))


def measure(recorder: Recorder, answers: Answers, texts: list[str], width: int) -> Point:
    """Answer all texts, then make the engine's calls again without anything around them."""
    _check(answers(texts, width))  # the context grows, the prefix is evaluated
    recorder.calls.clear()
    start = time.perf_counter()
    _check(answers(texts, width))
    seconds = time.perf_counter() - start
    calls, rows = recorder.calls[:], recorder.rows
    start = time.perf_counter()
    for call, arguments in calls:
        call(*arguments)
    alone = time.perf_counter() - start
    return Point(width, len(texts) / seconds, rows / seconds, alone / seconds)


def _check(answers: Iterable[object]) -> None:
    for answer in answers:
        if isinstance(answer, EdgeslmError):
            raise answer


def table(title: str, points: list[Point]) -> str:
    """The points as Markdown; the gain is over the first width."""
    head = f"{title}\n\n| width | requests/s | gain | rows/s | of the engine alone |\n"
    lines = [
        f"| {p.width} | {p.requests:.2f} | {p.requests / points[0].requests:.2f} | {p.rows:,.0f} "
        f"| {p.share:.0%} |"
        for p in points
    ]
    return head + "|---|---|---|---|---|\n" + "\n".join(lines) + "\n"


@click.command()
@click.option("--texts", "count", type=click.IntRange(1), default=24, show_default=True)
@click.option("--width", "widths", type=click.IntRange(1), multiple=True, default=WIDTHS)
@click.option("--gpu-layers", type=int, default=None, help="0: the processor alone.")
def main(count: int, widths: tuple[int, ...], gpu_layers: int | None) -> None:
    """Measure both tools at every width; exits with 1 where one is below the target."""
    data = data_file()
    if data is None:
        raise click.ClickException("no receipts: name their folder in EDGESLM_DATA")
    texts = [receipt.text for receipt in read_receipts(data)[:count]]
    path = requantized(Store().resolve("smollm2-135m"), "Q4_0", ROOT / ".cache" / "requantized")
    recorder = Recorder(LlamaEngine(path, gpu_layers=gpu_layers))
    low = False
    with Model(recorder) as model:
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
        for title, (answers, inputs) in tools.items():
            points = [measure(recorder, answers, inputs, width) for width in widths]
            click.echo(table(title, points))
            low = low or any(point.share < TARGET for point in points)
    raise SystemExit(int(low))


if __name__ == "__main__":
    main()
