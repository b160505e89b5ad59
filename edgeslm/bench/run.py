"""One run of `edgeslm bench`: its parts in order; what is finished survives an interrupt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from edgeslm.bench.machine import facts
from edgeslm.bench.parts import correctness, energy, latency, load, start
from edgeslm.bench.parts import engine as raw
from edgeslm.bench.parts.load import Request
from edgeslm.bench.parts.memory import footprint
from edgeslm.bench.report.compare import require_comparable
from edgeslm.bench.report.schema import (
    BenchReport,
    Correctness,
    Energy,
    Footprint,
    LoadPoint,
    MachineFacts,
    RawTest,
    Start,
    SustainedPoint,
    TaskRun,
)
from edgeslm.bench.workload.workload import Workload, choose
from edgeslm.engines.device import machine
from edgeslm.errors import EdgeslmError
from edgeslm.formats.card import Card
from edgeslm.formats.files import Progress, silent
from edgeslm.formats.info import read_info
from edgeslm.models.load import load as load_model
from edgeslm.models.model import Model

#: answers of random weights end nowhere; so long are those that published figures speak of
_SYNTHETIC_TOKENS: Final = 50
_SYNTHETIC_NOTE: Final = (
    f"random weights: answers have at most {_SYNTHETIC_TOKENS} tokens and mean nothing"
)
_NO_EVIDENCE_NOTE: Final = "extractions were asked for without evidence"


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and how much of it.

    ``threads`` of more than one number are swept; one number holds for everything. ``busy``
    and ``concurrency`` are the most neighbours and callers, 0 for none; ``sustained`` is in
    minutes. A ``baseline`` must be comparable with the run, or nothing is measured.
    """

    quick: bool = False
    seed: int = 0
    requests: int | None = None
    inputs: Path | None = None
    task: Literal["extract", "classify"] | None = None
    min_score: float | None = None
    baseline: BenchReport | None = None
    llama_bench: tuple[RawTest, ...] = ()
    gpu_layers: int | None = None
    threads: tuple[int, ...] = ()
    busy: int = 0
    concurrency: int = 0
    sustained: float = 0.0


@dataclass(frozen=True, slots=True)
class _Effort:
    """How much of each part: counts, and seconds of each condition under load."""

    requests: int
    warmup: int
    repetitions: int
    starts: int
    seconds: float
    depth: bool


_FULL: Final = _Effort(requests=100, warmup=5, repetitions=5, starts=5, seconds=20, depth=True)
_QUICK: Final = _Effort(requests=10, warmup=1, repetitions=2, starts=1, seconds=3, depth=False)
#: of the requests, how many are repeated without the prefix cache, where each takes longer
_WITHOUT_CACHE: Final = 0.2
_FEWEST: Final = 5


@dataclass(frozen=True, slots=True)
class Target:
    """A model file to measure, and the name that it was asked for by."""

    name: str
    path: Path
    synthetic: bool = False


def run(
    targets: Sequence[Target],
    options: Options,
    *,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> Iterator[BenchReport]:
    """Measure each model and give its report; the one that an interrupt cuts is the last.

    Raises:
        EdgeslmError: a model cannot be loaded, the inputs cannot be read, the baseline cannot be
            compared with, or the machine cannot be described.
        KeyboardInterrupt: it came before there was anything to report.
    """
    progress("machine", 0, 1)
    measured_on = facts.machine_facts()
    for target in targets:
        report = _Run(target, options, measured_on, progress).report(tuple(command))
        yield report
        if report.partial:
            return


@dataclass(slots=True)
class _Parts:
    """What a run measured so far: the parts of a BenchReport by their names there."""

    tasks: list[TaskRun] = field(default_factory=list)
    correctness: Correctness | None = None
    raw: tuple[RawTest, ...] = ()
    start: Start | None = None
    footprint: Footprint | None = None
    load: list[LoadPoint] = field(default_factory=list)
    sustained: list[SustainedPoint] = field(default_factory=list)
    energy: Energy | None = None
    notes: list[str] = field(default_factory=list)


class _Run:
    """The parts of one model's run, measured one after the other."""

    def __init__(
        self, target: Target, options: Options, machine_facts: MachineFacts, progress: Progress
    ) -> None:
        self._target = target
        self._options = options
        self._machine = machine_facts
        self._progress = progress
        self._threads = options.threads[0] if len(options.threads) == 1 else None
        effort = _QUICK if options.quick else _FULL
        self._effort = replace(effort, requests=options.requests or effort.requests)
        self._workload = self._choose()
        self._require_comparable()
        self._parts = _Parts()

    def report(self, command: tuple[str, ...]) -> BenchReport:
        target, options, parts = self._target, self._options, self._parts
        model = facts.model_facts(target.path, name=target.name, synthetic=target.synthetic)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        partial = False
        try:
            self._measure()
        except KeyboardInterrupt:
            partial = True
        if target.synthetic:
            parts.notes.append(_SYNTHETIC_NOTE)
        if self._workload.kind in ("extract", "generate"):
            parts.notes.append(_NO_EVIDENCE_NOTE)
        return BenchReport(
            created=created,
            command=command,
            seed=options.seed,
            quick=options.quick,
            partial=partial,
            machine=self._machine,
            model=model,
            inputs=self._workload.source,
            tasks=tuple(parts.tasks),
            correctness=parts.correctness,
            raw=parts.raw,
            start=parts.start,
            footprint=parts.footprint,
            load=tuple(parts.load),
            sustained=tuple(parts.sustained),
            energy=parts.energy,
            notes=tuple(parts.notes),
        )

    def _measure(self) -> None:
        """Heat comes last, so that it slows nothing else down."""
        self._measure_tasks()
        for what, part in (
            ("the engine alone", self._measure_engine),
            ("starts", self._measure_start),
            ("memory", self._measure_footprint),
            ("load", self._measure_load),
            ("energy", self._measure_energy),
            ("a sustained run", self._measure_sustained),
        ):
            try:
                part()
            except EdgeslmError as error:  # what was measured before it is worth keeping
                # a run is shared: the folders of whoever made it stay with them
                said = str(error).replace(str(self._target.path), self._target.path.name)
                self._parts.notes.append(f"{what}: not measured: {said}")

    # --- the task ---------------------------------------------------------------

    def _choose(self) -> Workload:
        options = self._options
        workload = choose(
            _card_of(self._target.path),
            self._effort.requests,
            file=options.inputs,
            task=options.task,
            min_score=options.min_score,
        )
        return (
            replace(workload, max_tokens=_SYNTHETIC_TOKENS) if self._target.synthetic else workload
        )

    def _require_comparable(self) -> None:
        if self._options.baseline is not None:
            require_comparable(
                self._options.baseline,
                self._machine,
                model=self._target.name,
                inputs=self._workload.source,
                threads=self._threads or self._machine.threads,
            )

    def _measure_tasks(self) -> None:
        effort = self._effort
        answered: list[latency.Answered] = []
        with self._open(self._threads) as opened:
            for cached, model, requests in _variants(opened, effort.requests):
                part = f"requests, prefix cache {'on' if cached else 'off'}"
                done = latency.ask_all(
                    self._workload.answerer(model),
                    self._workload.rows,
                    requests=requests,
                    warmup=effort.warmup,
                    seed=self._options.seed,
                    tick=self._tick(part),
                )
                threads = self._threads or self._machine.threads
                measured = latency.summarize(done, prefix_cache=cached, threads=threads)
                self._parts.tasks.append(measured)
                answered += done
                self._parts.notes += latency.unanswered(done)
                if not self._target.synthetic:
                    self._parts.correctness = correctness.judge(answered, self._workload)

    def _measure_start(self) -> None:
        self._parts.start = start.measure(
            self._target.path,
            self._workload,
            runs=self._effort.starts,
            threads=self._threads,
            tick=self._tick("starts"),
        )

    def _measure_footprint(self) -> None:
        self._progress("memory", 0, 1)
        self._parts.footprint = footprint(
            self._target.path,
            self._workload,
            threads=self._threads,
            gpu_layers=self._options.gpu_layers,
        )

    # --- the engine alone -------------------------------------------------------

    def _measure_engine(self) -> None:
        if read_info(self._target.path).kind != "language":
            return  # the tests are those of language models
        from edgeslm.engines.llama.engine import LlamaEngine

        threads = self._threads or machine.default_threads()
        layers = self._options.gpu_layers
        engine = LlamaEngine(self._target.path, gpu_layers=layers, threads=threads)
        try:
            self._parts.raw = raw.measure(
                engine,
                raw.shapes(engine.max_context, depth=self._effort.depth),
                threads=threads,
                repetitions=self._effort.repetitions,
                seed=self._options.seed,
                tick=self._tick("engine"),
            )
        finally:
            engine.close()
        if self._options.llama_bench:
            agreed = raw.agreement(self._parts.raw, self._options.llama_bench)
            self._parts.notes += map(
                str, agreed or ["the llama-bench file has none of these tests"]
            )

    # --- under load -------------------------------------------------------------

    def _measure_load(self) -> None:
        options, seconds = self._options, self._effort.seconds
        if options.busy:
            with self._open_request(self._threads) as request:
                self._add_load(load.beside_neighbours(request, (0, options.busy), seconds))
        if options.concurrency:
            with self._open_request(self._threads) as request:
                counts = _doubling(options.concurrency)
                self._add_load(load.with_callers(request, counts, seconds))
        if len(options.threads) > 1:
            self._add_load(load.with_threads(self._open_request, options.threads, seconds))

    def _add_load(self, points: Iterator[LoadPoint]) -> None:
        self._progress("load", 0, 0)
        for point in points:
            self._parts.load.append(point)
            self._progress(f"load, {point.label} done", 0, 0)

    def _measure_energy(self) -> None:
        self._progress("energy", 0, 1)
        on_gpu = bool(self._machine.gpus) and self._options.gpu_layers != 0
        with energy.open_meter(gpu=on_gpu) as meter:
            if isinstance(meter, str):
                self._parts.notes.append(f"energy is not available: {meter}")
                return
            with self._open_request(self._threads) as request:
                self._parts.energy = energy.measure(request, meter, self._effort.seconds)
        if self._parts.energy is None:
            self._parts.notes.append(
                "energy is not available: too short for this machine's counter"
            )

    def _measure_sustained(self) -> None:
        minutes = self._options.sustained
        if not minutes:
            return
        self._progress("sustained", 0, round(60 * minutes))
        with self._open_request(self._threads) as request:
            for point in load.sustained(request, minutes):
                self._parts.sustained.append(point)
                self._progress("sustained", round(point.seconds), round(60 * minutes))

    # --- what the parts share ---------------------------------------------------

    def _open(self, threads: int | None) -> Model:
        self._progress("loading", 0, 1)
        layers = self._options.gpu_layers
        return load_model(self._target.path, gpu_layers=layers, threads=threads)

    @contextmanager
    def _open_request(self, threads: int | None) -> Iterator[Request]:
        """A loaded model that is warm, and what answers its i-th request."""
        rows = self._workload.rows
        with self._open(threads) as model:
            answer = self._workload.answerer(model)
            latency.ask(answer, rows[0])
            yield lambda number: latency.ask(answer, rows[number % len(rows)])

    def _tick(self, part: str) -> latency.Tick:
        return lambda done, all_of_it: self._progress(part, done, all_of_it)


def _card_of(path: Path) -> Card | None:
    return read_info(path).card


def _variants(model: Model, requests: int) -> Iterator[tuple[bool, Model, int]]:
    """With the prefix cache and without it, and how many requests each gets."""
    if model.kind != "language":  # others have no prompt
        yield False, model, requests
        return
    yield True, model, requests
    yield False, model.without_prefix_cache(), max(_FEWEST, round(_WITHOUT_CACHE * requests))


def _doubling(most: int) -> list[int]:
    """1, 2, 4 and so on below ``most``, and ``most``."""
    counts = [1]
    while 2 * counts[-1] < most:
        counts.append(2 * counts[-1])
    return list(dict.fromkeys([*counts, most]))
