"""Many texts through an encoder: batches, in which company changes answers, beside runs of one.

python -m benchmarks.runs.company support-intents-mini [other.onnx ...] --texts texts.txt

"batches of 8" put texts of like length into one run, padded to the longest, as `map` did up to
0.3; "one after the other" and "map" give each text a run of its own, map side by side. All take
turns on the same texts in one process; seconds of the processor are counted beside those of the
clock, for a busy machine changes them less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.onnx.inputs import reader_of
from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.onnx.tokens import stack
from edgeslm.errors import EdgeslmError
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.models.load import load
from edgeslm.results import Classification
from edgeslm.store.store import Store
from edgeslm.tasks.classifier import DEFAULT_WIDTH

#: batches are of the shortest to the longest of so many times their width
_AHEAD: Final = 4

Shares = NDArray[np.float64]


class Company:
    """One file and the ways to run its texts; each way gives probabilities [texts, labels]."""

    def __init__(self, path: Path, texts: Sequence[str], threads: int | None = None) -> None:
        info = read_onnx(path)
        read, _ = reader_of(info, info.max_tokens)
        self._rows = [read(text, "middle") for text in texts]
        self._session = OnnxSession(path, threads=threads, gpu=False)
        self._model = load(path, threads=threads, gpu_layers=0)
        self._texts = texts
        self.ways: Mapping[str, Callable[[], Shares]] = {
            f"batches of {DEFAULT_WIDTH}": self._batches,
            "one after the other": self._singly,
            "map": self._mapped,
        }

    def _batches(self) -> Shares:
        logits: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(self._rows)
        ahead = DEFAULT_WIDTH * _AHEAD
        for first in range(0, len(self._rows), ahead):
            order = sorted(
                range(first, min(first + ahead, len(self._rows))),
                key=lambda i: len(next(iter(self._rows[i].values()))),
            )
            for start in range(0, len(order), DEFAULT_WIDTH):
                chosen = order[start : start + DEFAULT_WIDTH]
                run = self._session.run(stack([self._rows[i] for i in chosen]))
                for i, row in zip(chosen, run, strict=True):
                    logits[i] = row
        return _shares(np.stack(logits))

    def _singly(self) -> Shares:
        return _shares(np.concatenate([self._session.run(stack([row])) for row in self._rows]))

    def _mapped(self) -> Shares:
        shares = []
        for answer in self._model.classifier().map(self._texts, truncate="middle"):
            if not isinstance(answer, Classification):
                raise answer
            shares.append([*answer.probabilities.values()])
        return np.array(shares)

    def close(self) -> None:
        self._session.close()
        self._model.close()


def _shares(logits: NDArray[np.float32]) -> Shares:
    powers: Shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: Shares = powers / powers.sum(axis=1, keepdims=True)
    return shares


def lines(
    paths: Mapping[str, Path], texts: Sequence[str], rounds: int, threads: int | None = None
) -> Iterator[str]:
    """A Markdown table; other labels and the largest shift are against runs of one."""
    yield "| file and way | texts/s | CPU ms/text | other labels | largest shift |"
    yield "|---|---|---|---|---|"
    for file, path in paths.items():
        company = Company(path, texts, threads)
        clock: dict[str, list[float]] = {way: [] for way in company.ways}
        cpu: dict[str, list[float]] = {way: [] for way in company.ways}
        shares: dict[str, Shares] = {}
        for _ in range(rounds + 1):  # the first warms up
            for way, run in company.ways.items():
                begun, spent = time.perf_counter(), time.process_time()
                shares[way] = run()
                clock[way].append(len(texts) / (time.perf_counter() - begun))
                cpu[way].append(1000 * (time.process_time() - spent) / len(texts))
        company.close()
        alone = shares["one after the other"]
        for way in company.ways:
            other, shift = "-", "-"
            if way != "map":  # which also knows the temperature and what is out of scope
                other = str((shares[way].argmax(1) != alone.argmax(1)).sum())
                shift = f"{np.abs(shares[way] - alone).max():.3f}"
            yield (
                f"| {file}: {way} | {median(clock[way][1:]):.0f} | {median(cpu[way][1:]):.2f} "
                f"| {other} | {shift} |"
            )


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--texts",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="A text on each line.",
)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(*, names: tuple[str, ...], file: Path, rounds: int) -> None:
    """Measure NAMES: encoder specialists that classify, by name or as .onnx files."""
    texts = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    try:
        paths = {Path(name).stem: Store().resolve(name) for name in names}
        for line in lines(paths, texts, rounds):
            click.echo(line)
    except EdgeslmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
