"""Copies in training and rows held out of seen groups: counts, weights, and what stays apart"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from converters.data.filter import Example
from converters.data.prepare import prepare
from converters.data.rows import Row, is_drawn, read_rows, write_rows
from converters.data.split import divide, leaks
from converters.recipe.data import Data
from converters.recipe.recipe import Recipe
from converters.steps.linear import LinearWork
from edgeslm.formats.files import silent
from edgeslm.formats.text import fold
from tests.helpers.recipes import classify, extract, write_jsonl

FILES = [{"path": "a.jsonl", "url": "u", "licence": "l"}]
SPLIT = {"group": "text", "gold": 0.2, "development": 0.2, "seen": 0.3}
#: merchants without a run of five letters in common
SHOPS = ["tesco", "shell", "lidl plus", "amazon", "post office", "uber", "boots", "gregs", "wickes"]
#: their rows: the first has 12, the last 4
TRAFFIC = [(shop, "abc"[i % 3]) for at, shop in enumerate(SHOPS) for i in range(12 - at)]


def data(**keys) -> Data:
    return Data.model_validate({"files": FILES, "label": "label", **keys})


def examples(rows) -> list[Example]:
    return [Example(Row(str(i), text, label), text) for i, (text, label) in enumerate(rows)]


def linear(*labels: str, **keys) -> Recipe:
    """A recipe for a linear model; ``keys`` are those of its data table."""
    values = classify("a.jsonl", labels=[*labels]).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    values |= {"kind": "linear", "base": "", "data": {**values["data"], **keys}}
    return Recipe.model_validate(values)


# --- groups ---


def test_a_large_group_has_few_held_out_rows():
    rows = examples([(shop, "a") for shop in SHOPS for _ in range(40)])
    spec = {"gold": 0.3, "development": 0.3, "group": "text"}
    free = divide(rows, data(split=spec), silent).parts
    divided = divide(rows, data(split={**spec, "per_group": 7}), silent)
    for part in ("gold", "development"):
        few = Counter(row.input for row in divided.parts[part])
        assert set(few) == {row.input for row in free[part]}
        assert set(few.values()) == {7}
        assert {row.id for row in divided.parts[part]} < {row.id for row in free[part]}
    held_out = len(free["gold"]) + len(free["development"])
    assert divided.over_per_group == held_out * 33 // 40
    assert divided.parts["train"] == free["train"]


def test_rows_of_a_group_need_a_group():
    with pytest.raises(ValidationError, match="must have group beside it"):
        data(split={"per_group": 7})


# --- copies -------------------------------------------------------------------


def test_each_answer_of_an_input_stays_with_the_number_of_its_rows():
    rows = [("Tesco", "a"), ("tesco", "b"), (" TESCO", "b"), ("uber", "c"), ("shell", "a")]
    kept = divide(examples(rows), data(copies="all", weight_power=1), silent).parts
    kept_rows = [row for part in kept.values() for row in part]
    assert {(fold(r.input), r.answer): r.count for r in kept_rows} == Counter(
        (fold(text), answer) for text, answer in rows if fold(text) != "tesco"
    ) | {("tesco", "a"): 1, ("tesco", "b"): 2}


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_weights_are_powers_of_counts_with_a_mean_of_one(power):
    rows = [(shop, label) for shop in SHOPS for label in "aaaabb"]
    train = divide(examples(rows), data(copies="all", weight_power=power), silent).parts["train"]
    assert {row.count for row in train} == {2, 4}
    assert sum(row.weight for row in train) == pytest.approx(len(train))
    first, second = (next(row for row in train if row.count == n) for n in (4, 2))
    assert first.weight / second.weight == pytest.approx(2**power)


def test_a_majority_knows_how_many_it_has_and_weighs_as_one_row():
    rows = [(shop, label) for shop in SHOPS for label in "aab"]
    train = divide(examples(rows), data(), silent).parts["train"]
    assert {(row.answer, row.count, row.weight) for row in train} == {("a", 2, 1.0)}


def test_near_duplicates_stay_in_training_but_not_beside_held_out_rows():
    """All texts of a shop are near-duplicates of one another."""
    texts = {shop: [f"{shop} {'x' * n}" for n in range(40, 46)] for shop in SHOPS}
    rows = examples([(text, label) for some in texts.values() for text in some for label in "ab"])
    split = {"gold": 0.03, "development": 0.03, "group": "text"}
    divided = divide(rows, data(copies="all", split=split), silent)
    held_out = {row.input for part in ("gold", "development") for row in divided.parts[part]}
    assert held_out
    trained = Counter(row.input for row in divided.parts["train"])
    for some in texts.values():
        wanted = 0 if held_out & set(some) else 2
        assert {trained[text] for text in some if text not in held_out} == {wanted}


def test_max_rows_bounds_rows_of_all_answers():
    rows = examples(
        [(f"{shop} {i * 7919}", label) for shop in SHOPS for i in range(9) for label in "abc"]
    )
    free = divide(rows, data(copies="all", near_duplicate=1), silent)
    bound = divide(rows, data(copies="all", near_duplicate=1, max_rows=10), silent)
    assert len(bound.parts["train"]) == 10
    assert bound.over_max_rows == len(free.parts["train"]) - 10
    assert sum(row.weight for row in bound.parts["train"]) == pytest.approx(10)


# --- seen ---------------------------------------------------------------------


@pytest.mark.parametrize("copies", ["majority", "all"])
def test_seen_rows_are_of_groups_in_training_and_never_trained_on(copies):
    divided = divide(examples(TRAFFIC), data(copies=copies, split=SPLIT), silent)
    parts = divided.parts
    groups = {part: {row.input for row in rows} for part, rows in parts.items()}
    assert groups["seen"]
    assert groups["seen"] <= groups["train"]
    assert not groups["seen"] & (groups["gold"] | groups["development"])
    ids = [row.id for rows in parts.values() for row in rows]
    assert len(ids) == len(set(ids))
    assert leaks(parts, 0.85) == 0
    held = Counter(row.input for part in ("gold", "development", "seen") for row in parts[part])
    of_all = Counter(shop for shop, _ in TRAFFIC)
    if copies == "all":  # what is not held out is counted in training, and nothing twice
        counted = held.copy()
        for row in parts["train"]:
            counted[row.input] += row.count
        assert counted == of_all


def test_the_share_of_seen_rows_is_what_the_recipe_says():
    assert 0.27 < sum(is_drawn(str(i), 0.3) for i in range(3000)) / 3000 < 0.33


def test_a_group_that_training_lost_has_no_seen_rows():
    rows = examples([(shop, label) for shop in SHOPS for label in "abababab"])  # ties, mostly
    divided = divide(rows, data(split=SPLIT), silent)
    groups = {part: {row.input for row in rows} for part, rows in divided.parts.items()}
    assert groups["seen"] <= groups["train"]
    assert divided.group_not_in_training > 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text("ab ", max_size=6), min_size=1, max_size=30),
    st.sampled_from(["majority", "all"]),
)
def test_no_row_is_lost(texts, copies):
    rows = examples([(f"{text}.", "ab"[i % 2]) for i, text in enumerate(texts)])
    divided = divide(rows, data(copies=copies, split=SPLIT), silent)
    kept = sum(map(len, divided.parts.values()))
    counted = divided.exact_duplicates + divided.group_not_in_training + divided.over_max_rows
    assert kept + counted + len(divided.reviewed) == len(rows)


# --- the step -----------------------------------------------------------------


def test_the_step_writes_and_reports_seen_rows(tmp_path):
    write_jsonl(
        tmp_path / "a.jsonl", [{"text": t, "label": a} for t, a in [*TRAFFIC, ("zoo", "a")]]
    )
    recipe = linear("a", "b", "c", copies="all", split=SPLIT)
    summary = prepare(recipe, tmp_path, tmp_path / "out", silent)
    seen, train = (read_rows(tmp_path / "out" / f"{part}.jsonl") for part in ("seen", "train"))
    assert summary.parts["seen"].rows == len(seen) > 0
    assert summary.read == summary.kept + sum(summary.dropped.values())
    assert {row.input for row in seen} <= {row.input for row in train}
    assert max(row.count for row in train) > 1
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "No row of one of training, development and gold is the same as" in report
    assert "30%, by a hash of the row, are held out as seen" in report
    assert "that of n copies weighs n to the power of 0.5" in report
    work = LinearWork(recipe, tmp_path, tmp_path, tmp_path)
    assert tmp_path / "data" / "seen.jsonl" in work.results("data")
    assert "whose text is in training" in work.in_words("seen")
    assert work.in_words("gold").endswith("by a hash of text, unseen in training")


def test_options_that_are_off_run_nothing_again(tmp_path):
    def inputs(**keys):
        recipe = linear("a", "b", **keys)
        return LinearWork(recipe, tmp_path, tmp_path, tmp_path).inputs("data")

    plain = inputs(split={"group": "text"})
    assert inputs(split={"group": "text", "seen": 0}, weight_power=1) == plain
    assert inputs(split={"group": "text", "seen": 0.1}) != plain
    every = [inputs(split={"group": "text"}, copies="all", weight_power=p) for p in (0, 1)]
    assert len({plain, *every}) == 3


def test_rows_written_before_there_were_counts_are_read(tmp_path):
    line = '{"id": "1", "input": "x", "answer": "a", "category": "a", "parts": ["x"]}\n'
    (tmp_path / "train.jsonl").write_text(line, encoding="utf-8")
    [row] = read_rows(tmp_path / "train.jsonl")
    assert (row.count, row.weight) == (1, 1.0)
    counted = replace(row, count=4, weight=1.25)
    write_rows(tmp_path / "train.jsonl", [counted])
    assert read_rows(tmp_path / "train.jsonl") == [counted]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="must have group beside it"):
        data(split={"seen": 0.1})
    with pytest.raises(ValidationError, match="tasks that are answered by labels"):
        extract("a.jsonl", copies="all")
