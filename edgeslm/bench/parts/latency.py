"""Task latency: whole requests one after the other, in shuffled order, after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from random import Random
from statistics import fmean

from edgeslm.bench.report.schema import TaskRun
from edgeslm.bench.report.statistics import median, percentiles
from edgeslm.bench.workload.workload import Row
from edgeslm.errors import CancelledError, EdgeslmError, InputError, OutputError
from edgeslm.evaluation.matches import Prediction
from edgeslm.models.ask import Ask, Result
from edgeslm.results import Classification, Extraction, Timing

#: called with the requests done and all
Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: what was answered, and whether it kept the promised form.

    ``ms`` is wall-clock time; ``timing`` is None where there is no answer.
    """

    row: Row
    prediction: Prediction
    valid: bool
    ms: float
    timing: Timing | None


def shuffled(rows: Sequence[Row], seed: int) -> Iterator[Row]:
    """The rows without end: all of them in an order of chance, then in another one."""
    random = Random(seed)
    while True:
        yield from random.sample(rows, len(rows))


def ask_all(
    answer: Ask, rows: Sequence[Row], *, requests: int, warmup: int, seed: int, tick: Tick
) -> list[Answered]:
    """Send requests one after the other; those of the warm-up come first and are not kept.

    Raises:
        EdgeslmError: what concerns all inputs, or the last one's error if none was answered.
    """
    # an order of its own, so that no text is missing from what is kept
    warm = islice(shuffled(rows, seed + 1), warmup)
    kept = islice(shuffled(rows, seed), requests)
    done = []
    for number, row in enumerate(chain(warm, kept), start=1):
        answered = ask(answer, row)
        if number > warmup:
            done.append(answered)
        tick(number, warmup + requests)
    if all(each.timing is None for each in done):
        raise InputError(f"none of the inputs was answered; the last: {done[-1].prediction.error}")
    return done


def ask(answer: Ask, row: Row) -> Answered:
    """Send one request; what concerns its text alone is an answer with an error."""
    start = time.perf_counter()
    try:
        result = answer(row.text)
    except CancelledError:
        raise
    except (InputError, OutputError) as error:
        ms = (time.perf_counter() - start) * 1000
        return Answered(row, Prediction(error=str(error)), _keeps_form(error), ms, None)
    ms = (time.perf_counter() - start) * 1000
    return Answered(row, *_read(result), ms, result.timing)


def unanswered(done: Sequence[Answered]) -> Iterator[str]:
    """A note about requests whose times are left out, since they have no answer."""
    failed = [each.prediction.error for each in done if each.timing is None]
    if failed:
        yield f"{len(failed)} of {len(done)} requests had no answer, as: {failed[-1]}"


def _keeps_form(error: EdgeslmError) -> bool:
    return not isinstance(error, OutputError)  # a text that is too long is no broken promise


def _read(result: Result) -> tuple[Prediction, bool]:
    sure = result.confidence if isinstance(result, Classification) else None
    complete = result.complete if isinstance(result, Extraction) else True
    return Prediction(result.plain(), confidence=sure), complete


def summarize(answered: Sequence[Answered], *, prefix_cache: bool, threads: int) -> TaskRun:
    """The statistics of the requests that were answered, of which there is at least one."""
    pairs = [(each.ms, each.timing) for each in answered if each.timing is not None]
    timings = [timing for _, timing in pairs]
    gaps = [t.decode_ms / (t.output_tokens - 1) for t in timings if _is_decoded(t)]
    decodes = [1000 * t.output_tokens / t.decode_ms for t in timings if _is_decoded(t)]
    return TaskRun(
        prefix_cache=prefix_cache,
        threads=threads,
        milliseconds=tuple(ms for ms, _ in pairs),
        input_tokens=tuple(timing.prompt_tokens for timing in timings),
        latency=percentiles([ms for ms, _ in pairs]),
        first_token=median([max(0.0, ms - timing.decode_ms) for ms, timing in pairs]),
        between_tokens=median(gaps) if gaps else None,
        prefill_tokens_per_second=median([_prefill_rate(ms, timing) for ms, timing in pairs]),
        decode_tokens_per_second=median(decodes) if decodes else None,
        tokens_per_answer=fmean(timing.output_tokens for timing in timings),
        decodes_per_answer=fmean(timing.decodes for timing in timings),
    )


def _is_decoded(timing: Timing) -> bool:
    """Whether tokens were decoded one after the other."""
    return timing.output_tokens > 1 and timing.decode_ms > 0


def _prefill_rate(ms: float, timing: Timing) -> float:
    """Tokens per second of what was evaluated of the prompt."""
    seconds = (timing.prefill_ms or ms) / 1000
    return (timing.prompt_tokens - timing.cached_tokens) / seconds
