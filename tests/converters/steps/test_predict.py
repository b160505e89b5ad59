"""Answers of a file under a card that it does not carry: the runtime's own, row by row"""

from converters.data.rows import Row
from converters.steps.predict import open_with_card, predict
from edgeslm.formats.card import Card

CARD = Card(name="tried", licence="MIT", task={"kind": "classify", "labels": ["billing", "refund"]})


def test_the_runtime_answers_under_the_card(tiny_model):
    texts = ["the bill", "x" * 50_000, "a refund"]
    rows = [Row(id=str(i), input=text, answer="refund") for i, text in enumerate(texts)]
    seen = []
    predictions = predict(tiny_model, CARD, rows, lambda *counts: seen.append(counts))
    assert [counts[1:] for counts in seen] == [(1, 3), (2, 3), (3, 3)]
    with open_with_card(tiny_model, CARD) as model:
        expected = model.classifier()("a refund")
    assert predictions[2].answer == expected.label
    assert predictions[2].confidence == expected.confidence
    assert predictions[1].answer is None
    assert "tokens" in predictions[1].error


def test_a_text_is_asked_once_and_answers_all_its_copies(tiny_model):
    texts = ["the bill", "a refund", "the bill"]
    rows = [Row(id=str(i), input=text, answer="refund") for i, text in enumerate(texts)]
    seen = []
    predictions = predict(tiny_model, CARD, rows, lambda *counts: seen.append(counts))
    assert [counts[1:] for counts in seen] == [(1, 2), (2, 2)]
    assert predictions[0] == predictions[2] != predictions[1]
