"""Encoder specialists beside bare onnxruntime: time of a call, start of a process, memory.

python -m benchmarks.runs.encoders intents-oos-mini [other.onnx ...]

A call is measured at 16 and at 32 tokens, tokenizing and answer included, and in turns with it
onnxruntime alone on the very same ids, in a session of its own defaults with as many threads, but
that these stop spinning after a run, as they would delay whoever is next. A start is a fresh
process: import, load, classifier, one answer; beside it one that does the same with onnxruntime and
tokenizers by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.data.receipts import ROOT
from edgeslm.engines.device.machine import default_threads
from edgeslm.engines.onnx.inputs import reader_of
from edgeslm.engines.onnx.session import load_library
from edgeslm.engines.onnx.tokens import EncoderTokens, stack
from edgeslm.errors import EdgeslmError
from edgeslm.evaluation.intervals import percentile
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.models.load import load
from edgeslm.store.store import Store

#: tokens of the texts, special ones included
LENGTHS = (16, 32)
_WORD = "balance"
_TEXT = "what is the balance of my account"
#: runs before the measured ones
_WARM_UP = 10

#: what a fresh process does, through edgeslm and by hand; each prints milliseconds and bytes
_START = """
import sys, time
start = time.perf_counter()
{load}
loaded = time.perf_counter()
{answer}
answered = time.perf_counter()
import json, psutil
rss = psutil.Process().memory_info().rss
print(json.dumps([(loaded - start) * 1000, (answered - loaded) * 1000, rss]))
"""
_EDGESLM = _START.format(
    load="import edgeslm\nclassify = edgeslm.load(sys.argv[1]).classifier()",
    answer="classify(sys.argv[2])",
)
_BARE = _START.format(
    load="""
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime
from tokenizers import Tokenizer
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
held = session.get_modelmeta().custom_metadata_map
tokenizer = Tokenizer.from_str(held["edgeslm.tokenizer"])
""",
    answer="""
ids = numpy.array([tokenizer.encode(sys.argv[2]).ids])
inputs = {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}
inputs |= {"ids": numpy.zeros_like(ids), "values": numpy.zeros(ids.shape, numpy.float32)}
session.run(["logits"], {given.name: inputs[given.name] for given in session.get_inputs()})
""",
)

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Start:
    """Medians over fresh processes: milliseconds, and bytes of resident memory at the end."""

    load_ms: float
    first_ms: float
    rss: float


def in_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, all calls in every round; who comes first goes around."""
    names = list(calls)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        for _ in range(_WARM_UP):
            calls[name]()
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            calls[name]()
            taken[name].append((time.perf_counter() - start) * 1000)
    return taken


def text_of(tokens: EncoderTokens, length: int) -> str:
    """A text of exactly so many tokens, special ones included."""
    words = [_WORD]
    while (count := len(tokens(" ".join(words))["input_ids"])) < length:
        words.append(_WORD)
    if count != length:
        raise click.ClickException(f"the tokenizer makes no {length} tokens of {_WORD!r} repeated")
    return " ".join(words)


def calls_of(paths: Mapping[str, Path], length: int, opened: ExitStack) -> dict[str, Call]:
    """For each file the public call and the bare run, on one text of this length."""
    calls: dict[str, Call] = {}
    for name, path in paths.items():
        info = read_onnx(path)
        if info.tokenizer_json is None:
            raise click.ClickException(f"{path}: no encoder")
        tokens = EncoderTokens(info.tokenizer_json, info.max_tokens, where=str(path))
        text = text_of(tokens, length)
        model: Any = opened.enter_context(load(path, gpu_layers=0))
        read, _ = reader_of(info, info.max_tokens)
        classify, inputs = model.classifier(), stack([read(text, None)])
        session = _bare_session(path)
        calls[f"{name}: edgeslm"] = lambda c=classify, t=text: c(t)  # type: ignore[misc]
        calls[f"{name}: onnxruntime"] = lambda s=session, x=inputs: s.run(["logits"], x)  # type: ignore[misc]
    return calls


def _bare_session(path: Path) -> Any:
    runtime = load_library()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = default_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def starts(path: Path, count: int) -> dict[str, Start]:
    """Medians of fresh processes in turns; the first of each fills the caches and is left out."""
    times: dict[str, list[list[float]]] = {"edgeslm": [], "onnxruntime": []}
    with tempfile.TemporaryDirectory() as compiled:
        for _ in range(count + 1):
            for name, code in (("edgeslm", _EDGESLM), ("onnxruntime", _BARE)):
                times[name].append(_child(code, path, Path(compiled)))
    return {
        name: Start(*(median(column) for column in zip(*runs[1:], strict=True)))
        for name, runs in times.items()
    }


def _child(code: str, path: Path, compiled: Path) -> list[float]:
    # compiled modules as an installed package has them, wherever this one lies
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), _TEXT],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    figures: list[float] = json.loads(done.stdout)
    return figures


def lines(paths: Mapping[str, Path], rounds: int, count: int) -> Iterator[str]:
    """The results as Markdown tables, each as soon as it is measured."""
    yield "| tokens | file and system | p50 ms | p99 ms |\n|---|---|---|---|"
    for length in LENGTHS:
        with ExitStack() as opened:
            for name, ms in in_turns(calls_of(paths, length, opened), rounds).items():
                p50, p99 = percentile(ms, 50), percentile(ms, 99)
                yield f"| {length} | {name} | {p50:.2f} | {p99:.2f} |"
    yield "\n| file and system | import and load ms | first answer ms | RSS MB |\n|---|---|---|---|"
    for name, path in paths.items():
        for system, one in starts(path, count).items():
            yield (
                f"| {name}: {system} | {one.load_ms:.0f} | {one.first_ms:.1f} "
                f"| {one.rss / 1e6:.0f} |"
            )


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--rounds", type=click.IntRange(1), default=400, show_default=True)
@click.option("--starts", "count", type=click.IntRange(1), default=10, show_default=True)
def main(*, names: tuple[str, ...], rounds: int, count: int) -> None:
    """Measure NAMES: encoder specialists that classify, by name or as .onnx files."""
    try:
        for line in lines(
            {Path(name).stem: Store().resolve(name) for name in names}, rounds, count
        ):
            click.echo(line)
    except EdgeslmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
