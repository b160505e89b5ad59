"""The linear specialist: what is trained, what its file answers, what does not fit is dropped"""

from dataclasses import replace

import numpy as np
import pytest

from converters.data.rows import Row
from converters.errors import DataError, RecipeError
from converters.onnx.linear import fit_features, train_linear, write_linear
from converters.recipe.recipe import Recipe
from edgeslm.engines.onnx.features import LinearFeatures
from edgeslm.formats.card import Card, ExtractTask
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.models.onnx import open_onnx

pytest.importorskip("sklearn", reason="the train extra is not installed")
onnx = pytest.importorskip("onnx", reason="the train extra is not installed")

WORDS = {
    "refund": ["money back", "refund me", "return the payment"],
    "shipping": ["where is the parcel", "late delivery", "track my package"],
    "billing": ["wrong invoice", "the bill is too high", "charged twice"],
}
ENDS = ["please", "now", "thanks", "today", "for order {i}", "since monday", "again {i}"]


def recipe(labels=tuple(WORDS), **more):
    return Recipe.model_validate(
        {
            "kind": "linear",
            "name": "tiny-linear",
            "licence": "MIT",
            "task": {"kind": "classify", "labels": list(labels)},
            "data": {
                "files": [{"path": "x.jsonl", "url": "https://example.com", "licence": "MIT"}],
                "label": "label",
            },
            "examples": [{"input": "money back", "expected": labels[0]}],
            **more,
        }
    )


def rows(labels=tuple(WORDS), start=0):
    return [
        Row(f"{label} {i}", f"{words} {end.format(i=i + start)}", label)
        for label in labels
        for i, (words, end) in enumerate((words, end) for words in WORDS[label] for end in ENDS)
    ]


@pytest.fixture(scope="module")
def model():
    return train_linear(recipe(), rows(), rows(start=100))


def packed(model, path, **calibration):
    """The file with a card, as the pack step writes it."""
    write_linear(model, path)
    proto = onnx.load(path)
    task = {"kind": "classify", "labels": list(model.labels)}
    card = {"name": "tiny-linear", "licence": "MIT", "task": task, **calibration}
    text = Card.from_dict(card, where="here").to_json()
    proto.metadata_props.append(onnx.StringStringEntryProto(key=CARD_KEY, value=text))
    onnx.save(proto, path)
    return path


def test_what_is_trained_knows_its_task(model):
    assert model.accuracy == model.accuracy_all == 1.0
    assert model.weights.shape == (model.spec.size, 3)
    assert model.features_all == model.spec.size
    texts = [row.input for row in rows(start=500)]
    labels = [model.labels[i] for i in model.logits(texts).argmax(axis=1)]
    assert labels == [row.answer for row in rows(start=500)]


def test_the_file_answers_as_the_float_weights_do(model, tmp_path):
    with open_onnx(packed(model, tmp_path / "x.onnx")) as loaded:
        classify = loaded.classifier()
        for row in rows(start=7):
            scores = model.logits([row.input])[0].astype(float)
            shares = np.exp(scores - scores.max())
            answer = classify(row.input)
            assert list(answer.probabilities) == list(model.labels)
            np.testing.assert_allclose(
                list(answer.probabilities.values()), shares / shares.sum(), atol=0.02
            )
            assert answer.label == model.labels[int(scores.argmax())]


def test_texts_together_and_unknown_ones_have_answers(model, tmp_path):
    texts = ["money back", "§§", "where is the parcel now and the other one, too"]
    with open_onnx(packed(model, tmp_path / "x.onnx")) as loaded:
        classify = loaded.classifier()
        together = list(classify.map(texts))
        for text, answer in zip(texts, together, strict=True):
            assert answer.probabilities == pytest.approx(classify(text).probabilities, abs=1e-6)
    bias = np.exp(model.bias.astype(float))
    assert list(together[1].probabilities.values()) == pytest.approx(
        list(bias / bias.sum()), abs=1e-5
    )


def test_two_labels_have_two_logits(tmp_path):
    labels = ("refund", "billing")
    model = train_linear(recipe(labels), rows(labels), rows(labels, start=9))
    assert model.weights.shape[1] == len(model.bias) == 2
    assert model.accuracy == 1.0
    with open_onnx(packed(model, tmp_path / "x.onnx")) as loaded:
        classify = loaded.classifier()
        assert classify("money back").label == "refund"
        assert classify("wrong invoice").label == "billing"


def test_the_regression_is_scikit_learns(model):
    from sklearn.linear_model import LogisticRegression

    texts, truth = [r.input for r in rows()], [model.labels.index(r.answer) for r in rows()]
    features = LinearFeatures(model.spec)
    table = np.zeros((len(texts), features.size), np.float32)
    for row, text in zip(table, texts, strict=True):
        ids, values = features([text])
        row[ids[0]] = values[0]
    fitted = LogisticRegression(C=model.strength, max_iter=300, tol=1e-3).fit(table, truth)
    np.testing.assert_allclose(model.logits(texts), fitted.decision_function(table), atol=0.02)


def test_rows_count_for_their_weights():
    contradictory = [Row("one", "money", "refund", weight=0.1), Row("two", "money", "billing")]
    labels = ("refund", "billing")
    swapped = [replace(row, weight=1.1 - row.weight) for row in contradictory]
    for pair, wanted in ((contradictory, 1), (swapped, 0)):
        logits = train_linear(recipe(labels), pair, rows(labels)).logits(["money"])
        assert logits.argmax() == wanted


def test_a_file_that_would_be_too_large_keeps_the_heaviest_features(model, tmp_path):
    small = train_linear(recipe(), rows(), rows(start=100), max_bytes=1_000_000 + 1200)
    assert 0 < small.spec.size < small.features_all == model.spec.size
    heaviest = np.abs(model.weights).max(axis=1)
    terms = (*model.spec.words.terms, *model.spec.letters.terms)
    kept = set(small.spec.words.terms) | set(small.spec.letters.terms)
    dropped = [w for w, term in zip(heaviest, terms, strict=True) if term not in kept]
    taken = [w for w, term in zip(heaviest, terms, strict=True) if term in kept]
    assert np.median(taken) > np.median(dropped)
    assert small.accuracy > 0.9
    write_linear(small, tmp_path / "small.onnx")
    write_linear(model, tmp_path / "large.onnx")
    sizes = [(tmp_path / name).stat().st_size for name in ("small.onnx", "large.onnx")]
    assert sizes[0] < sizes[1]
    assert sizes[0] < 1200 + 3000  # the graph itself takes about 1 kB
    assert {path.name for path in tmp_path.iterdir()} == {"small.onnx", "large.onnx"}


def test_progress_is_reported():
    told = []
    train_linear(recipe(), rows(), rows(start=3), report=told.append)
    assert len(told) == 4
    assert all("of development rows" in line for line in told)


@pytest.mark.parametrize(
    ("training", "development", "words"),
    [
        (rows(("refund", "billing")), rows(), "no training rows for 'shipping'"),
        (rows(), [], "no development rows"),
        (rows(), [Row("odd", "text", "other")], "row odd: 'other' is no label"),
    ],
)
def test_rows_that_do_not_do_are_refused(training, development, words):
    with pytest.raises(DataError, match=words):
        train_linear(recipe(), training, development)


def test_a_task_without_labels_is_refused():
    task = ExtractTask(json_schema={"type": "object", "properties": {"a": {"type": "string"}}})
    with pytest.raises(RecipeError, match="classify"):
        train_linear(recipe().model_copy(update={"task": task}), rows(), rows())


def test_texts_without_any_term_have_no_features():
    assert fit_features(["", " "]).size == 0
