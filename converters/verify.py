"""The gate: whether a specialist is what its card will promise, as named checks"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from converters.baselines import LINEAR
from converters.errors import GateError
from converters.recipe import Gates, Recipe
from converters.rows import Row, rows_sha256
from converters.scores import card_scores, scope_scores, share_by_category
from edgeslm.answers import Prediction
from edgeslm.card import ClassifyTask, Score
from edgeslm.intervals import Estimate
from edgeslm.scoring import (
    ENOUGH_ROWS,
    NOT_ENOUGH,
    ClassificationScores,
    Comparison,
    ExtractionScores,
    Scores,
    TaskKind,
    compare,
    linear_advice,
    score,
    worst_of,
)
from edgeslm.selftest import SelfTest

if TYPE_CHECKING:
    from converters.divergence import Divergence
    from converters.parity import FloatParity, ParityReport

#: how far the same float weights may lie apart in two libraries that round differently
MAX_FLOAT_KL = 1e-3
MIN_FLOAT_TOP1 = 0.998
#: share of fuzzed texts that transformers may tokenize otherwise: training uses the runtime's
#: tokens, so this only says how far a tokenizer rebuilt for transformers can be relied upon
MAX_TOKENS_DIFFERING = 0.005


@dataclass(frozen=True, slots=True)
class VerifyInputs:
    """All that the gate judges; it runs no model itself.

    Predictions are one for each row of ``gold``: of the float and of the quantized model, both
    through the runtime and under the card's calibration, of trivial ``baselines``, and of other
    systems that are only reported (``references``). ``gold_name`` says in words which rows
    these are. A parity is None where there is nothing to compare.
    """

    recipe: Recipe
    gold: Sequence[Row]
    gold_name: str
    quantized: Sequence[Prediction]
    floats: Sequence[Prediction]
    baselines: Mapping[str, Sequence[Prediction]]
    references: Mapping[str, Sequence[Prediction]]
    self_tests: Sequence[SelfTest]
    prompt_parity: ParityReport | None
    token_parity: ParityReport | None
    float_parity: FloatParity | None
    divergence: Divergence


@dataclass(frozen=True, slots=True)
class Check:
    """One demand. ``bound`` None: nothing is demanded, the value is there to be read."""

    name: str
    passed: bool
    value: float
    bound: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found, and the scores for the card."""

    checks: tuple[Check, ...]
    scores: tuple[Score, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def require(self) -> None:
        """Raise GateError, naming every failed check, unless all passed."""
        failed = [f"{check.name}: {check.words}" for check in self.checks if not check.passed]
        if failed:
            raise GateError("the specialist is not packed; " + "; ".join(failed))

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "scores": [score.model_dump(mode="json") for score in self.scores],
        }

    def table(self) -> Table:
        """The checks for people."""
        table = Table(box=None, pad_edge=False)
        for column in ("check", "", "what was found"):
            table.add_column(column, overflow="fold")
        for check in self.checks:
            state = "passed" if check.passed else "FAILED"
            if check.bound is None:
                state = "noted"
            style = "" if check.passed else "bold red"
            table.add_row(Text(check.name), Text(state, style), Text(check.words))
        return table


def verify(inputs: VerifyInputs) -> Verdict:
    """Judge a specialist by the gates of its recipe. Packs nothing and raises for no gate.

    Raises:
        ValueError: no gold rows, or not one prediction for each.
    """
    task: TaskKind = "classify" if isinstance(inputs.recipe.task, ClassifyTask) else "extract"
    gold = [row.answer for row in inputs.gold]
    gates = inputs.recipe.gates
    scores = score(task, gold, inputs.quantized)
    trivial = {name: score(task, gold, said) for name, said in inputs.baselines.items()}
    others = {name: score(task, gold, said) for name, said in inputs.references.items()}
    checks = [
        *_parities(inputs),
        *_metric(scores, gates),
        _drop(compare(task, gold, inputs.floats, inputs.quantized), gates),
        _worst(task, inputs.gold, gold, inputs.quantized, scores),
        *_calibration(scores, gates),
        *_beats(scores, trivial, gates),
        *(_advice(scores, trivial) if inputs.recipe.kind != "linear" else ()),
        _self_tests(inputs.self_tests),
    ]
    sha256 = rows_sha256(inputs.gold)
    own = card_scores(scores, {**trivial, **others}, gold=inputs.gold_name, gold_sha256=sha256)
    scope = _scope(inputs, gold, sha256)
    checks += [_noted(found) for found in scope]
    return Verdict(checks=tuple(checks), scores=(*own, *scope))


def _scope(inputs: VerifyInputs, gold: Sequence[Any], sha256: str) -> tuple[Score, ...]:
    task = inputs.recipe.task
    if not isinstance(task, ClassifyTask) or task.out_of_scope is None:
        return ()
    return scope_scores(
        task.out_of_scope, gold, inputs.quantized, gold_name=inputs.gold_name, gold_sha256=sha256
    )


def _noted(found: Score) -> Check:
    low, high = found.interval or (0.0, 1.0)
    words = f"{found.value:.1%} [{low:.1%}, {high:.1%}], n = {found.n:,}"
    return Check(found.metric, True, found.value, None, words)


# --- tokens and logits --------------------------------------------------------


def _parities(inputs: VerifyInputs) -> list[Check]:
    checks = [
        _parity(name, parity, most)
        for name, parity, most in (
            ("prompt parity", inputs.prompt_parity, 0.0),
            ("token parity", inputs.token_parity, MAX_TOKENS_DIFFERING),
        )
        if parity is not None
    ]
    if inputs.float_parity is not None:
        checks.append(_float_parity(inputs.float_parity))
    return [*checks, _divergence(inputs.divergence)]


def _parity(name: str, parity: ParityReport, most: float) -> Check:
    words = f"{parity.differing:,} of {parity.n:,} texts differ"
    if parity.first:
        words += f"; the first, {parity.first[0].text!r}, at token {parity.first[0].at}"
    passed = parity.n > 0 and parity.differing <= most * parity.n
    return Check(name, passed, float(parity.differing), most * parity.n, words)


def _float_parity(found: FloatParity) -> Check:
    passed = found.mean_kl <= MAX_FLOAT_KL and found.top1 >= MIN_FLOAT_TOP1
    words = (
        f"{_agreement(found.mean_kl, found.top1, found.n)}; at most {MAX_FLOAT_KL:g} and at "
        f"least {MIN_FLOAT_TOP1:.1%}"
    )
    return Check("float parity", passed, found.mean_kl, MAX_FLOAT_KL, words)


def _divergence(found: Divergence) -> Check:
    words = _agreement(found.kl, found.top1, found.n)
    return Check("quantized to float", True, found.kl, None, words)


def _agreement(kl: float, top1: float, n: int) -> str:
    return f"KL {kl:.2g} nats, top-1 {top1:.1%} at {n:,} positions of answers"


# --- the task -----------------------------------------------------------------


def _metric(scores: Scores, gates: Gates) -> list[Check]:
    checks = [_at_least(scores.metric, scores.main, gates.min_score)]
    if isinstance(scores, ExtractionScores):
        checks.append(_at_least("whole record right", scores.exact, gates.min_exact))
    return checks


def _at_least(name: str, found: Estimate, bound: float) -> Check:
    words = f"{_percent(found)}, n = {found.n:,}; at least {bound:.1%}"
    return Check(name, found.value >= bound, found.value, bound, words)


def _drop(comparison: Comparison, gates: Gates) -> Check:
    """Float to quantized on the same rows: a small difference, and no significant harm."""
    difference = comparison.difference
    points = difference.value * 100
    words = (
        f"{points:+.2f} points [{difference.low * 100:+.2f}, {difference.high * 100:+.2f}], "
        f"n = {difference.n:,}; right as a whole only in float {comparison.only_first:,}, only "
        f"quantized {comparison.only_second:,}, McNemar p = {comparison.p_value:.3g}; at most "
        f"{gates.max_drop:g} points lost and no significant harm (to prove a loss below 0.5 "
        f"points takes about {comparison.rows_for_half_point:,} rows)"
    )
    passed = points >= -gates.max_drop and not comparison.harms
    return Check(f"{comparison.metric}, float to quantized", passed, points, -gates.max_drop, words)


def _worst(
    task: TaskKind,
    rows: Sequence[Row],
    gold: Sequence[Any],
    predictions: Sequence[Prediction],
    scores: Scores,
) -> Check:
    """Names the weakest label, field or category; a promise of each is the card's matter."""
    if isinstance(scores, ExtractionScores):
        parts = {name: field.right for name, field in scores.fields.items()}
    else:
        parts = {name: label.right for name, label in scores.labels.items()}
    parts |= share_by_category(task, rows, gold, predictions)
    worst = worst_of(parts)
    small = sum(part.n < ENOUGH_ROWS for part in parts.values())
    notes = f"; {small} of {len(parts)} with {NOT_ENOUGH}" if small else ""
    if worst is None:
        return Check("worst category", True, 0.0, None, f"{NOT_ENOUGH} for any{notes}")
    part = parts[worst]
    words = f"{worst}: {part.value:.1%}, at least {part.lower or 0:.1%}, n = {part.n:,}{notes}"
    return Check("worst category", True, part.value, None, words)


def _calibration(scores: Scores, gates: Gates) -> list[Check]:
    if not isinstance(scores, ClassificationScores) or scores.ece is None:
        return []
    bound = gates.max_ece
    words = f"ECE {scores.ece:.3f}" + ("" if bound is None else f"; at most {bound:g}")
    return [Check("calibration", bound is None or scores.ece <= bound, scores.ece, bound, words)]


def _beats(scores: Scores, trivial: Mapping[str, Scores], gates: Gates) -> list[Check]:
    """Whether the whole interval lies above the best trivial baseline on the same rows."""
    if not trivial:
        return []
    best = max(trivial, key=lambda name: trivial[name].main.value)
    bound = trivial[best].main.value
    words = f"lower end {scores.main.low:.1%}; {best} has {bound:.1%}"
    if not gates.beat_baselines:
        return [Check("best trivial baseline", True, scores.main.low, None, words)]
    return [Check("best trivial baseline", scores.main.low > bound, scores.main.low, bound, words)]


def _advice(scores: Scores, trivial: Mapping[str, Scores]) -> list[Check]:
    """Whether the linear baseline makes the specialist unnecessary."""
    if LINEAR not in trivial:
        return []
    words = linear_advice(scores, trivial[LINEAR])
    value = trivial[LINEAR].main.value
    return [] if words is None else [Check("linear model", True, value, None, words)]


def _self_tests(tests: Sequence[SelfTest]) -> Check:
    failed = [test for test in tests if not test.passed]
    words = f"{len(tests) - len(failed)} of {len(tests)} examples answered as expected"
    if failed:
        words += f"; example {failed[0].number}: {failed[0].outcome()}"
    passed = bool(tests) and not failed
    return Check("self-test", passed, float(len(failed)), 0.0, words)


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
