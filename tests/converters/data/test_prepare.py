"""The data step: what is kept, dropped and why; that parts share no text; that files are whole."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import converters.data.prepare as data_step
from converters.data.filter import Example
from converters.data.label_noise import label_suspects, unread_answers
from converters.data.near_duplicates import near_duplicates
from converters.data.prepare import prepare
from converters.data.rows import Row, read_rows, rows_sha256
from converters.data.split import divide, leaks
from converters.data.summary import DataSummary
from converters.errors import DataError, RecipeError
from converters.recipe.data import PARTS, Data
from converters.recipe.recipe import read_recipe
from edgeslm.formats.files import silent
from edgeslm.formats.text import fold
from tests.helpers.recipes import classify, extract, write_jsonl

ROOT = Path(__file__).resolve().parents[3]
WORDS = ["river", "stone", "cloud", "amber", "violet", "maple", "copper", "signal", "harbor", "oak"]
HALVES = {"gold": 0.2, "development": 0.2}


def sentence(seed: int) -> str:
    chosen = random.Random(seed)
    return " ".join(chosen.choices(WORDS, k=9)) + f" {seed}"


def labelled(count: int) -> list[dict]:
    return [{"text": sentence(i), "label": "ab"[i % 2]} for i in range(count)]


def run(recipe, folder):
    """The step, and its review rows as (id, why)."""
    summary = prepare(recipe, folder, folder / "out", silent)
    lines = (folder / "out" / "review.jsonl").read_text(encoding="utf-8").splitlines()
    return summary, [(row["id"], row["why"]) for row in map(json.loads, lines)]


# --- the whole step -----------------------------------------------------------


def test_files_and_summary_agree(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", labelled(60))
    summary, _ = run(classify("a.jsonl", labels=["a", "b", "$c|$"], split=HALVES), tmp_path)
    out = tmp_path / "out"
    parts = {part: read_rows(out / f"{part}.jsonl") for part in PARTS}
    assert DataSummary.model_validate_json((out / "summary.json").read_bytes()) == summary
    assert summary.read == 60 == summary.kept + sum(summary.dropped.values())
    assert summary.kept == sum(map(len, parts.values()))
    for part, rows in parts.items():
        part_summary = summary.parts[part]
        assert (part_summary.rows, part_summary.sha256) == (len(rows), rows_sha256(rows))
        assert part_summary.counts == {"$c|$": 0, **Counter(row.answer for row in rows)}
        assert all(row.category == row.answer and "".join(row.parts) == row.input for row in rows)
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "Without a training row: $c\\|$." in report
    assert "| a.jsonl | https://example.org | MIT |" in report
    assert list(out.glob("*.part")) == []


def test_the_step_gives_the_same_bytes_again(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", labelled(60))
    recipe = classify("a.jsonl", labels=["a", "b"], split=HALVES, max_rows=20)
    contents = []
    for _ in range(2):
        run(recipe, tmp_path)
        texts = sorted((tmp_path / "out").glob("*.*"))
        contents.append({path.name: path.read_bytes() for path in texts})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 7


def test_unusable_rows_go_to_review_and_not_away(tmp_path):
    odd = [
        {"id": "empty", "text": " ", "label": "a", "sure": 1},
        {"id": "foreign", "text": "other words", "label": "z", "sure": 1},
        {"id": "none", "text": "more words", "label": None, "sure": 1},
        {"id": "unsure", "text": "weak words", "label": "a", "sure": 0.84},
        {"id": "unknown", "text": "lone words", "label": "a"},
        {"id": "unknown", "text": "same name", "label": "z", "sure": 1},
    ]
    rows = [{**row, "sure": "0.85"} for row in labelled(60)]
    write_jsonl(tmp_path / "a.jsonl", [*odd, *rows])
    recipe = classify("a.jsonl", labels=["a", "b"], split=HALVES, confidence="sure")
    summary, review = run(recipe, tmp_path)
    assert review[:6] == [
        ("empty", "no input"),
        ("foreign", "label not in the set"),
        ("none", "no label"),
        ("unsure", "low confidence"),
        ("unknown", "low confidence"),
        ("a.jsonl:6", "label not in the set"),
    ]
    assert summary.dropped["label not in the set"] == 2
    assert summary.read == summary.kept + sum(summary.dropped.values())


def test_an_extraction_has_the_schemas_order_and_spellings(tmp_path):
    rows = [
        {"text": sentence(i), "key": {"date": "3/4/18", "shop": " A \n B", "total": "RM 1,000.5"}}
        for i in range(60)
    ]
    del rows[0]["key"]["shop"]
    write_jsonl(tmp_path / "a.jsonl", rows)
    run(extract("a.jsonl", split=HALVES), tmp_path)
    kept = [row for part in PARTS for row in read_rows(tmp_path / "out" / f"{part}.jsonl")]
    answers = {row.id: row.answer for row in kept}
    usual = {"shop": "A B", "date": "2018-04-03", "total": "1000.50"}
    assert answers.pop("a.jsonl:1") == {**usual, "shop": None}
    assert all(list(answer.items()) == list(usual.items()) for answer in answers.values())


def test_answers_that_do_not_fit_name_row_and_path(tmp_path):
    def bill(i, **key):
        return {"text": sentence(i), "key": {"shop": "A", "date": "2018-04-03", **key}}

    wrong = [bill(0, date="next week"), bill(1, total="1.005"), bill(2, shop="x" * 41)]
    write_jsonl(tmp_path / "a.jsonl", [*wrong, *(bill(i) for i in range(3, 63))])
    recipe = extract("a.jsonl", split=HALVES)
    run(recipe, tmp_path)
    lines = (tmp_path / "out" / "review.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    review = [json.loads(line) for line in lines]
    assert [row["why"] for row in review] == ["answer does not fit"] * 3
    for row, path in zip(review, ("/date", "/total", "/shop"), strict=True):
        assert f"at {path}: " in row["detail"]
    write_jsonl(tmp_path / "a.jsonl", [*wrong, bill(3), bill(4)])
    with pytest.raises(DataError, match=r"row a\.jsonl:1: at /date.*3 of 5 rows do not fit"):
        run(recipe, tmp_path)


def test_labels_that_differ_in_case_only_are_named(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [*labelled(4), {"text": "x", "label": "A"}])
    with pytest.raises(DataError, match=r"a\.jsonl:5: the label 'A' differs from the task's 'a'"):
        run(classify("a.jsonl", labels=["a", "b"]), tmp_path)


def test_answer_fields_are_those_of_the_schema(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    with pytest.raises(RecipeError, match=r"data\.answer\.date"):
        run(
            extract("a.jsonl", answer={"shop": {"source": "a"}, "total": {"source": "b"}}), tmp_path
        )


def test_a_recipe_for_other_data_says_so(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"words": "x", "label": "a"}] * 3)
    with pytest.raises(DataError, match=r"none of 3 rows.*row a\.jsonl:1: text is empty"):
        run(classify("a.jsonl", labels=["a", "b"]), tmp_path)


def test_a_part_without_rows_is_refused(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", labelled(2))
    with pytest.raises(DataError, match=r"no rows for \w+: 2 of 2 rows"):
        run(classify("a.jsonl", labels=["a", "b"]), tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_stops_half_way_leaves_no_summary_and_nothing_half_written(
    tmp_path, monkeypatch, stop
):
    write_jsonl(tmp_path / "a.jsonl", labelled(60))
    recipe = classify("a.jsonl", labels=["a", "b"], split=HALVES)
    run(recipe, tmp_path)

    def draw(path, _summary):
        path.write_bytes(b"half")
        raise stop

    monkeypatch.setattr(data_step, "draw", draw)
    expected = DataError if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        run(recipe, tmp_path)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "summary.json" not in names
    assert [name for name in names if name.endswith(".part")] == []


# --- copies, parts and leaks --------------------------------------------------


def examples(*rows):
    """From (input, answer) or (input, answer, group)."""
    return [Example(Row(str(i), row[0], row[1]), row[-1]) for i, row in enumerate(rows)]


def data(**keys):
    files = [{"path": "a.jsonl", "url": "u", "licence": "l"}]
    return Data.model_validate({"files": files, "label": "label", **keys})


def by_why(divided):
    return [(row.id, row.why) for row in divided.reviewed]


def test_copies_keep_the_answer_that_most_have():
    rows = [("Some Text", "a"), ("some  text", "b"), ("SOME TEXT\n", "b"), ("even", "a")]
    divided = divide(examples(*[(t, a, t) for t, a in [*rows, ("even", "b")]]), data(), silent)
    kept = [row.id for part in PARTS for row in divided.parts[part]]
    assert kept == ["1"]
    assert divided.exact_duplicates == 1
    assert sorted(by_why(divided)) == [(i, "contradictory") for i in "034"]


def test_a_group_is_in_one_part_and_held_out_traffic_stays_as_it_is():
    rows = [(f"paid {i % 3} at {shop}", "a", shop) for shop in WORDS for i in range(6)]
    divided = divide(examples(*rows), data(split={"group": "shop", **HALVES}), silent)
    shops = {part: {row.input.split()[-1] for row in divided.parts[part]} for part in PARTS}
    assert sum(map(len, shops.values())) == len(set().union(*shops.values())) == len(WORDS)
    for part in PARTS:
        assert len(divided.parts[part]) == len(shops[part]) * (3 if part == "train" else 6)
    assert shops["gold"] and shops["train"]


def test_the_less_precious_part_loses_a_near_duplicate():
    texts = [sentence(i) for i in range(40)]
    twins = [f"{text} x" for text in texts]
    rows = examples(*[(text, "a", text) for text in (*texts, *twins)])
    divided = divide(rows, data(split=HALVES), silent)
    kept = {row.input: part for part in PARTS for row in divided.parts[part]}
    dropped = [row for row in divided.reviewed if row.why == "near-duplicate"]
    assert len(kept) + len(dropped) == 80
    assert dropped
    assert leaks(divided.parts, 0.85) == 0
    for text in texts:
        pair = [kept.get(text), kept.get(f"{text} x")]
        # what stays of a pair is both in one held-out part, or one in whichever part is first
        assert pair[0] == pair[1] != "train" or None in pair
        assert any(pair)
    assert set(kept.values()) == set(PARTS)


def test_max_rows_bounds_training_alone():
    rows = examples(*[(sentence(i), "a", sentence(i)) for i in range(100)])
    free = divide(rows, data(split=HALVES), silent)
    bound = divide(rows, data(split=HALVES, max_rows=10), silent)
    assert len(bound.parts["train"]) == 10
    assert bound.over_max_rows == len(free.parts["train"]) - 10
    assert {**bound.parts, "train": 0} == {**free.parts, "train": 0}
    order = [int(row.id) for row in bound.parts["train"]]
    assert order == sorted(order)
    assert order != list(range(order[0], order[0] + 10))


def test_leaks_are_found():
    texts = [sentence(i) for i in range(3)]

    def rows(*inputs):
        return [Row(text, text, "a") for text in inputs]

    clean = {"gold": rows(texts[0]), "development": rows(texts[1]), "train": rows(texts[2])}
    assert leaks(clean, 0.85) == 0
    exact = {**clean, "train": rows(texts[2], texts[0].upper())}
    near = {**clean, "development": rows(texts[0] + " x")}
    assert (leaks(exact, 0.85), leaks(near, 0.85)) == (1, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("ab ", max_size=6), min_size=1, max_size=30), st.booleans())
def test_no_row_is_lost_and_no_text_is_in_two_parts(texts, grouped):
    rows = examples(*[(f"{text}.", i % 2, text) for i, text in enumerate(texts)])
    split = {**HALVES, "group": "x"} if grouped else HALVES
    divided = divide(rows, data(split=split), silent)
    kept = sum(map(len, divided.parts.values()))
    assert kept + divided.exact_duplicates + len(divided.reviewed) == len(rows)
    folded = [{fold(row.input) for row in divided.parts[part]} for part in PARTS]
    assert sum(map(len, folded)) == len(set().union(*folded))


# --- near-duplicates and noise ------------------------------------------------


def test_near_duplicates_are_those_of_the_exact_index():
    texts = ["I put the wrong pin too many times", "i put the WRONG pin  too many times!", "other"]
    assert list(near_duplicates(texts, 0.85, lambda a, b: True)) == [None, 0, None]
    assert list(near_duplicates(texts, 0.85, lambda a, b: False)) == [None] * 3
    assert list(near_duplicates(["ab", "ab", "ac"], 0.5, lambda a, b: True)) == [None, 0, None]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95, 1.0])
def test_nearly_all_pairs_above_the_threshold_are_found(threshold):
    chosen = random.Random(0)
    texts = []
    for _ in range(150):
        text = "".join(chosen.choices("abcdefghijklmnopqrstuvwxyz", k=204))
        # 200 runs of five letters; n further ones give an index of 200 / (200 + n)
        more = chosen.choices("0123456789", k=int(200 / threshold - 200))
        texts += [text, text + "".join(more)]
    twins = list(near_duplicates(texts, threshold, lambda a, b: True))
    assert twins[::2] == [None] * 150
    assert sum(twin is not None for twin in twins[1::2]) >= 142


def test_a_swapped_label_is_suspect():
    kinds = {"weather": "rain sun storm wind", "food": "bread soup rice cake"}
    chosen = random.Random(1)
    rows = [
        Row(str(i), " ".join(chosen.choices(words.split(), k=5)), kind)
        for i in range(60)
        for kind, words in kinds.items()
    ]
    rows[10] = Row("swapped", "rain storm sun rain wind", "food")
    suspects = label_suspects(rows)
    assert [suspect.row for suspect in suspects] == [10]
    assert "'food' seems to be 'weather'" in suspects[0].detail


def test_too_few_rows_have_no_suspects():
    assert label_suspects([Row("1", "a", "x"), Row("2", "b", "y")]) == []


def test_an_answer_that_is_not_in_its_text_is_suspect():
    rows = [
        Row("1", "ALDI\nSüd 3.50", {"shop": "Aldi Süd", "town": None}),
        Row("2", "LIDL 3.50", {"shop": "Aldi", "town": "x"}),
    ]
    assert [suspect.row for suspect in unread_answers(rows, ["shop"])] == [1]


# --- real data ----------------------------------------------------------------


def real(name: str) -> Path:
    folder = Path(os.environ.get("EDGESLM_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / name).is_file():
        pytest.skip(f"needs {name} in the folder that EDGESLM_DATA names")
    return folder


def test_real_receipts_fit_the_schema(tmp_path):
    folder = real("receipts.jsonl.gz")
    recipe = read_recipe(ROOT / "converters" / "recipes" / "receipt-fields.toml")
    summary = prepare(recipe, folder, tmp_path, silent)
    assert summary.read == 514
    assert "answer does not fit" not in summary.dropped
    assert summary.kept > 490
    assert summary.leaks == 0


@pytest.mark.slow
def test_real_support_intents_are_nearly_all_kept(tmp_path):
    folder = real("banking77.jsonl.gz")
    with gzip.open(folder / "banking77.jsonl.gz", "rt", encoding="utf-8") as lines:
        labels = sorted({json.loads(line)["label"] for line in lines})
    summary = prepare(classify("banking77.jsonl.gz", labels=labels), folder, tmp_path, silent)
    assert summary.read == 10_003
    assert 30 < summary.dropped["near-duplicate"] < 60
    assert 50 < summary.suspects < 600
    assert set(summary.dropped) <= {"near-duplicate", "exact duplicate", "contradictory"}
