"""Made-up bench runs for the tests of what is shown of them: every part filled, no result"""

from __future__ import annotations

from typing import Any

from edgeslm.bench.report.schema import (
    BenchReport,
    Correctness,
    Energy,
    Footprint,
    LoadPoint,
    MachineFacts,
    Measured,
    ModelFacts,
    RawTest,
    Start,
    SustainedPoint,
    TaskRun,
)


def measured(value: float, n: int = 40) -> Measured:
    return Measured(value=value, low=value * 0.95, high=value * 1.05, n=n)


def task(milliseconds: list[float], *, prefix_cache: bool = True, **changes: Any) -> TaskRun:
    """Requests that took so long; their inputs grow by a token each."""
    in_order = sorted(milliseconds)
    places = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    n = len(in_order)
    fields = {
        "prefix_cache": prefix_cache,
        "threads": 2,
        "milliseconds": milliseconds,
        "input_tokens": range(10, 10 + n),
        "latency": {p: measured(in_order[int(at * (n - 1))], n) for p, at in places.items()},
        "first_token": measured(31.7),
        "between_tokens": measured(7.13),
        "prefill_tokens_per_second": measured(643.0),
        "decode_tokens_per_second": measured(117.0),
        "tokens_per_answer": 38.2,
        "decodes_per_answer": 17.4,
    }
    return TaskRun.model_validate({**fields, **changes})


def machine(**changes: Any) -> MachineFacts:
    fields = {
        "system": "Made-up OS 1",
        "processor": "Made-up CPU",
        "instructions": ("AVX2", "FMA"),
        "cores": {"performance": 2},
        "threads": 2,
        "memory": 8_200_000_000,
        "bandwidth": 21.9e9,
        "peak": 187e9,
        "backends": ("CPU",),
        "library": "llama-cpp-python 0.3.36",
        "edgeslm": "0.1.0",
        "load": 0.31,
        "warnings": ("other processes took 31 % of the processors",),
        "fingerprint": "0123456789abcdef",
    }
    return MachineFacts.model_validate({**fields, **changes})


def model(**changes: Any) -> ModelFacts:
    fields = {
        "name": "made-up-reader",
        "sha256": "ab" * 32,
        "size": 98_900_000,
        "architecture": "llama",
        "parameters": 134_515_008,
        "bits_per_weight": 5.88,
        "file_type": "Q4_0",
        "task": "extract",
        "decode_bytes": 77_000_000,
        "prefill_weights": 106_000_000,
    }
    return ModelFacts.model_validate({**fields, **changes})


def latency(value: float) -> dict[str, Measured]:
    return {name: measured(value * i) for i, name in enumerate(("p50", "p90", "p95", "p99"), 1)}


def report(milliseconds: list[float] | None = None, **changes: Any) -> BenchReport:
    """A run with every part; ``milliseconds`` are its requests with the prefix cached."""
    times = milliseconds or [float(ms) for ms in range(300, 340)]
    fields = {
        "created": "2026-01-02T03:04:05+00:00",
        "command": ("edgeslm", "bench", "made-up-reader"),
        "seed": 7,
        "quick": False,
        "machine": machine(),
        "model": model(),
        "inputs": "receipts of the package",
        "tasks": (task(times), task([ms + 900 for ms in times], prefix_cache=False)),
        "correctness": Correctness(checked=40, right=38, invalid=0, bar=0.9, valid=True),
        "raw": (raw(n_prompt=512, speed=822.0), raw(n_gen=128, speed=133.0)),
        "start": Start(
            cold=tuple({"import": 8.0 + i, "load": 980.0, "answer": 1610.0} for i in range(5)),
            dropped=None,
            warm_load=(401.0, 405.0, 399.0),
            restored_prefix=(321.0, 333.0),
        ),
        "footprint": Footprint(rss=313_000_000, vram=None, file=98_900_000),
        "load": tuple(
            LoadPoint(label=label, requests_per_second=rate, latency=latency(ms))
            for label, rate, ms in (("3 busy", 1.27, 831), ("4 callers", 3.31, 1214))
        ),
        "sustained": tuple(
            SustainedPoint(seconds=5.0 * i, milliseconds=410 + i, temperature=60, clock_mhz=3600)
            for i in range(9)
        ),
        "energy": Energy(joules=measured(6.17), source="rapl"),
        "notes": ("made up",),
    }
    return BenchReport.model_validate({**fields, **changes})


def raw(*, speed: float, n_prompt: int = 0, n_gen: int = 0) -> RawTest:
    samples = tuple(speed * (1 + step / 100) for step in (-2, -1, 0, 1, 2))
    return RawTest(
        n_prompt=n_prompt,
        n_gen=n_gen,
        n_depth=0,
        n_threads=2,
        n_batch=512,
        avg_ts=speed,
        stddev_ts=speed / 50,
        samples_ts=samples,
    )
