"""The figures of a run by name, how they are written, and their ratios between two runs"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, log
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgeslm.bench.report.schema import BenchReport, Measured, Start, TaskRun
from edgeslm.evaluation.intervals import CONFIDENCE, RESAMPLES, Estimate, bootstrap, median_of

#: fewer observations than this say nothing about a difference: below it, the interval of a median
#: that reaches from the least to the greatest holds less than 93 %
ENOUGH: Final = 5

#: observations that are drawn at a time
_DRAWN: Final = 1_000_000

Unit = Literal["ms", "tokens/s", "requests/s", "bytes", "J"]
_LARGER_IS_BETTER: Final = {"tokens/s", "requests/s"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a run, with its 95 % interval where there is one.

    ``samples`` are the observations whose median ``value`` is; ``requests`` are the input lengths
    that they belong to, one by one, where each is a request.
    """

    name: str
    unit: Unit
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    samples: tuple[float, ...] = ()
    requests: tuple[int, ...] = ()

    @property
    def larger_is_better(self) -> bool:
        return self.unit in _LARGER_IS_BETTER

    def __str__(self) -> str:
        return amount(self.value, self.unit)

    @property
    def interval(self) -> str:
        """The interval as text, in the unit of the value; empty where there is none."""
        if self.low is None or self.high is None or self.n == 1:
            return ""
        return _interval(self.value, self.low, self.high, self.unit)


# --- what a run holds -----------------------------------------------------------


def figures(report: BenchReport) -> dict[str, Figure]:
    """Every figure of a run that two runs can be compared by, in the order they are shown."""
    shown = [figure for task in report.tasks for figure in _of_task(task)]
    shown += [_median(f"engine {t.test}", "tokens/s", t.samples_ts) for t in report.raw]
    if report.start is not None:
        shown += _of_start(report.start)
    for point in report.load:
        if "p50" in point.latency:
            shown.append(_measured(f"{point.label}: p50", "ms", point.latency["p50"]))
        shown.append(Figure(f"{point.label}: rate", "requests/s", point.requests_per_second))
    if report.footprint is not None:
        shown.append(Figure("peak memory", "bytes", report.footprint.rss))
        if report.footprint.vram is not None:
            shown.append(Figure("peak GPU memory", "bytes", report.footprint.vram))
    shown.append(Figure("file", "bytes", report.model.size))
    if report.energy is not None:
        shown.append(_measured("energy per request", "J", report.energy.joules))
    return {figure.name: figure for figure in shown if figure.n}


def condition(task: TaskRun) -> str:
    """Under what condition requests ran, as the names of figures say it."""
    return "prefix cached" if task.prefix_cache else "no cache"


def _of_task(task: TaskRun) -> Iterator[Figure]:
    name = condition(task)
    for percentile in sorted(task.latency):
        figure = _measured(f"request {percentile}, {name}", "ms", task.latency[percentile])
        if percentile == "p50":
            figure = replace(figure, samples=task.milliseconds, requests=task.input_tokens)
        yield figure
    yield _measured(f"first token, {name}", "ms", task.first_token)
    if task.between_tokens is not None:
        yield _measured(f"between tokens, {name}", "ms", task.between_tokens)
    yield _measured(f"prefill, {name}", "tokens/s", task.prefill_tokens_per_second)
    if task.decode_tokens_per_second is not None:
        yield _measured(f"decode, {name}", "tokens/s", task.decode_tokens_per_second)


def _of_start(start: Start) -> Iterator[Figure]:
    yield _median("cold start", "ms", [sum(parts.values()) for parts in start.cold])
    if start.dropped is not None:
        dropped = [sum(parts.values()) for parts in start.dropped]
        yield _median("cold start, file not in memory", "ms", dropped)
    yield _median("warm load", "ms", start.warm_load)
    if start.restored_prefix is not None:
        yield _median("first answer, prefix restored", "ms", start.restored_prefix)


def _measured(name: str, unit: Unit, stated: Measured) -> Figure:
    return Figure(name, unit, stated.value, stated.low, stated.high, stated.n)


def _median(name: str, unit: Unit, samples: Sequence[float]) -> Figure:
    """The median of a few runs; with none, a figure of no observations."""
    if not samples:
        return Figure(name, unit, 0, n=0)
    if len(samples) == 1:
        return Figure(name, unit, samples[0], samples=tuple(samples))
    estimate = median_of(samples)
    return Figure(
        name, unit, estimate.value, estimate.low, estimate.high, estimate.n, tuple(samples)
    )


# --- two runs ---------------------------------------------------------------------


def ratio(figure: Figure, base: Figure) -> Estimate | None:
    """By what factor a figure is that of ``base``, with a 95 % interval; None if too few
    observations tell.

    Medians of the same requests in the same order are compared pair by pair, other medians as two
    samples. What has an interval alone is combined on the log scale (Zou and Donner's MOVER).
    """
    if figure.value <= 0 or base.value <= 0 or min(figure.n, base.n) < ENOUGH:
        return None
    if figure.samples and base.samples:
        return _of_samples(figure, base)
    if figure.low is None or figure.high is None or base.low is None or base.high is None:
        return None
    if min(figure.low, base.low) <= 0:
        return None
    centre = log(figure.value / base.value)
    below = hypot(log(figure.value / figure.low), log(base.high / base.value))
    above = hypot(log(figure.high / figure.value), log(base.value / base.low))
    n = min(figure.n, base.n)
    return Estimate(value=exp(centre), low=exp(centre - below), high=exp(centre + above), n=n)


def _of_samples(figure: Figure, base: Figure) -> Estimate | None:
    new, old = np.asarray(figure.samples), np.asarray(base.samples)
    if min(new.min(), old.min()) <= 0:
        return None
    if figure.requests and figure.requests == base.requests:
        return bootstrap(
            new.size, lambda rows: np.median(new[rows], axis=1) / np.median(old[rows], axis=1)
        )
    random = np.random.default_rng(0)
    ratios = _medians(new, random) / _medians(old, random)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    value = float(np.median(new) / np.median(old))
    return Estimate(value=value, low=float(low), high=float(high), n=min(new.size, old.size))


def _medians(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """The medians of resamples, [RESAMPLES]; some at a time, so that memory stays bounded."""
    at_once = max(1, _DRAWN // values.size)
    parts = [
        np.median(random.choice(values, (min(at_once, RESAMPLES - done), values.size)), axis=1)
        for done in range(0, RESAMPLES, at_once)
    ]
    return np.concatenate(parts)


# --- numbers and text ---------------------------------------------------------------


def amount(value: float, unit: Unit) -> str:
    """A value with its unit as people write it: ``412 ms``, ``1.24 s``, ``98.9 MB``."""
    scale, suffix = _scale(value, unit)
    return f"{_digits(value / scale)} {suffix}"


def between(stated: Measured, unit: Unit) -> str:
    """The interval of a statistic in the unit that ``amount`` chooses for its value."""
    return _interval(stated.value, stated.low, stated.high, unit)


def times(ratio: Estimate) -> str:
    """A ratio with its interval as people write it: ``1.24 [1.18, 1.31]``."""
    return f"{_factor(ratio.value)} [{_factor(ratio.low)}, {_factor(ratio.high)}]"


def plain(text: str, longest: int = 120) -> str:
    """A text of an untrusted file in one line: nothing that steers a terminal, bounded."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _scale(value: float, unit: Unit) -> tuple[float, str]:
    if unit == "ms" and abs(value) >= 1000:
        return 1000, "s"
    if unit == "bytes":
        return (1e9, "GB") if abs(value) >= 1e9 else (1e6, "MB")
    return 1, unit


def _interval(value: float, low: float, high: float, unit: Unit) -> str:
    scale, _ = _scale(value, unit)
    return f"[{_digits(low / scale)}, {_digits(high / scale)}]"


def _factor(value: float) -> str:
    """Two digits behind the point; of what is far below 1, two that count."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:#.2g}"


def _digits(value: float) -> str:
    """Three significant digits, all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
