"""The gate: each check fails where it should, alone; what the card is told"""

import json
import re
from dataclasses import fields as names_of
from dataclasses import replace

import pytest

from converters.data.rows import Row, rows_sha256
from converters.errors import GateError
from converters.gates.baselines import LINEAR
from converters.gates.reports import Difference, Divergence, FloatParity, ParityReport
from converters.gates.verify import HeldOut, VerifyInputs, held_out, loses_too_much, verify
from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.selftest import SelfTest
from edgeslm.formats.text import FOLD_WORDS
from tests.converters.gates.test_baselines import reader, sorter

N = 200
SAME = ParityReport(5000, 0, ())
OTHER = ParityReport(5000, 1, (Difference("a b", (1, 2), (1, 3)),))
EQUAL = FloatParity(n=900, mean_kl=1e-6, max_kl=1e-4, top1=1.0)
APART = FloatParity(n=900, mean_kl=0.05, max_kl=1.0, top1=1.0)
TRUTH = {"shop": "Nook", "total": "9.50"}
WRONG = {"shop": "Nook", "total": "1.00"}
SELF_TEST = SelfTest(number=1, expected=TRUTH, answered=TRUTH, error=None, ms=5.0)


def said(right, answer=TRUTH, wrong=WRONG, n=N):
    """``right`` answers as they should be, then wrong ones up to ``n``."""
    confidence = 0.95 if isinstance(answer, str) else None
    return [Prediction(answer if i < right else wrong, confidence) for i in range(n)]


def gates(recipe, **changed):
    return recipe.model_copy(update={"gates": recipe.gates.model_copy(update=changed)})


def rows(answer, category):
    return [Row(id=str(i), input=f"{i}", answer=answer, category=category) for i in range(N)]


def change(inputs, **changed):
    """The inputs with other values; those of rows are the gold ones'."""
    of_rows = {field.name for field in names_of(HeldOut)} & changed.keys()
    gold = replace(inputs.parts[0], **{name: changed.pop(name) for name in of_rows})
    return replace(inputs, parts=[gold, *inputs.parts[1:]], **changed)


@pytest.fixture
def fields():
    return VerifyInputs(
        recipe=gates(reader("shop", "total"), min_score=0.9, min_exact=0.9),
        parts=[
            HeldOut(
                part="gold",
                words="receipts, held out",
                rows=rows(TRUTH, "plain"),
                quantized=said(195),
                floats=said(195),
                baselines={"majority": said(100), "lookup": said(120)},
                references={"another system": said(199)},
            )
        ],
        self_tests={"file": [SELF_TEST]},
        prompt_parity=SAME,
        token_parity=SAME,
        float_parity=EQUAL,
        divergence=Divergence(kl=0.05, top1=0.97, n=900),
    )


@pytest.fixture
def labels(fields):
    test = SelfTest(number=1, expected="a", answered="a", error=None, ms=5.0)
    return change(
        fields,
        recipe=gates(sorter("a", "b"), min_score=0.9, max_ece=0.05),
        rows=rows("a", "a"),
        quantized=said(195, "a", "b"),
        floats=said(195, "a", "b"),
        baselines={"majority": said(150, "a", "b")},
        references={},
        self_tests={"file": [test]},
    )


def failed(verdict):
    return [check.name for check in verdict.checks if not check.passed]


def test_what_is_good_passes(fields, labels):
    for inputs in (fields, labels):
        verdict = verify(inputs)
        assert failed(verdict) == []
        verdict.require()
        assert json.loads(json.dumps(verdict.to_dict()))["passed"] is True


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"prompt_parity": OTHER}, "prompt parity"),
        ({"token_parity": replace(OTHER, differing=26)}, "token parity"),
        ({"token_parity": ParityReport(0, 0, ())}, "token parity"),
        ({"float_parity": APART}, "float parity"),
        ({"float_parity": replace(EQUAL, top1=0.9)}, "float parity"),
        ({"self_tests": {"file": []}}, "self-test"),
        ({"self_tests": {"file": [replace(SELF_TEST, answered=WRONG)]}}, "self-test"),
        ({"baselines": {"lookup": said(194)}}, "best trivial baseline"),
        ({"floats": said(199)}, "field F1, float to quantized"),
    ],
)
def test_each_check_fails_alone(fields, changed, name):
    verdict = verify(change(fields, **changed))
    assert failed(verdict) == [name]
    with pytest.raises(GateError, match=name):
        verdict.require()


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"min_score": 0.995}, "field F1"),
        ({"min_exact": 0.99}, "whole record right"),
    ],
)
def test_the_bars_of_the_recipe(fields, changed, name):
    assert failed(verify(change(fields, recipe=gates(fields.recipe, **changed)))) == [name]


def test_a_small_loss_passes_and_a_sure_one_does_not(fields):
    # 1 of 200 records and 1 of 400 values: within half a point, and chance may explain it
    assert failed(verify(change(fields, floats=said(196)))) == []
    # a loss that the recipe allows, but that chance does not explain
    lax = gates(fields.recipe, max_drop=20.0)
    verdict = verify(change(fields, recipe=lax, floats=said(200), quantized=said(188)))
    assert failed(verdict) == ["field F1, float to quantized"]
    words = " ".join(check.words for check in verdict.checks)
    assert "to prove a loss below 0.5 points takes about" in words
    assert "n = 200" in words


def test_calibration_of_labels(labels):
    unsure = [replace(p, confidence=0.6) for p in labels.parts[0].quantized]
    assert failed(verify(change(labels, quantized=unsure))) == ["calibration"]
    free = gates(labels.recipe, max_ece=None)
    assert failed(verify(change(labels, recipe=free, quantized=unsure))) == []


def test_a_recipe_may_leave_the_baseline_be(fields):
    free = gates(fields.recipe, beat_baselines=False)
    assert failed(verify(change(fields, recipe=free, baselines={"x": said(199)}))) == []


def test_a_parity_that_does_not_apply_is_no_check(fields):
    verdict = verify(change(fields, prompt_parity=None, token_parity=None, float_parity=None))
    assert {"prompt parity", "token parity", "float parity"} & {
        c.name for c in verdict.checks
    } == set()


def test_the_worst_category_is_named_and_small_ones_counted(fields):
    gold = [
        replace(row, category="torn" if i > 160 else "plain")
        for i, row in enumerate(fields.parts[0].rows)
    ]
    gold[0] = replace(gold[0], category="rare")
    worst = next(c for c in verify(change(fields, rows=gold)).checks if c.name == "worst category")
    assert worst.words.startswith("torn: 87.2%, at least")
    assert "1 of 5 with not enough evidence" in worst.words


def test_the_scores_for_the_card(fields, labels):
    f1, exact, *_ = verify(fields).scores
    assert (f1.metric, exact.metric) == ("field F1", "whole record right")
    assert f1.n == N
    assert f1.gold_sha256 == rows_sha256(fields.parts[0].rows)
    assert f1.interval[0] < f1.value < f1.interval[1]
    assert set(f1.baselines) == {"majority", "lookup", "another system"}
    assert exact.value == pytest.approx(195 / N)
    assert exact.by_category["$.total"].lower < exact.by_category["$.total"].value
    accuracy, macro = verify(labels).scores
    assert (accuracy.metric, macro.metric) == ("accuracy", "macro-F1")
    assert accuracy.by_category["a"].n == N


MARKED = {"shop": "NOOK!", "total": "9.50"}


@pytest.mark.parametrize(
    ("fold", "folds", "passes"),
    [
        ("case", ["case", "punctuation"], False),
        ("punctuation", ["punctuation", "case"], True),
        ("none", ["none", "case", "punctuation"], False),
    ],
)
def test_scores_come_in_both_ways_of_comparing_and_gates_judge_by_the_recipes(
    fields, fold, folds, passes
):
    marked = change(
        fields,
        recipe=gates(fields.recipe, fold=fold),
        quantized=[Prediction(MARKED)] * N,
        floats=said(195),
        baselines={"lookup": said(100, MARKED)},
    )
    verdict = verify(marked)
    assert (failed(verdict) == []) is passes
    assert [(s.metric, s.fold) for s in verdict.scores] == [
        (metric, fold) for fold in folds for metric in ("field F1", "whole record right")
    ]
    value = {(s.metric, s.fold): s.value for s in verdict.scores}
    other = {(s.metric, s.fold): s.baselines["lookup"] for s in verdict.scores}
    for way, f1, exact in (("case", 0.5, 0), ("punctuation", 1, 1)):
        assert value["field F1", way] == f1
        assert value["whole record right", way] == exact
    assert other["whole record right", "case"] == 0
    assert other["whole record right", "punctuation"] == 0.5
    words = {check.name: check for check in verdict.checks}
    noted = next(way for way in folds[1:])
    shown = {"case": "case ignored", "punctuation": "case and punctuation ignored"}[noted]
    assert words[f"field F1 ({shown})"].bound is None
    assert f", {FOLD_WORDS[fold]}; at least 90.0%" in words["field F1"].words


def test_what_quantizing_loses_is_judged_in_the_recipes_way(fields):
    parts = {"gold": fields.parts[0].rows}
    strict = gates(fields.recipe, fold="punctuation")
    right, marked = [Prediction(TRUTH)] * N, [Prediction(MARKED)] * N
    assert loses_too_much(fields.recipe, parts, right, marked) is not None
    assert loses_too_much(strict, parts, right, marked) is None


def test_the_first_text_that_differs_is_named(fields):
    [failed] = [c for c in verify(change(fields, prompt_parity=OTHER)).checks if not c.passed]
    assert failed.name == "prompt parity"
    assert "'a b', at token 1" in failed.words


@pytest.mark.parametrize(("right", "said_so"), [(150, False), (194, True)])
def test_a_linear_baseline_that_is_as_good_is_named(labels, right, said_so):
    verdict = verify(change(labels, baselines={LINEAR: said(right, "a", "b")}))
    words = [check.words for check in verdict.checks if check.name == "linear model"]
    assert bool(words) == said_so
    if said_so:
        assert "ship that (accuracy 97.0%" in words[0]


# --- seen rows ----------------------------------------------------------------


@pytest.fixture
def with_seen(labels):
    [gold] = labels.parts
    seen = replace(gold, part="seen", words="rows of groups in training", rows=gold.rows[1:])
    for name in ("quantized", "floats"):
        seen = replace(seen, **{name: getattr(gold, name)[1:]})
    return replace(
        labels, parts=[gold, replace(seen, baselines={"majority": said(150, "a", "b")[1:]})]
    )


def seen_changed(inputs, **changed):
    return replace(inputs, parts=[inputs.parts[0], replace(inputs.parts[1], **changed)])


def test_seen_rows_have_checks_and_scores_of_their_own(with_seen):
    verdict = verify(with_seen)
    assert failed(verdict) == []
    names = [check.name for check in verdict.checks]
    assert names.count("best trivial baseline") == names.count("best trivial baseline, seen") == 1
    assert names.count("self-test") == 1
    assert "self-test, seen" not in names
    metrics = {score.metric: score for score in verdict.scores}
    assert [*metrics] == ["accuracy", "macro-F1", "accuracy, seen", "macro-F1, seen"]
    assert (metrics["accuracy"].n, metrics["accuracy, seen"].n) == (N, N - 1)
    assert metrics["accuracy, seen"].gold == "rows of groups in training"
    assert metrics["accuracy"].gold_sha256 != metrics["accuracy, seen"].gold_sha256


def test_baselines_and_losses_are_gates_on_seen_rows_too(with_seen):
    better = {"lookup": said(198, "a", "b", N - 1)}
    inputs = seen_changed(with_seen, baselines=better)
    assert failed(verify(inputs)) == ["best trivial baseline, seen"]
    free = replace(inputs, recipe=gates(inputs.recipe, beat_baselines=False))
    assert failed(verify(free)) == []
    lost = said(198, "a", "b", N - 1)
    assert failed(verify(seen_changed(with_seen, floats=lost))) == [
        "accuracy, float to quantized, seen"
    ]


def test_a_baseline_may_be_as_good_where_the_group_was_in_training(with_seen):
    own = with_seen.parts[1].quantized
    verdict = verify(seen_changed(with_seen, baselines={"lookup": own}))
    assert failed(verdict) == []
    check = next(c for c in verdict.checks if c.name == "best trivial baseline, seen")
    assert (check.value, check.bound) == (0.0, 0.0)
    assert "McNemar p = 1; must be no worse" in check.words
    gold = change(with_seen, baselines={"lookup": with_seen.parts[0].quantized})
    assert failed(verify(gold)) == ["best trivial baseline", "best baseline in macro-F1"]


def test_the_bars_of_the_recipe_are_for_gold_rows(with_seen):
    few = said(175, "a", "b", N - 1)
    verdict = verify(seen_changed(with_seen, quantized=few, floats=few))
    assert failed(verdict) == []
    assert next(c for c in verdict.checks if c.name == "accuracy, seen").value == 175 / (N - 1)


def test_macro_f1_is_held_to_the_best_baseline_in_it(labels):
    truth = ["a"] * 190 + ["b"] * 10
    gold = [
        replace(row, answer=answer) for row, answer in zip(labels.parts[0].rows, truth, strict=True)
    ]
    own = said(190, "a", "a")  # never the rare label
    other = [Prediction("a", 0.9)] * 150 + [Prediction("b", 0.9)] * 50
    inputs = change(labels, rows=gold, quantized=own, floats=own, baselines={"lookup": other})
    assert failed(verify(inputs)) == ["best baseline in macro-F1"]
    free = change(inputs, recipe=gates(labels.recipe, beat_baselines=False))
    assert failed(verify(free)) == []


def test_predictions_of_parts_come_one_after_the_other():
    parts = {"gold": rows("a", "a")[:3], "seen": rows("a", "a")[:2]}
    said_so = [Prediction(str(i)) for i in range(5)]
    gold, seen = held_out(
        parts,
        words=["one", "two"],
        quantized=said_so,
        floats=said_so[::-1],
        baselines={"x": said_so},
        references={},
    )
    assert (gold.words, seen.words) == ("one", "two")
    assert [p.answer for p in gold.quantized] == ["0", "1", "2"]
    assert [p.answer for p in seen.floats] == ["1", "0"]
    assert [p.answer for p in seen.baselines["x"]] == ["3", "4"]
    with pytest.raises(ValueError, match="one value for each row"):
        held_out(parts, words=["", ""], quantized=[], floats=[], baselines={}, references={})


def test_a_loss_on_one_part_is_a_loss(labels):
    parts = {"gold": rows("a", "a"), "seen": rows("a", "a")}
    right, wrong = said(N, "a", "b"), said(180, "a", "b")
    assert loses_too_much(labels.recipe, parts, right + right, right + right) is None
    lost = loses_too_much(labels.recipe, parts, right + right, right + wrong)
    assert lost is not None
    assert re.fullmatch(r"-10\.00 points \[-\S+, -\S+\], McNemar p = \S+, seen", lost)
    both = loses_too_much(labels.recipe, parts, right + right, wrong + wrong)
    assert both is not None and both.count("-10.00 points") == 2


# --- beside the base ----------------------------------------------------------


@pytest.fixture
def as_adapter(labels):
    """The same rows answered by the file, and by the adapter beside its base, which loses some."""
    [gold] = labels.parts
    beside = replace(gold, way="adapter", quantized=said(185, "a", "b"))
    return replace(
        labels, parts=[gold, beside], self_tests={way: [SELF_TEST] for way in ("file", "adapter")}
    )


def test_an_adapter_beside_its_base_has_gates_and_scores_of_its_own(as_adapter):
    verdict = verify(as_adapter)
    failed = [check.name for check in verdict.checks if not check.passed]
    assert failed == ["accuracy, float to quantized, as adapter"]
    scores = {score.metric: score.value for score in verdict.scores}
    assert scores["accuracy, as adapter"] == pytest.approx(185 / N)
    assert scores["accuracy"] > scores["accuracy, as adapter"]
    assert {check.name for check in verdict.checks} >= {"self-test", "self-test, as adapter"}


def test_an_example_that_the_adapter_gets_wrong_fails_its_self_test_alone(as_adapter):
    wrong = replace(SELF_TEST, answered=WRONG)
    verdict = verify(replace(as_adapter, self_tests={"file": [SELF_TEST], "adapter": [wrong]}))
    failed = {check.name for check in verdict.checks if not check.passed}
    assert "self-test, as adapter" in failed and "self-test" not in failed
