"""The engine alone, by the tests of llama-bench, and how far its results agree with these."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeslm.bench.report.schema import RawTest
from edgeslm.engines.engine import Batch, Engine
from edgeslm.errors import InputError, first_fault, unreadable
from edgeslm.formats.files import read_small

#: a larger file is no result of llama-bench
MAX_BYTES: Final = 16 * 1024 * 1024
REPETITIONS: Final = 5
#: tokens that are there already in the depth variants
DEPTH: Final = 4096
_SEQUENCE = 0

Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """One test: a prompt of ``n_prompt`` tokens at once, or ``n_gen`` tokens one by one."""

    n_prompt: int
    n_gen: int
    n_depth: int = 0

    @property
    def tokens(self) -> int:
        """Cells that the test fills."""
        return self.n_prompt + self.n_gen + self.n_depth


#: the two tests that llama-bench runs if nobody asks for others
STANDARD: Final = (Shape(512, 0), Shape(0, 128))


def shapes(max_context: int, *, depth: bool) -> tuple[Shape, ...]:
    """pp512 and tg128, and the same behind DEPTH tokens, as far as the context holds them."""
    deep = tuple(Shape(s.n_prompt, s.n_gen, DEPTH) for s in STANDARD) if depth else ()
    return tuple(shape for shape in (*STANDARD, *deep) if shape.tokens <= max_context)


def measure(
    engine: Engine,
    tests: Sequence[Shape],
    *,
    threads: int,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    tick: Tick = lambda _done, _all: None,
) -> tuple[RawTest, ...]:
    """Run each test so often with random tokens, after one run that is not kept.

    ``threads`` are those that the engine was loaded with. The engine's sequences are lost.

    Raises:
        ResourceError: a test does not fit into memory.
    """
    random = Random(seed)
    engine.arm(None)
    engine.resize(max((test.tokens for test in tests), default=0))
    done, measured = 0, []
    for test in tests:
        rates = []
        engine.truncate(_SEQUENCE, 0)
        _prompt(engine, _draw(engine, test.n_depth, random), 0)
        for number in range(1 + repetitions):
            seconds = _run(engine, test, random)
            if number:
                rates.append((test.n_prompt + test.n_gen) / seconds)
            done += 1
            tick(done, len(tests) * (1 + repetitions))
        measured.append(_summarize(test, rates, engine, threads))
    return tuple(measured)


def _run(engine: Engine, test: Shape, random: Random) -> float:
    """Seconds of one repetition, behind the depth that is there."""
    tokens = _draw(engine, test.n_prompt + test.n_gen, random)
    engine.truncate(_SEQUENCE, test.n_depth)
    start = time.perf_counter()
    if test.n_prompt:
        _prompt(engine, tokens, test.n_depth)
    else:
        for position, token in enumerate(tokens, start=test.n_depth):
            engine.evaluate(Batch.run([token], position, _SEQUENCE))
    return time.perf_counter() - start


def _draw(engine: Engine, n: int, random: Random) -> list[int]:
    return [random.randrange(engine.vocab.size) for _ in range(n)]


def _prompt(engine: Engine, tokens: Sequence[int], begin: int) -> None:
    size = engine.batch_size
    for at in range(0, len(tokens), size):
        engine.evaluate(Batch.run(tokens[at : at + size], begin + at, _SEQUENCE))


def _summarize(test: Shape, rates: Sequence[float], engine: Engine, threads: int) -> RawTest:
    return RawTest(
        n_prompt=test.n_prompt,
        n_gen=test.n_gen,
        n_depth=test.n_depth,
        n_threads=threads,
        n_batch=engine.batch_size,
        avg_ts=fmean(rates),
        stddev_ts=stdev(rates) if len(rates) > 1 else 0.0,
        samples_ts=tuple(rates),
    )


# --- beside llama-bench -------------------------------------------------------


class _Theirs(BaseModel):
    """What is read of one result of `llama-bench -o json`; it has many more keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    n_prompt: int = Field(ge=0)
    n_gen: int = Field(ge=0)
    n_depth: int = Field(default=0, ge=0)
    n_threads: int = Field(ge=1)
    avg_ts: float = Field(gt=0, allow_inf_nan=False)
    stddev_ts: float = Field(default=0.0, ge=0, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One test of both: tokens per second here and in llama-bench, and ours in percent of its."""

    test: str
    ours: float
    theirs: float
    same_threads: bool

    @property
    def percent(self) -> float:
        return 100 * self.ours / self.theirs

    def __str__(self) -> str:
        threads = "" if self.same_threads else ", with another number of threads"
        return (
            f"{self.test}: {self.ours:,.1f} tokens/s, llama-bench {self.theirs:,.1f}: "
            f"{self.percent:.1f} % of it{threads}"
        )


def read_llama_bench(path: Path) -> tuple[RawTest, ...]:
    """The results in a file that `llama-bench -o json` or `-o jsonl` wrote.

    Raises:
        InputError: the file cannot be read, is over 16 MiB, or holds no such results.
    """
    try:
        data = read_small(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        theirs = [_Theirs.model_validate(value) for value in _values(data.decode("utf-8-sig"))]
    except ValidationError as error:
        raise InputError(
            f"{path}: no llama-bench result, at {first_fault(error, whole='a result')}"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = unreadable(error)
        raise InputError(f"{path}: not JSON of `llama-bench -o json`: {reason}") from error
    # a test of prompt and answer in one has no name here
    return tuple(_as_test(their) for their in theirs if not (their.n_prompt and their.n_gen))


def _values(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        values: list[Any] = json.loads(text)
        return values
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _as_test(their: _Theirs) -> RawTest:
    return RawTest(**their.model_dump(), n_batch=0, samples_ts=())


def agreement(ours: Sequence[RawTest], theirs: Sequence[RawTest]) -> tuple[Agreement, ...]:
    """The tests that both have, in our order; of several of one kind, that with our threads."""
    agreements = []
    for test in ours:
        same = [their for their in theirs if their.test == test.test]
        if not same:
            continue
        their = next((each for each in same if each.n_threads == test.n_threads), same[0])
        threads = their.n_threads == test.n_threads
        agreements.append(Agreement(test.test, test.avg_ts, their.avg_ts, threads))
    return tuple(agreements)
