"""The file of a bench run: one closed, versioned JSON document (docs/bench.md)."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: the version of this format; a reader refuses a higher one
BENCH_FORMAT: Final = 1

#: what any measured number is at most: a reader computes with the numbers of files it was given
_MOST: Final = 1e18

Count = Annotated[int, Field(ge=0, le=2**63)]
Number = Annotated[float, Field(ge=0, le=_MOST)]
Milliseconds = Annotated[float, Field(ge=0, le=_MOST)]
Celsius = Annotated[float, Field(ge=-273.15, le=10_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Percentile = Literal["p50", "p90", "p95", "p99"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Measured(_Closed):
    """One statistic with its 95 % bootstrap interval, and how many observations are behind it."""

    value: Number
    low: Number
    high: Number
    n: int = Field(ge=1, le=2**63)


class Device(_Closed):
    """A GPU. Memory in bytes."""

    name: str
    memory: Count | None = None
    driver: str | None = None


class MachineFacts(_Closed):
    """What was measured on. None where the machine does not tell; sizes in bytes.

    ``cores`` counts physical cores by kind, such as performance and efficiency;
    ``bandwidth`` is bytes per second of reading memory and ``peak`` operations per second of a
    float32 matrix product, both measured here. ``load`` is the share of the processors that
    other processes took when the run began. ``fingerprint`` is a hash of what does not change
    from run to run: processor, cores, memory, GPUs, driver, build of the library.
    """

    system: str
    processor: str
    instructions: tuple[str, ...]
    cores: dict[str, Count]
    threads: Count
    memory: Count
    bandwidth: Number | None = None
    peak: Number | None = None
    gpus: tuple[Device, ...] = ()
    backends: tuple[str, ...] = ()
    library: str
    edgeslm: str
    governor: str | None = None
    power: Literal["mains", "battery"] | None = None
    load: Share | None = None
    virtual: str | None = None
    temperature: Celsius | None = None
    warnings: tuple[str, ...] = ()
    fingerprint: str


class ModelFacts(_Closed):
    """What was run. ``synthetic`` weights are random: their answers mean nothing.

    ``decode_bytes`` of weights are read for each token of an answer, and each token of a prompt
    is multiplied with ``prefill_weights`` weights. None where the file does not tell.
    """

    name: str
    sha256: str
    size: Count
    architecture: str
    parameters: Count | None = None
    bits_per_weight: Number | None = None
    file_type: str
    synthetic: bool = False
    task: Literal["extract", "classify", "tag", "generate", "none"]
    card_version: str | None = None
    decode_bytes: Count | None = None
    prefill_weights: Count | None = None


class TaskRun(_Closed):
    """Whole requests, one after the other, with the prefix cache on or off.

    ``milliseconds`` are all requests in the order they ran; ``input_tokens`` belong to them one
    by one. Percentiles by name: p50, p90, p95, p99. ``first_token`` is the time to the first
    token of the answer; ``between_tokens`` that between two.
    """

    prefix_cache: bool
    threads: Count
    milliseconds: tuple[Milliseconds, ...]
    input_tokens: tuple[Count, ...]
    latency: dict[Percentile, Measured]
    first_token: Measured
    between_tokens: Measured | None
    prefill_tokens_per_second: Measured
    decode_tokens_per_second: Measured | None
    tokens_per_answer: Number
    decodes_per_answer: Number

    @model_validator(mode="after")
    def _same_requests(self) -> Self:
        if not self.milliseconds or len(self.milliseconds) != len(self.input_tokens):
            raise ValueError("milliseconds and input_tokens must speak of the same requests")
        return self


class Correctness(_Closed):
    """Whether the answers of the run were right: ``bar`` is what the card or inputs demand."""

    checked: Count
    right: Count
    invalid: Count
    bar: Share | None
    valid: bool
    reason: str | None = None


class RawTest(_Closed):
    """One test of the engine alone, with llama-bench's names: n_prompt, n_gen, n_depth tokens,
    mean and standard deviation in tokens per second, and the samples behind them."""

    n_prompt: Count
    n_gen: Count
    n_depth: Count
    n_threads: Count
    n_batch: Count
    avg_ts: Number
    stddev_ts: Number
    samples_ts: tuple[Number, ...]

    @property
    def test(self) -> str:
        """As llama-bench prints it: pp512, tg128, tg128 @ d4096."""
        name = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return name if not self.n_depth else f"{name} @ d{self.n_depth}"


class Start(_Closed):
    """Starts, in milliseconds: each a list of runs. ``cold`` are new processes to their first
    answer, by part (import, load, prefix, answer); ``dropped`` the same with the file's pages
    thrown out of the page cache, where that was allowed; ``warm_load`` is a load in a process
    that loaded before; ``restored_prefix`` the first answer with the prefix saved on disk."""

    cold: tuple[dict[str, Milliseconds], ...]
    dropped: tuple[dict[str, Milliseconds], ...] | None
    warm_load: tuple[Milliseconds, ...]
    restored_prefix: tuple[Milliseconds, ...] | None


class Footprint(_Closed):
    """Bytes at their highest: resident memory of a process that answers, and GPU memory."""

    rss: Count
    vram: Count | None
    file: Count


class LoadPoint(_Closed):
    """Latency under one condition. ``label`` says which, such as "3 busy" or "4 callers"."""

    label: str
    busy: Count = 0
    callers: Count = 1
    threads: Count | None = None
    requests_per_second: Number
    latency: dict[Percentile, Measured]


class SustainedPoint(_Closed):
    """One window of a sustained run: seconds since its start, median latency, heat and clock."""

    seconds: Number
    milliseconds: Milliseconds
    temperature: Celsius | None = None
    clock_mhz: Number | None = None


class Energy(_Closed):
    """Joules per request, and the counter that told: rapl, nvml, powermetrics or battery."""

    joules: Measured
    source: Literal["rapl", "nvml", "powermetrics", "battery"]
    idle_watts: Number | None = None


class BenchReport(_Closed):
    """One run of `edgeslm bench` for one model. Parts that were not asked for, or that an
    interrupt kept from running, are None; ``partial`` is then True for the latter."""

    format: Literal[1] = BENCH_FORMAT
    created: str
    command: tuple[str, ...]
    seed: int
    quick: bool
    partial: bool = False
    machine: MachineFacts
    model: ModelFacts
    inputs: str
    tasks: tuple[TaskRun, ...] = ()
    correctness: Correctness | None = None
    raw: tuple[RawTest, ...] = ()
    start: Start | None = None
    footprint: Footprint | None = None
    load: tuple[LoadPoint, ...] = ()
    sustained: tuple[SustainedPoint, ...] = ()
    energy: Energy | None = None
    notes: tuple[str, ...] = ()
