"""Gold rows through a model: scored, compared with others, and held to a bar"""

import gzip
import json

import numpy as np
import onnx
import pytest

from converters.onnx.linear import LinearModel, write_linear
from edgeslm.engines.onnx.features import FeatureSpec, Terms
from edgeslm.errors import ArgumentError, CardError, InputError
from edgeslm.evaluation.evaluate import evaluate, expected_of, task_of
from edgeslm.evaluation.gold import read_gold
from edgeslm.formats.card import Card, CategoryScore, Score
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.models.gguf import GgufModel
from edgeslm.models.load import load
from edgeslm.testing import ScriptedEngine
from tests.helpers.tiny_onnx import write_mixed_onnx, write_tiny_onnx

LABELS = {"kind": "classify", "labels": ["billing", "refund"]}
FIELDS = {
    "kind": "extract",
    "json_schema": {
        "type": "object",
        "properties": {
            "shop": {"type": ["string", "null"], "maxLength": 20},
            "total": {"type": "integer"},
        },
        "required": ["shop", "total"],
    },
}


def card(task, *scores):
    return Card(name="tried", licence="MIT", task=task, scores=scores)


def lines(path, *rows):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def sorter(*scores):
    """A model that says refund where the text has the word, else billing."""

    def script(prompt):
        return "refund" if "refund" in prompt.rpartition("user\n")[2] else "billing"

    return GgufModel(ScriptedEngine(script), card(LABELS, *scores))


def linear_file(path, labels, words):
    """A linear specialist that says each label where its word is in the text."""
    spec = FeatureSpec(
        documents=1,
        words=Terms(terms=words, frequencies=(1,) * len(words)),
        letters=Terms(terms=(), frequencies=()),
    )
    weights = np.eye(len(words), len(labels), dtype=np.float32)
    bias = np.zeros(len(labels), np.float32)
    write_linear(LinearModel(labels, spec, weights, bias, 1.0, 1.0, 1.0, len(words)), path)
    proto = onnx.load(path)
    promise = card({"kind": "classify", "labels": list(labels)}).to_json()
    proto.metadata_props.append(onnx.StringStringEntryProto(key=CARD_KEY, value=promise))
    onnx.save(proto, path)
    return path


@pytest.fixture
def gold(tmp_path):
    rows = [
        {"input": "a refund please", "answer": "refund"},
        {"text": "the bill", "label": "billing", "id": 7},
        {"input": "money back", "expected": "refund"},
    ]
    return read_gold(lines(tmp_path / "gold.jsonl", *rows), "classify")


def test_labels_through_a_model(gold):
    report = evaluate(sorter(), gold)
    assert report.scores.accuracy.value == pytest.approx(2 / 3)
    assert report.scores.ece is not None
    assert report.latency.n == 3
    assert 0 < report.latency.p50_ms <= report.latency.p95_ms
    assert report.bar is None
    assert report.passed


def test_values_through_a_model_and_a_row_that_fails(tmp_path):
    truth = {"shop": "nook", "total": 12}
    rows = [{"input": "Nook 12", "answer": truth}, {"input": "x" * 90_000, "answer": truth}]
    answer = '{"shop":"Nook","total":12}'
    model = GgufModel(ScriptedEngine(answer, sharpness=40.0), card(FIELDS))
    report = evaluate(model, read_gold(lines(tmp_path / "gold.jsonl", *rows), "extract"))
    assert report.scores.failed == 1
    assert "tokens" in report.first_failure
    assert report.scores.exact.value == 0.5
    assert report.scores.f1.value == pytest.approx(2 * 2 / (2 + 4))
    assert report.latency.n == 1


@pytest.mark.parametrize(
    ("schema", "shapes", "names"),
    [
        (FIELDS["json_schema"], {"object"}, ("shop", "total")),
        ({"type": "array", "items": {"type": "string"}}, {"list"}, ()),
        ({"type": ["string", "null"]}, {"single value"}, ()),
        (
            {"anyOf": [{"type": "array"}, FIELDS["json_schema"]]},
            {"list", "object"},
            ("shop", "total"),
        ),
    ],
)
def test_what_an_answer_can_be_is_what_the_card_s_schema_allows(schema, shapes, names):
    expected = expected_of(card({**FIELDS, "json_schema": schema}))
    assert (expected.shapes, expected.fields) == (shapes, names)
    assert expected_of(card(LABELS)) is expected_of(None) is None


def test_no_rows_is_an_error_that_shows_the_form(tmp_path):
    nothing = read_gold(lines(tmp_path / "gold.jsonl", "{}"), "classify")
    with pytest.raises(InputError, match=r'no rows \{"input".*line 1: no "input"'):
        evaluate(sorter(), nothing)


def test_a_model_without_a_card_has_no_task():
    with pytest.raises(CardError, match="edgeslm pack"):
        task_of(None)


def test_rows_that_are_known_by_heart_are_counted(tmp_path):
    rows = [
        {"input": "where is  it?", "answer": "shipping"},
        {"input": "where is what?", "answer": "shipping"},
    ]
    gold = read_gold(lines(tmp_path / "g.jsonl", *rows), "classify")
    with load(write_mixed_onnx(tmp_path / "mixed.onnx")) as model:
        report = evaluate(model, gold)
    assert report.known_by_heart == 1
    assert evaluate(sorter(), gold).known_by_heart == 0


def test_a_label_that_the_model_has_not_is_named(tmp_path):
    rows = [{"input": "the bill", "answer": "billing"}, {"input": "a bill", "answer": "biling"}]
    report = evaluate(sorter(), read_gold(lines(tmp_path / "g.jsonl", *rows), "classify"))
    assert report.unknown_labels == ("biling",)
    assert report.scores.accuracy.value == 0.5


# --- taggers --------------------------------------------------------------------

TAGS = {
    "kind": "tag",
    "heads": [
        {"name": "kind", "labels": ["bug", "wish"]},
        {"name": "areas", "labels": ["ui", "docs", "api"], "multi_label": True, "threshold": 0.9},
    ],
}
TAG_ROWS = [
    {"input": "bug ui docs", "answer": {"kind": "bug", "areas": ["ui", "docs"]}},
    {"input": "wish", "answer": {"kind": "wish", "areas": []}},
    {"input": "wish api", "answer": {"kind": "bug", "areas": ["api"]}},
    {"input": "bug", "answer": {"kind": "bug", "areas": ["cli"]}},
]


def tagger_file(path, *scores):
    """A tagger that says the labels whose words are in the text."""
    return write_tiny_onnx(path, card(TAGS, *scores), weight=80.0)


def tag_gold(path, *rows):
    heads = card(TAGS).task.heads
    return read_gold(lines(path, *rows or TAG_ROWS), "tag", heads)


def test_tags_through_a_model(tmp_path):
    with load(tagger_file(tmp_path / "tags.onnx")) as model:
        report = evaluate(model, tag_gold(tmp_path / "gold.jsonl"))
    assert report.scores.exact.value == 0.5
    assert report.scores.heads["kind"].accuracy.value == 0.75
    areas = report.scores.heads["areas"]
    assert areas.exact.value == 0.75
    # ui, docs and api are as they should be, cli is never said
    assert areas.macro_f1.value == pytest.approx(3 / 4)
    assert report.unknown_labels == ("areas: cli",)
    assert report.latency.n == 4
    assert report.passed


@pytest.mark.parametrize(("low", "passed"), [(0.5, True), (0.51, False)])
def test_the_bar_of_tags_is_that_of_whole_records(tmp_path, low, passed):
    promised = (own("field F1", 0.99), own("whole record right", low))
    with load(tagger_file(tmp_path / "tags.onnx", *promised)) as model:
        report = evaluate(model, tag_gold(tmp_path / "gold.jsonl"))
    assert (report.bar.value, report.passed) == (low, passed)


def test_a_tagger_against_another_and_against_a_file(tmp_path):
    gold = tag_gold(tmp_path / "gold.jsonl")
    path = tagger_file(tmp_path / "tags.onnx")
    said = lines(tmp_path / "other.jsonl", *TAG_ROWS[:1], *TAG_ROWS[2:])
    with load(path) as model:
        same = evaluate(model, gold, baseline=path).baseline
        other = evaluate(model, gold, baseline=said).baseline
        with pytest.raises(CardError, match="another kind of task"):
            labels = linear_file(tmp_path / "linear.onnx", ("a", "b"), ("x", "y"))
            evaluate(model, gold, baseline=labels)
    assert (same.comparison.difference.value, same.advice) == (0, None)
    assert other.missing == 1
    assert (other.comparison.only_first, other.comparison.only_second) == (2, 1)


# --- how texts are compared -----------------------------------------------------


def shopper(*scores):
    answer = '{"shop":"NO 3 JALAN","total":12}'
    return GgufModel(ScriptedEngine(answer, sharpness=40.0), card(FIELDS, *scores))


@pytest.fixture
def shops(tmp_path):
    row = {"input": "No. 3, Jalan 12", "answer": {"shop": "No. 3, Jalan", "total": 12}}
    return read_gold(lines(tmp_path / "gold.jsonl", row), "extract")


@pytest.mark.parametrize(
    ("fold", "exact"), [(None, 0), ("case", 0), ("punctuation", 1), ("none", 0)]
)
def test_values_are_compared_as_the_caller_says(shops, tmp_path, fold, exact):
    other = lines(tmp_path / "other.jsonl", {"input": "No. 3, Jalan 12", "answer": {"total": 12}})
    report = evaluate(shopper(), shops, fold=fold, baseline=other)
    assert report.fold == report.scores.fold == report.baseline.scores.fold == (fold or "case")
    assert report.scores.exact.value == exact
    assert report.baseline.comparison.only_second == exact
    assert {name: one.exact.value for name, one in report.folds.items()} == {
        "case": 0,
        "punctuation": 1,
        "none": 0,
    }
    assert report.folds[report.fold].f1 == report.scores.f1


def test_the_bar_is_that_of_a_score_compared_in_the_same_way(shops):
    case = own("field F1", 0.4)
    model = shopper(case, case.model_copy(update={"fold": "punctuation", "interval": (0.9, 1.0)}))
    bars = {fold: evaluate(model, shops, fold=fold).bar for fold in ("case", "punctuation", "none")}
    assert {fold: bar and bar.value for fold, bar in bars.items()} == {
        "case": 0.4,
        "punctuation": 0.9,
        "none": None,
    }


def test_labels_are_compared_as_they_are(gold):
    report = evaluate(sorter(), gold)
    assert (report.fold, report.folds) == (None, {})
    with pytest.raises(InputError, match="fold 'case' is for values that are extracted"):
        evaluate(sorter(), gold, fold="case")
    with pytest.raises(ArgumentError, match="fold must be 'case' or 'punctuation' or 'none'"):
        evaluate(sorter(), gold, fold="Case")


# --- the bar --------------------------------------------------------------------


def own(metric, low, value=0.9):
    return Score(
        metric=metric,
        value=value,
        interval=(low, 1.0),
        n=300,
        gold="held out",
        by_category={"refund": CategoryScore(n=9, value=1.0)},
    )


@pytest.mark.parametrize(("low", "passed"), [(0.66, True), (0.67, False)])
def test_the_bar_is_the_lower_end_of_the_cards_own_interval(gold, low, passed):
    report = evaluate(sorter(own("macro-F1", 0.99), own("accuracy", low)), gold)
    assert report.bar.value == low
    assert "held out" in report.bar.source
    assert report.passed is passed


def test_the_callers_bar_comes_first(gold):
    model = sorter(own("accuracy", 0.99))
    assert evaluate(model, gold, min_score=0.5).passed
    assert not evaluate(model, gold, min_score=0.9).passed


# --- the baseline ---------------------------------------------------------------


def test_another_system_on_the_same_rows(gold, tmp_path):
    others = lines(
        tmp_path / "other.jsonl",
        {"input": "a refund please", "answer": "billing"},
        {"id": "7", "answer": "billing"},
        {"input": "of another set", "answer": "billing"},
    )
    rival = evaluate(sorter(), gold, baseline=others).baseline
    assert rival.missing == 1
    assert rival.scores.accuracy.value == pytest.approx(1 / 3)
    assert rival.comparison.difference.value == pytest.approx(1 / 3)
    assert (rival.comparison.only_first, rival.comparison.only_second) == (0, 1)


def test_another_model_answers_the_same_rows(gold, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeslm.evaluation.evaluate.load", lambda _path: sorter())
    rival = evaluate(sorter(), gold, baseline=tmp_path / "other.gguf").baseline
    assert (rival.missing, rival.advice) == (0, None)
    assert rival.comparison.difference.value == 0


def test_a_linear_model_that_is_as_good_is_advised(gold, tmp_path):
    labels, words = ("billing", "refund"), ("bill", "refund")
    path = linear_file(tmp_path / "linear.onnx", labels, words)
    report = evaluate(sorter(), gold, baseline=path)
    assert report.baseline.scores.accuracy.value == pytest.approx(2 / 3)
    assert report.baseline.advice.startswith("the linear model is as good: ship that (accuracy")
    worse = linear_file(tmp_path / "worse.onnx", labels, ("refund", "bill"))
    assert evaluate(sorter(), gold, baseline=worse).baseline.advice is None


def test_a_model_of_another_task_is_no_baseline(gold, tmp_path, monkeypatch):
    reader = GgufModel(ScriptedEngine("{}"), card(FIELDS))
    monkeypatch.setattr("edgeslm.evaluation.evaluate.load", lambda _path: reader)
    with pytest.raises(CardError, match=r"other\.gguf: its card has another kind of task"):
        evaluate(sorter(), gold, baseline=tmp_path / "other.gguf")
