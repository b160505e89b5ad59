"""The correctness gate: a run is worth nothing if its answers were wrong or broke their form."""

from __future__ import annotations

from collections.abc import Sequence

from edgeslm.bench.parts.latency import Answered
from edgeslm.bench.report.schema import Correctness
from edgeslm.bench.workload.workload import Workload
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import Scores, TaskKind, right_rows, score


def judge(answered: Sequence[Answered], workload: Workload) -> Correctness:
    """Hold the answers of all requests to what the inputs and the card demand.

    A text that was asked several times counts once, with a wrong answer if there was one.
    A score is too low when even the upper end of its 95 % interval is below the bar.
    """
    invalid = [each for each in answered if not each.valid]
    gold, predictions = _by_text(answered, workload)
    right = int(right_rows(_task(workload), gold, predictions).sum()) if gold else 0
    reason = None
    if invalid:
        first = invalid[0].prediction.error or "it was cut by its budget of tokens"
        reason = f"{len(invalid)} of {len(answered)} answers break the promised form: {first}"
    elif gold and workload.all_right and right < len(gold):
        reason = f"{len(gold) - right} of {len(gold)} examples of the card have another answer"
    elif gold and workload.bar is not None:
        reason = _below(score(_task(workload), gold, predictions), workload.bar)
    return Correctness(
        checked=len(gold),
        right=right,
        invalid=len(invalid),
        bar=1.0 if workload.all_right else workload.bar,
        valid=reason is None,
        reason=reason,
    )


def _by_text(
    answered: Sequence[Answered], workload: Workload
) -> tuple[list[object], list[Prediction]]:
    """The expected answers of the texts that have one, and the worst answer to each."""
    by_text: dict[str, tuple[object, Prediction]] = {}
    for each in answered:
        expected, prediction = each.row.expected, each.prediction
        if expected is None:
            continue
        pair = (expected, prediction)
        if each.row.text not in by_text or not _is_right(workload, *pair):
            by_text[each.row.text] = pair
    return [gold for gold, _ in by_text.values()], [said for _, said in by_text.values()]


def _is_right(workload: Workload, expected: object, prediction: Prediction) -> bool:
    return bool(right_rows(_task(workload), [expected], [prediction])[0])


def _task(workload: Workload) -> TaskKind:
    return "classify" if workload.kind == "classify" else "extract"


def _below(scores: Scores, bar: float) -> str | None:
    if scores.main.high >= bar:
        return None
    score = f"{scores.metric} {scores.main.value:.3f} (at most {scores.main.high:.3f})"
    return f"{score} of {scores.n} inputs is below the bar of {bar:.3f}"
