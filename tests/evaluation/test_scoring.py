"""Scores: by hand, perfect ones, whatever the order; failed answers; pairs of systems"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.evaluation.matches import Fields, Prediction
from edgeslm.evaluation.scoring import (
    category_score,
    compare,
    enough,
    fold_scores,
    linear_advice,
    right_rows,
    score,
    worst_of,
)
from edgeslm.formats.text import FOLDS

FAILED = Prediction(error="too long")
FIELDS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.none() | st.sampled_from(["x", "y", "3 Jan 2020", "1.50"])
)
RECORDS = st.lists(st.tuples(FIELDS, FIELDS | st.none()), min_size=1, max_size=12)
LABELS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abcd") | st.none()), min_size=1, max_size=30
)


def said(answers):
    return [FAILED if answer is None else Prediction(answer) for answer in answers]


def values(scores):
    """All that a score says, without what resampling depends on the order for."""
    if scores.task == "classify":
        labels = {name: (x.precision, x.f1, x.right) for name, x in scores.labels.items()}
        return scores.accuracy, scores.macro_f1.value, labels, scores.worst, scores.failed
    fields = {
        name: (x.kind, x.present, x.precision, x.recall, x.f1.value, x.right)
        for name, x in scores.fields.items()
    }
    main = scores.f1.value, scores.precision.value, scores.recall.value
    return main, scores.exact, fields, scores.worst, scores.failed


# --- fields ---------------------------------------------------------------------


def test_fields_by_hand():
    gold = [
        {"shop": "Nook", "day": "05/06/2018", "total": "9.50"},
        {"shop": "Bay", "day": "2018-06-07", "total": None},
    ]
    predictions = said(
        [
            {"shop": "NOOK ", "day": "2018-06-05", "total": "9.51"},  # total wrong
            {"shop": None, "day": "7 Jun 2018", "total": "1.00"},  # shop missed, total invented
        ]
    )
    scores = score("extract", gold, predictions)
    assert scores.precision.value == pytest.approx(3 / 5)
    assert scores.recall.value == pytest.approx(3 / 5)
    assert scores.f1.value == pytest.approx(2 * 3 / (5 + 5))
    assert scores.exact.value == 0
    assert scores.fields["$.day"].f1.value == 1
    assert scores.fields["$.day"].kind == "date"
    assert scores.fields["$.shop"].recall == 0.5
    assert scores.fields["$.shop"].precision == 1
    assert scores.fields["$.total"].right.value == 0
    assert scores.fields["$.total"].present == 1


def test_a_failed_row_is_wrong_even_if_there_was_nothing_to_find():
    scores = score("extract", [{"a": None}, {"a": "x"}], [FAILED, Prediction({"a": "x"})])
    assert scores.failed == 1
    assert scores.exact.value == 0.5
    assert scores.fields["$.a"].right.value == 0.5


def test_items_of_arrays_are_a_bag_but_a_record_keeps_their_order():
    gold = [{"items": [{"name": "tea", "n": 1}, {"name": "jam", "n": 2}]}]
    turned = [Prediction({"items": [{"name": "JAM", "n": 2}, {"name": "tea", "n": 1.0}]})]
    scores = score("extract", gold, turned)
    assert set(scores.fields) == {"$.items[*].name", "$.items[*].n"}
    assert scores.f1.value == 1
    assert scores.exact.value == 0
    assert score("extract", gold, [Prediction(gold[0])]).exact.value == 1
    one = score("extract", gold, [Prediction({"items": [{"name": "tea", "n": 1}]})])
    assert (one.precision.value, one.recall.value) == (1, 0.5)


def test_fields_and_whole_records_in_each_way_of_comparing_texts():
    gold = [{"at": "No. 3, Jalan", "day": "05/06/2018"}, {"at": "Bay", "day": "2018-06-07"}]
    answers = said([{"at": "NO 3 JALAN", "day": "2018-06-05"}, {"at": "BAY", "day": "2018-06-07"}])
    by_fold = {fold: score("extract", gold, answers, fold=fold) for fold in FOLDS}
    assert {fold: (s.fold, s.f1.value, s.exact.value) for fold, s in by_fold.items()} == {
        "none": ("none", 0.25, 0),
        "case": ("case", 0.75, 0.5),
        "punctuation": ("punctuation", 1, 1),
    }
    assert by_fold["none"].fields["$.day"].f1.value == 0.5
    assert score("extract", gold, answers) == by_fold["case"]
    short = {fold: (s.f1, s.exact) for fold, s in fold_scores(gold, answers).items()}
    assert short == {fold: (s.f1, s.exact) for fold, s in by_fold.items()}
    for fold in FOLDS:
        right = right_rows("extract", gold, answers, fold=fold)
        assert right.mean() == by_fold[fold].exact.value
        assert compare("extract", gold, answers, answers, fold=fold).p_value == 1
    change = compare("extract", gold, answers, said(gold), fold="none").difference.value
    assert change == pytest.approx(0.75)


SPELLED = st.none() | st.sampled_from(
    ["a b", "A B", "a-b", "a  b", "-", "€", "", " ", "é", 12, 12.5, "12.5", "125", True, "true"]
)
SPELLINGS = st.dictionaries(st.sampled_from("xyz"), SPELLED | st.lists(SPELLED, max_size=3))


@given(st.lists(st.tuples(SPELLINGS, SPELLINGS | st.none()), min_size=1, max_size=6))
@settings(deadline=None)
def test_a_looser_way_of_comparing_finds_no_row_or_value_wrong_that_was_right(records):
    gold, answers = [true for true, _ in records], said([answer for _, answer in records])
    none, case, punctuation = (
        Fields.read(gold, answers, fold) for fold in ("none", "case", "punctuation")
    )
    for strict, loose in ((none, case), (case, punctuation)):
        assert (strict.right <= loose.right).all()
        assert (strict.field_right <= loose.field_right).all()
        assert (strict.counts[:, :, 0] <= loose.counts[:, :, 0]).all()
        assert (strict.counts[:, :, 1:] == loose.counts[:, :, 1:]).all()


@pytest.mark.parametrize("nothing", [{}, {"a": None}, {"a": ""}, {"a": []}, {"a": {"b": None}}])
def test_null_absent_and_empty_are_the_same(nothing):
    scores = score("extract", [{"a": None}], [Prediction(nothing)])
    assert scores.exact.value == scores.f1.value == 1


@pytest.mark.parametrize(
    ("true", "said", "right"),
    [
        ("12.50", "(12.50)", False),
        ("12.50", "12.50-", False),
        ("12.50", "−12.50", False),
        ("2780.00", "27,80", False),
        ("1.23", "1.234,56", False),
        ("1.23", "1.234", False),
        ("12.50", "12.50 (incl. 6% tax)", False),
        ("-12.50", "(12.50)", True),
        ("27.80", "27,80", True),
        ("1234.56", "1.234,56", True),
        ("1298.00", "1\u202f298,00", True),
        ("123456.00", "₹1,23,456.00", True),
        ("12.50", "RM 12.5", True),
        (12.5, "(12.50)", False),
        (2780, "27,80", False),
        (1234.56, "1.234,56", True),
        ("2023-12-12", "12. Dezember 2023", True),
        ("2023-12-12", "2023年12月12日", True),
        ("2023-12-12", "12 décembre 2032", False),
        ("2023-12-12T10:00:00", "2023-12-12T22:00:00", False),
        ("2023-12-12T10:00:00Z", "12.12.2023 10:00", True),
        ("12.50 USD", "12.50 EUR", False),
        ("12.50", "12.50 EUR", True),
    ],
)
def test_amounts_and_dates_are_right_in_any_spelling_that_means_them(true, said, right):
    scores = score("extract", [{"t": true}], [Prediction({"t": said})])
    assert scores.exact.value == right
    assert scores.f1.value == right


def test_a_value_that_is_no_object():
    scores = score("extract", ["Yes", "no"], said(["yes", "yes"]))
    assert scores.exact.value == 0.5
    assert set(scores.fields) == {"$"}


@settings(deadline=None, max_examples=25)
@given(RECORDS)
def test_the_gold_itself_is_perfect(rows):
    gold = [true for true, _ in rows]
    scores = score("extract", gold, said(gold))
    assert scores.f1.value == scores.exact.value == scores.f1.low == 1


@settings(deadline=None, max_examples=25)
@given(RECORDS, st.randoms())
def test_the_order_of_records_is_nothing(rows, random):
    turned = random.sample(rows, len(rows))
    first, second = (
        score("extract", [true for true, _ in some], said([answer for _, answer in some]))
        for some in (rows, turned)
    )
    assert values(first) == values(second)
    assert (first.exact.value == 1) <= (first.f1.value == 1)
    low, high = sorted((first.precision.value, first.recall.value))
    assert low - 1e-9 <= first.f1.value <= high + 1e-9 or first.f1.value == 0


# --- labels ---------------------------------------------------------------------


def test_labels_by_hand():
    scores = score("classify", list("aaab"), said(["a", "a", "b", None]))
    assert scores.accuracy.value == 0.5
    assert scores.failed == 1
    # a: 2 right of 2 found and 3 true; b: none right of 1 found and 1 true
    assert scores.labels["a"].f1 == pytest.approx(2 * 2 / (2 + 3))
    assert scores.labels["a"].right.value == pytest.approx(2 / 3)
    assert scores.labels["b"].f1 == 0
    assert scores.macro_f1.value == pytest.approx((0.8 + 0) / 2)
    pairs = {(pair.label, pair.taken_for): pair.n for pair in scores.confusions}
    assert pairs == {("a", "b"): 1, ("b", None): 1}
    assert scores.ece is None


def test_calibration_error_of_what_has_a_confidence():
    sure = [Prediction("a", confidence=1.0), Prediction("b", confidence=1.0), FAILED]
    assert score("classify", ["a", "a", "a"], sure).ece == pytest.approx(0.5)


@settings(deadline=None, max_examples=25)
@given(LABELS, st.randoms())
def test_the_order_of_labels_is_nothing(rows, random):
    turned = random.sample(rows, len(rows))
    first, second = (
        score("classify", [true for true, _ in some], said([answer for _, answer in some]))
        for some in (rows, turned)
    )
    assert values(first) == values(second)
    gold = [true for true, _ in rows]
    perfect = score("classify", gold, said(gold))
    assert perfect.accuracy.value == perfect.macro_f1.value == perfect.macro_f1.low == 1


@settings(deadline=None, max_examples=25)
@given(LABELS)
def test_macro_f1_is_that_of_scikit_learn(rows):
    metrics = pytest.importorskip("sklearn.metrics")
    gold = [true for true, _ in rows]
    answers = [label or true for true, label in rows]
    expected = metrics.f1_score(gold, answers, average="macro", zero_division=0)
    assert score("classify", gold, said(answers)).macro_f1.value == pytest.approx(expected)


def test_the_worst_label_has_enough_rows():
    gold = ["a"] * 40 + ["b"] * 40 + ["c"] * 3
    predictions = said(["a"] * 40 + ["b"] * 30 + ["a"] * 10 + ["a"] * 3)
    scores = score("classify", gold, predictions)
    assert scores.worst == "b"
    assert not enough(scores.labels["c"].right)
    assert worst_of({"c": scores.labels["c"].right}) is None
    assert category_score(right_rows("classify", gold, predictions)).value == pytest.approx(70 / 83)


# --- pairs ----------------------------------------------------------------------


def test_two_systems_row_by_row():
    gold = ["a"] * 100
    first = said(["a"] * 90 + ["b"] * 10)
    second = said(["a"] * 80 + ["b"] * 11 + ["a"] * 9)
    comparison = compare("classify", gold, first, second)
    assert (comparison.only_first, comparison.only_second) == (10, 9)
    assert comparison.difference.value == pytest.approx(-0.01)
    assert comparison.p_value == pytest.approx(1)
    assert not comparison.harms
    worse = compare("classify", gold, first, said(["b"] * 100))
    assert worse.harms
    assert not compare("classify", gold, said(["b"] * 100), first).harms


def test_a_paired_interval_is_narrower_than_the_two_apart():
    gold = [{"a": "x", "b": "y"}] * 60
    first = said([{"a": "x", "b": "y"}] * 30 + [{"a": "z", "b": "y"}] * 30)
    second = said([{"a": "x", "b": "y"}] * 31 + [{"a": "z", "b": "y"}] * 29)
    difference = compare("extract", gold, first, second).difference
    assert difference.value == pytest.approx(1 / 120)
    alone = score("extract", gold, first).f1
    assert difference.high - difference.low < (alone.high - alone.low) / 2


def test_the_same_system_twice_does_no_harm():
    gold = [{"a": "x"}, {"a": "y"}]
    comparison = compare("extract", gold, said(gold), said(gold))
    assert (comparison.difference.low, comparison.difference.high, comparison.p_value) == (0, 0, 1)
    assert not comparison.harms


@pytest.mark.parametrize("task", ["extract", "classify"])
def test_gold_and_predictions_are_pairs(task):
    with pytest.raises(ValueError, match="one prediction, not 2 and 1"):
        score(task, ["a", "b"], said(["a"]))
    with pytest.raises(ValueError, match="not 0 and 0"):
        score(task, [], [])


@pytest.mark.parametrize(("behind", "as_good"), [(-5, True), (0, True), (1, True), (2, False)])
def test_a_linear_model_within_a_point_is_as_good(behind, as_good):
    gold = ["a"] * 100
    own = score("classify", gold, [Prediction("a")] * 90 + [Prediction("b")] * 10)
    right = 90 - behind
    linear = score("classify", gold, [Prediction("a")] * right + [Prediction("b")] * (100 - right))
    words = linear_advice(own, linear)
    assert (words is not None) == as_good
    if words is not None:
        assert words.startswith(f"the linear model is as good: ship that (accuracy {right}.0% [")
        assert "against 90.0% [" in words
