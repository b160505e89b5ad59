"""Baselines: what is looked up, counted, regressed and matched by rules, on rows by hand"""

from dataclasses import replace

import pytest

from converters.data.rows import Row
from converters.errors import DataError
from converters.gates.baselines import baselines
from converters.recipe.recipe import Recipe
from edgeslm.evaluation.scoring import score

pytest.importorskip("sklearn")

DATA = {"files": [{"path": "x.jsonl", "url": "https://example.org/x", "licence": "MIT"}]}
EXAMPLES = [{"input": "x", "expected": "a"}]


def sorter(*labels):
    task = {"kind": "classify", "labels": list(labels)}
    return Recipe.model_validate(
        {
            "name": "sorter",
            "licence": "MIT",
            "base": "b",
            "task": task,
            "data": {**DATA, "label": "label"},
            "examples": [{"input": "x", "expected": labels[0]}],
        }
    )


def reader(*fields):
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in fields}}
    return Recipe.model_validate(
        {
            "name": "reader",
            "licence": "MIT",
            "base": "b",
            "task": {"kind": "extract", "json_schema": schema},
            "data": {**DATA, "answer": {name: {"source": name} for name in fields}},
            "examples": EXAMPLES,
        }
    )


def rows(*pairs):
    return [Row(id=str(i), input=text, answer=answer) for i, (text, answer) in enumerate(pairs)]


def answers(by_baseline):
    return {name: [p.answer for p in predictions] for name, predictions in by_baseline.items()}


def test_labels():
    train = rows(
        ("where is my card", "card"),
        ("my card did not arrive", "card"),
        ("card lost in the post", "card"),
        ("the exchange rate is wrong", "rate"),
        ("which exchange rate do you use", "rate"),
    )
    gold = rows(
        ("Where is  MY card", "card"), ("your exchange rate, please", "rate"), ("…", "card")
    )
    by_baseline = baselines(sorter("card", "rate"), train, gold)
    said = answers(by_baseline)
    assert said["majority"] == ["card"] * 3
    assert said["lookup"][:2] == ["card", "rate"]
    assert said["TF-IDF + logistic regression"][:2] == ["card", "rate"]
    assert all(0.5 <= p.confidence <= 1 for p in by_baseline["TF-IDF + logistic regression"])


def test_the_same_text_is_looked_up_before_the_nearest_one():
    train = rows(("pay pal", "a"), ("Pay  Pal", "b"), ("pay pal", "b"), ("pay pal now", "c"))
    said = answers(baselines(sorter("a", "b", "c"), train, rows(("PAY PAL", "b"))))
    assert said["lookup"] == ["b"]


def test_rows_count_for_as_many_as_they_stand_for():
    train = [
        Row("0", "tesco", "food", count=2),
        Row("1", "tesco", "fuel", count=5),
        Row("2", "shell", "fuel", count=9),
        Row("3", "spar", "food"),
        Row("4", "lidl", "food"),
    ]
    said = answers(baselines(sorter("food", "fuel"), train, rows(("Tesco", ""), ("tesco x", ""))))
    assert said["majority"] == ["fuel"] * 2
    assert said["lookup"] == ["fuel"] * 2
    assert said["TF-IDF + logistic regression, by number of rows"][0] == "fuel"
    alike = [replace(row, count=1) for row in train]
    assert "TF-IDF + logistic regression, by number of rows" not in baselines(
        sorter("food", "fuel"), alike, rows(("x", ""))
    )


def test_copies_are_answered_alike():
    asked = ["two trains", "one bus", "two trains"]
    train = rows(("one bus", "x"), ("two trains", "y"))
    said = answers(baselines(sorter("x", "y"), train, rows(*[(text, "") for text in asked])))
    assert said["lookup"] == ["y", "x", "y"]


def test_one_label_alone_leaves_nothing_to_regress():
    said = answers(baselines(sorter("a", "b"), rows(("x y", "a")), rows(("z", "b"))))
    assert said["TF-IDF + logistic regression"] == ["a"]


def test_fields():
    train = rows(
        ("nook in town 9.50", {"shop": "Nook", "total": "9.50"}),
        ("nook by the sea 3.00", {"shop": "Nook", "total": "3.00"}),
        ("bay 3.00", {"shop": "Bay", "total": "3.00"}),
        ("void", {"shop": None, "total": None}),
    )
    said = answers(baselines(reader("shop", "total"), train, rows(("by the sea", {}))))
    assert said["majority"] == [{"shop": "Nook", "total": "3.00"}]
    assert said["lookup"] == [{"shop": "Nook", "total": "3.00"}]
    assert "regular expressions" not in said


def test_receipts_have_rules():
    text = "CORNER SHOP SDN BHD\nNO. 1, JALAN X\nDATE 05/06/2018\nTOTAL 9.50"
    truth = {"company": "Corner Shop Sdn Bhd", "date": "2018-06-05", "total": "9.50"}
    gold = rows((text, {**truth, "address": "NO. 1, JALAN X"}))
    recipe = reader("company", "date", "address", "total")
    predictions = baselines(recipe, rows(("x", truth)), gold)["regular expressions"]
    assert score("extract", [gold[0].answer], predictions).exact.value == 1


def test_a_linear_reader_is_held_against_an_extractor_and_not_against_itself():
    texts = [f"shop {name}\ncash 9.00\ntotal {at}.50" for at, name in enumerate("abcdefgh", 10)]
    train = rows(
        *(
            (text, {"shop": text.split("\n")[0], "total": f"{at}.50"})
            for at, text in enumerate(texts, 10)
        )
    )
    gold = rows(("shop z\ncash 9.00\ntotal 77.50", {}))
    recipe = reader("shop", "total")
    [prediction] = baselines(recipe, train, gold)["linear reader"]
    assert prediction.answer["shop"] == "shop z"
    linear = recipe.model_copy(update={"kind": "linear"})
    assert "linear reader" not in baselines(linear, train, gold)


def test_a_schema_that_no_reader_can_answer_has_no_linear_reader():
    schema = {"type": "object", "properties": {"lines": {"type": "array"}}}
    recipe = reader("shop")
    task = recipe.task.model_copy(update={"json_schema": schema})
    recipe = recipe.model_copy(update={"task": task})
    said = baselines(recipe, rows(("x", {"lines": []})), rows(("y", {"lines": []})))
    assert "linear reader" not in said


def test_no_training_rows():
    with pytest.raises(DataError, match="run the data step"):
        baselines(sorter("a", "b"), [], rows(("x", "a")))
