"""Scores of taggers: by hand, those of scikit-learn, missing answers, pairs of systems"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.evaluation.matches import Prediction
from edgeslm.evaluation.scoring_tags import compare_tags, right_tags, score_tags
from edgeslm.formats.card import Head

KIND = Head(name="kind", labels=("bug", "wish"))
AREAS = Head(name="areas", labels=("ui", "docs", "api"), multi_label=True)
HEADS = (KIND, AREAS)
FAILED = Prediction(error="too long")

GOLD = [
    {"kind": "bug", "areas": ["docs", "ui"]},
    {"kind": "bug", "areas": []},
    {"kind": "wish", "areas": ["ui"]},
    {"kind": "wish", "areas": ["docs"]},
]
SAID = [
    Prediction({"kind": "bug", "areas": ["ui", "docs"]}),
    Prediction({"kind": "bug", "areas": ["ui"]}),
    Prediction({"kind": "bug", "areas": ["ui"]}),
    FAILED,
]
SETS = st.lists(st.sampled_from(["ui", "docs", "api"]), unique=True)


def test_heads_and_rows_by_hand():
    scores = score_tags(HEADS, GOLD, SAID)
    assert (scores.n, scores.failed, scores.exact.value) == (4, 1, 0.25)
    assert scores.main == scores.exact
    kind, areas = scores.heads["kind"], scores.heads["areas"]
    assert kind.accuracy.value == 0.5
    assert kind.labels["wish"].right.value == 0
    assert kind.failed == areas.failed == 1
    assert areas.exact.value == 0.5
    # ui: 2 right of 3 found and 2 true; docs: 1 right of 1 found and 2 true
    assert areas.labels["ui"].precision == pytest.approx(2 / 3)
    assert areas.labels["ui"].f1 == pytest.approx(4 / 5)
    assert areas.labels["docs"].right.value == 0.5
    assert areas.macro_f1.value == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert areas.main == areas.macro_f1
    assert list(right_tags(HEADS, GOLD, SAID)) == [True, False, False, False]


def test_an_answer_of_no_labels_is_right_where_there_are_none_and_a_failed_one_is_not():
    gold = [{"areas": []}] * 2
    scores = score_tags([AREAS], gold, [Prediction({"areas": []}), FAILED])
    assert scores.exact.value == 0.5
    assert scores.heads["areas"].macro_f1.value == 1
    assert scores.heads["areas"].labels == {}


@pytest.mark.parametrize("answer", [{"kind": "bug"}, "bug", None, {"areas": 3, "kind": "bug"}])
def test_a_head_without_an_answer_is_wrong(answer):
    gold = [{"kind": "bug", "areas": []}]
    assert score_tags(HEADS, gold, [Prediction(answer)]).exact.value == 0


def test_the_worst_label_is_named_with_its_head():
    gold = [{"kind": "bug", "areas": ["ui"]}] * 40 + [{"kind": "wish", "areas": ["ui"]}] * 3
    said = [Prediction({"kind": "bug", "areas": ["ui"]})] * 30
    said += [Prediction({"kind": "bug", "areas": []})] * 13
    assert score_tags(HEADS, gold, said).worst == "areas: ui"


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=12))
def test_macro_f1_is_that_of_scikit_learn(rows):
    metrics = pytest.importorskip("sklearn.metrics")
    names = sorted({name for pair in rows for labels in pair for name in labels})
    scores = score_tags(
        [AREAS], [{"areas": true} for true, _ in rows], [Prediction({"areas": s}) for _, s in rows]
    )
    each = [
        metrics.f1_score(*([name in pair[i] for pair in rows] for i in (0, 1)), zero_division=0)
        for name in names
    ]
    expected = sum(each) / len(each) if each else 1.0
    areas = scores.heads["areas"]
    assert areas.macro_f1.value == pytest.approx(expected)
    assert areas.macro_f1.low <= areas.macro_f1.value <= areas.macro_f1.high
    assert areas.exact.value == sum(set(a) == set(b) for a, b in rows) / len(rows)


def test_two_taggers_are_compared_by_rows_with_every_head_right():
    gold = [{"kind": "bug", "areas": ["ui"]}] * 20
    half = [Prediction(gold[0])] * 10 + [Prediction({"kind": "bug", "areas": []})] * 10
    comparison = compare_tags(HEADS, gold, half, [Prediction(gold[0])] * 20)
    assert (comparison.metric, comparison.only_first, comparison.only_second) == (
        "whole record right",
        0,
        10,
    )
    assert comparison.difference.value == 0.5
    assert not comparison.harms
    assert compare_tags(HEADS, gold, [Prediction(gold[0])] * 20, half).harms


def test_gold_and_predictions_are_pairs():
    with pytest.raises(ValueError, match="one prediction, not 2 and 1"):
        score_tags(HEADS, GOLD[:2], [FAILED])
    with pytest.raises(ValueError, match="not 0 and 0"):
        score_tags(HEADS, [], [])
