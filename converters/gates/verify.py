"""The gate: whether a specialist is what its card will promise, as named checks"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from converters.data.rows import Row, by_part, rows_sha256
from converters.errors import GateError
from converters.gates.checks import Check, advice, beats, change, keeps_up, percent
from converters.gates.reports import Divergence, FloatParity, ParityReport
from converters.gates.scores import card_scores, scope_scores, share_by_category
from converters.recipe.data import Part
from converters.recipe.recipe import Gates, Recipe
from edgeslm.evaluation.intervals import Estimate
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring import (
    ENOUGH_ROWS,
    NOT_ENOUGH,
    ClassificationScores,
    Comparison,
    ExtractionScores,
    Scores,
    TaskKind,
    compare,
    score,
    worst_of,
)
from edgeslm.evaluation.selftest import SelfTest
from edgeslm.formats.card import ClassifyTask, Score, Serving
from edgeslm.formats.text import FOLD_WORDS, Fold

#: how far the same float weights may lie apart in two libraries that round differently
MAX_FLOAT_KL = 1e-3
MIN_FLOAT_TOP1 = 0.998
#: share of fuzzed texts that transformers may tokenize otherwise: training uses the runtime's
#: tokens, so this only says how far a tokenizer rebuilt for transformers can be relied upon
MAX_TOKENS_DIFFERING = 0.005

#: how texts are compared by the scores of extraction that every card has, beside the gates' own
_REPORTED: Final[tuple[Fold, ...]] = ("case", "punctuation")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows of one part, ``words`` which they are, and what was said to them.

    Predictions are one for each row: of the float and of the quantized model, both through the
    runtime and under the card's calibration, of trivial ``baselines``, and of other systems
    that are only reported (``references``). ``way`` is how the quantized model was served.
    """

    part: Part
    words: str
    rows: Sequence[Row]
    quantized: Sequence[Prediction]
    floats: Sequence[Prediction]
    baselines: Mapping[str, Sequence[Prediction]]
    references: Mapping[str, Sequence[Prediction]]
    way: Serving = "file"


def held_out(
    parts: Mapping[Part, Sequence[Row]],
    *,
    words: Sequence[str],
    quantized: Sequence[Prediction],
    floats: Sequence[Prediction],
    baselines: Mapping[str, Sequence[Prediction]],
    references: Mapping[str, Sequence[Prediction]],
    way: Serving = "file",
) -> tuple[HeldOut, ...]:
    """Predictions for the rows of all parts, one after the other, part by part.

    Raises:
        ValueError: not one prediction for each row.
    """

    def of(systems: Mapping[str, Sequence[Prediction]], part: Part) -> dict[str, Any]:
        return {name: by_part(said, parts)[part] for name, said in systems.items()}

    after, before = by_part(quantized, parts), by_part(floats, parts)
    return tuple(
        HeldOut(
            part=part,
            words=said,
            rows=rows,
            quantized=after[part],
            floats=before[part],
            baselines=of(baselines, part),
            references=of(references, part),
            way=way,
        )
        for (part, rows), said in zip(parts.items(), words, strict=True)
    )


@dataclass(frozen=True, slots=True)
class VerifyInputs:
    """All that the gate judges; it runs no model itself. Parts and self-tests come for each way of
    serving. A parity is None where there is nothing to compare."""

    recipe: Recipe
    parts: Sequence[HeldOut]
    self_tests: Mapping[Serving, Sequence[SelfTest]]
    prompt_parity: ParityReport | None
    token_parity: ParityReport | None
    float_parity: FloatParity | None
    divergence: Divergence


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


def verify(inputs: VerifyInputs) -> Verdict:
    """Judge a specialist by the gates of its recipe. Packs nothing and raises for no gate.

    The recipe's bars for score, exactness and calibration are for the gold rows. On those of
    every part, and in every way of serving, no more may be lost by quantizing. The baselines must
    be beaten on gold rows, and must not be better on those of groups that were in training.

    Raises:
        ValueError: no rows, or not one prediction for each.
    """
    checks, scores = _parities(inputs), list[Score]()
    for part in inputs.parts:
        recipe = inputs.recipe if part.part == "gold" else _without_bars(inputs.recipe)
        judged, measured = _judge(part, recipe)
        checks += [replace(check, name=_on(part.part, check.name, part.way)) for check in judged]
        scores += [
            one.model_copy(update={"metric": _on(part.part, one.metric, part.way)})
            for one in measured
        ]
    checks += [_self_tests(way, tests) for way, tests in inputs.self_tests.items()]
    return Verdict(checks=tuple(checks), scores=tuple(scores))


def loses_too_much(
    recipe: Recipe,
    parts: Mapping[Part, Sequence[Row]],
    floats: Sequence[Prediction],
    quantized: Sequence[Prediction],
) -> str | None:
    """What quantizing loses beyond what the recipe's gates allow, on any part; None if little.

    Raises:
        ValueError: not one prediction for each row.
    """
    before, after = by_part(floats, parts), by_part(quantized, parts)
    lost = []
    for part, rows in parts.items():
        gold = [row.answer for row in rows]
        drop = compare(_kind(recipe), gold, before[part], after[part], fold=recipe.gates.fold)
        if not _drop(drop, recipe.gates).passed:
            lost.append(_on(part, f"{change(drop)}, McNemar p = {drop.p_value:.3g}"))
    return "; ".join(lost) or None


def _kind(recipe: Recipe) -> TaskKind:
    return "classify" if isinstance(recipe.task, ClassifyTask) else "extract"


def _on(part: Part, name: str, way: Serving = "file") -> str:
    """A check's or metric's name; where none is named, gold rows and the one file are meant."""
    rows = "" if part == "gold" else f", {part}"
    served = "" if way == "file" else f", as {way}"
    return f"{name}{rows}{served}"


def _without_bars(recipe: Recipe) -> Recipe:
    bars = {"min_score": 0.0, "min_exact": 0.0, "max_ece": None}
    return recipe.model_copy(update={"gates": recipe.gates.model_copy(update=bars)})


def _judge(part: HeldOut, recipe: Recipe) -> tuple[list[Check], tuple[Score, ...]]:
    task = _kind(recipe)
    gold = [row.answer for row in part.rows]
    gates = recipe.gates
    scored = _scored(part, task, gates.fold)
    scores, trivial = scored.own, scored.trivial
    sha256 = rows_sha256(part.rows)
    own = scored.for_card(part.words, sha256)
    reported = [
        one
        for fold in (_REPORTED if task == "extract" else ())
        if fold != gates.fold
        for one in _scored(part, task, fold).for_card(part.words, sha256)
    ]
    scope = _scope(part, recipe, gold, sha256)
    checks = [
        *_metric(scores, gates),
        _drop(compare(task, gold, part.floats, part.quantized, fold=gates.fold), gates),
        _worst(task, part, gold, scores, gates),
        *_calibration(scores, gates),
        *(
            keeps_up(task, gold, part.quantized, part.baselines, scores=trivial, gates=gates)
            if part.part == "seen"
            else beats(scores, trivial, gates)
        ),
        *(advice(scores, trivial) if recipe.kind != "linear" else ()),
        *(_noted(one, recipe) for one in (*reported, *scope)),
    ]
    return checks, (*own, *reported, *scope)


@dataclass(frozen=True, slots=True)
class _Scored:
    """Scores of the quantized model, of ``trivial`` baselines and of other systems."""

    own: Scores
    trivial: dict[str, Scores]
    references: dict[str, Scores]

    def for_card(self, gold: str, gold_sha256: str) -> tuple[Score, ...]:
        others = {**self.trivial, **self.references}
        return card_scores(self.own, others, gold=gold, gold_sha256=gold_sha256)


def _scored(part: HeldOut, task: TaskKind, fold: Fold) -> _Scored:
    gold = [row.answer for row in part.rows]

    def of(said: Sequence[Prediction]) -> Scores:
        return score(task, gold, said, fold=fold)

    trivial = {name: of(said) for name, said in part.baselines.items()}
    references = {name: of(said) for name, said in part.references.items()}
    return _Scored(of(part.quantized), trivial, references)


def _scope(part: HeldOut, recipe: Recipe, gold: Sequence[Any], sha256: str) -> tuple[Score, ...]:
    task = recipe.task
    if not isinstance(task, ClassifyTask) or task.out_of_scope is None:
        return ()
    return scope_scores(
        task.out_of_scope, gold, part.quantized, gold_name=part.words, gold_sha256=sha256
    )


def _noted(score: Score, recipe: Recipe) -> Check:
    low, high = score.interval or (0.0, 1.0)
    words = f"{score.value:.1%} [{low:.1%}, {high:.1%}], n = {score.n:,}"
    return Check(score.words(recipe.task), True, score.value, None, words)


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


def _float_parity(parity: FloatParity) -> Check:
    passed = parity.mean_kl <= MAX_FLOAT_KL and parity.top1 >= MIN_FLOAT_TOP1
    words = (
        f"{_agreement(parity.mean_kl, parity.top1, parity.n)}; at most {MAX_FLOAT_KL:g} and at "
        f"least {MIN_FLOAT_TOP1:.1%}"
    )
    return Check("float parity", passed, parity.mean_kl, MAX_FLOAT_KL, words)


def _divergence(distance: Divergence) -> Check:
    words = _agreement(distance.kl, distance.top1, distance.n)
    return Check("quantized to float", True, distance.kl, None, words)


def _agreement(kl: float, top1: float, n: int) -> str:
    return f"KL {kl:.2g} nats, top-1 {top1:.1%} at {n:,} positions of answers"


# --- the task -----------------------------------------------------------------


def _metric(scores: Scores, gates: Gates) -> list[Check]:
    if not isinstance(scores, ExtractionScores):
        return [_at_least(scores.metric, scores.main, gates.min_score)]
    how = f", {FOLD_WORDS[gates.fold]}"
    return [
        _at_least(scores.metric, scores.main, gates.min_score, how),
        _at_least("whole record right", scores.exact, gates.min_exact, how),
    ]


def _at_least(name: str, estimate: Estimate, bound: float, how: str = "") -> Check:
    words = f"{percent(estimate)}, n = {estimate.n:,}{how}; at least {bound:.1%}"
    return Check(name, estimate.value >= bound, estimate.value, bound, words)


def _drop(comparison: Comparison, gates: Gates) -> Check:
    """Float to quantized on the same rows: a small difference, and no significant harm."""
    difference = comparison.difference
    points = difference.value * 100
    words = (
        f"{change(comparison)}, n = {difference.n:,}; right as a whole only in float "
        f"{comparison.only_first:,}, only quantized {comparison.only_second:,}, "
        f"McNemar p = {comparison.p_value:.3g}; at most "
        f"{gates.max_drop:g} points lost and no significant harm (to prove a loss below 0.5 "
        f"points takes about {comparison.rows_for_half_point:,} rows)"
    )
    passed = points >= -gates.max_drop and not comparison.harms
    return Check(f"{comparison.metric}, float to quantized", passed, points, -gates.max_drop, words)


def _worst(
    task: TaskKind, held: HeldOut, gold: Sequence[Any], scores: Scores, gates: Gates
) -> Check:
    """Names the weakest label, field or category; a promise of each is the card's matter."""
    if isinstance(scores, ExtractionScores):
        parts = {name: field.right for name, field in scores.fields.items()}
    else:
        parts = {name: label.right for name, label in scores.labels.items()}
    parts |= share_by_category(task, held.rows, gold, held.quantized, fold=gates.fold)
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


def _self_tests(way: Serving, tests: Sequence[SelfTest]) -> Check:
    failed = [test for test in tests if not test.passed]
    words = f"{len(tests) - len(failed)} of {len(tests)} examples answered as expected"
    if failed:
        words += f"; example {failed[0].number}: {failed[0].outcome()}"
    passed = bool(tests) and not failed
    return Check(_on("gold", "self-test", way), passed, float(len(failed)), 0.0, words)
