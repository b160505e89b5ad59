"""Measured speed beside what memory and arithmetic of the machine allow at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgeslm.bench.report.schema import BenchReport, RawTest

#: how the limits are computed, for those who read the numbers
DECODE_FORMULA: Final = "measured memory bandwidth / bytes of weights read per token"
PREFILL_FORMULA: Final = "measured float32 matrix product / (2 x weights multiplied per token)"


@dataclass(frozen=True, slots=True)
class Limit:
    """Tokens per second of one raw test, measured and at most.

    The prefill's limit is that of float32 arithmetic: processors that multiply 8-bit numbers
    faster can pass it, so ``share`` may exceed 1. Neither counts the keys and values of the
    context, and so the limits hold for tests at depth 0.
    """

    test: str
    measured: float
    limit: float
    formula: str

    @property
    def share(self) -> float:
        """Of the limit, 1 for all of it."""
        return self.measured / self.limit


def roofline(report: BenchReport) -> tuple[Limit, ...]:
    """The limits of decode and prefill, of the fastest such raw test at depth 0.

    Empty where there is nothing to compare: no raw tests, limits that were not measured, or a
    build that computes on a GPU, whose memory is not the one that was measured.
    """
    machine, model = report.machine, report.model
    if machine.gpus:
        return ()
    limits = []
    decode = _fastest(report, lambda test: test.n_gen > 0 and test.n_prompt == 0)
    if decode and machine.bandwidth and model.decode_bytes:
        limit = machine.bandwidth / model.decode_bytes
        limits.append(Limit(decode.test, decode.avg_ts, limit, DECODE_FORMULA))
    prefill = _fastest(report, lambda test: test.n_prompt > 0 and test.n_gen == 0)
    if prefill and machine.peak and model.prefill_weights:
        limit = machine.peak / (2 * model.prefill_weights)
        limits.append(Limit(prefill.test, prefill.avg_ts, limit, PREFILL_FORMULA))
    return tuple(limits)


def _fastest(report: BenchReport, is_kind: Callable[[RawTest], bool]) -> RawTest | None:
    tests = [test for test in report.raw if is_kind(test) and test.n_depth == 0]
    return max(tests, key=lambda test: test.avg_ts, default=None)
