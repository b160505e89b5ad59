"""Files of rows with known answers: what is read, what is refused, and with which words"""

import gzip
import re

import pytest

from edgeslm.errors import InputError
from edgeslm.evaluation.gold import Expected, GoldRow, read_baseline, read_gold
from edgeslm.formats.card import Head
from tests.evaluation.test_evaluate import lines

GOLD = [GoldRow("a refund please", "refund"), GoldRow("the bill", "billing", "7")]
HEADS = (
    Head(name="kind", labels=("bug", "wish")),
    Head(name="areas", labels=("ui", "docs"), multi_label=True),
)


def test_a_line_that_is_no_row_is_named_and_the_rest_is_read(tmp_path):
    path = lines(
        tmp_path / "gold.jsonl.gz",
        {"input": "one", "answer": "refund"},
        "",
        "{broken",
        "[1]",
        {"input": "two"},
        {"answer": "refund"},
        {"input": " ", "answer": "refund"},
        {"input": "three", "answer": 3},
        {"input": "four", "answer": "billing"},
    )
    gold = read_gold(path, "classify")
    assert [row.input for row in gold.rows] == ["one", "four"]
    assert [words.partition(":")[0] for words in gold.refused] == [
        f"gold.jsonl.gz, line {number}" for number in (3, 4, 5, 6, 7, 8)
    ]


OBJECT = Expected(frozenset({"object"}), ("shop", "total"))


@pytest.mark.parametrize(
    ("expected", "answer", "words"),
    [
        (OBJECT, "refund", 'must be an object of shop, total, .* it is "refund"'),
        (OBJECT, 7, "it is 7"),
        (OBJECT, ["a"], "must be an object"),
        (OBJECT, {"intent": "refund"}, 'must be an object of shop, total.*{"intent": "refund"}'),
        (OBJECT, "x" * 500, "x{99}…$"),
        (Expected(frozenset({"list"})), "refund", "must be a list, as"),
        (Expected(frozenset({"single value"})), {"a": 1}, "must be a single value, as"),
        (Expected(frozenset({"object", "list"}), ("a",)), "x", "a list or an object of a, as"),
    ],
)
def test_an_answer_to_another_task_is_refused_with_the_row_and_what_is_expected(
    tmp_path, expected, answer, words
):
    good = {"object": {"shop": "x", "a": 1}, "list": ["x"], "single value": "x"}
    rows = [{"input": "one", "answer": good[shape]} for shape in expected.shapes]
    rows += [{"input": "two", "answer": None}, {"input": "three", "answer": answer}]
    read = read_gold(lines(tmp_path / "gold.jsonl", *rows), "extract", expected=expected)
    assert len(read.rows) == len(rows) - 1
    assert len(read.refused) == 1
    assert re.match(rf'gold.jsonl, line {len(rows)}: (the "answer" )?.*{words}', read.refused[0])


@pytest.mark.parametrize("answer", [{}, {"shop": "x"}, {"shop": "x", "more": 1}, None])
def test_an_answer_that_has_some_of_the_fields_is_one(answer):
    OBJECT.check(answer)
    Expected().check(answer)


def test_a_line_too_long_is_skipped_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeslm.evaluation.gold.MAX_LINE_BYTES", 64)
    row = {"input": "one", "answer": "refund"}
    path = lines(tmp_path / "gold.jsonl", {**row, "input": "x" * 300}, row)
    gold = read_gold(path, "classify")
    assert [row.input for row in gold.rows] == ["one"]
    assert gold.refused == ("gold.jsonl, line 1: has more than 64 bytes; leave it out",)


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(b'{"input": 1}\n' * 999, mtime=0)[:-20]]
)
def test_a_file_that_cannot_be_read(tmp_path, data):
    path = tmp_path / "gold.jsonl.gz"
    with pytest.raises(InputError, match="cannot be read"):
        read_gold(path, "classify")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"gold\.jsonl\.gz: cannot be read"):
        read_gold(path, "classify")


def test_tags_are_read_head_by_head(tmp_path):
    good = {"kind": "bug", "areas": ["ui", "docs", "ui"]}
    path = lines(
        tmp_path / "gold.jsonl",
        {"input": "one", "answer": good},
        {"input": "two", "answer": "bug"},
        {"input": "three", "answer": {"kind": "bug"}},
        {"input": "four", "answer": {**good, "more": "x"}},
        {"input": "five", "answer": {**good, "kind": ["bug"]}},
        {"input": "six", "answer": {**good, "areas": "ui"}},
        {"input": "seven", "answer": {**good, "areas": [1]}},
    )
    gold = read_gold(path, "tag", HEADS)
    assert [row.answer for row in gold.rows] == [{"kind": "bug", "areas": ["docs", "ui"]}]
    assert [words.partition(": ")[2] for words in gold.refused] == [
        *['the "answer" must be an object of kind, areas'] * 3,
        "the answer of kind must be the name of a label",
        *["the answer of areas must be a list of labels"] * 2,
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (['{"input": "the bill"'], "line 1: not JSON"),
        ([{"input": "the bill"}], 'line 1: no "answer"'),
        ([{"answer": "billing"}], 'line 1: no "input"'),
        ([{"id": 7, "answer": "billing"}, {"id": "7", "answer": "refund"}], "line 2: a second"),
        ([{"id": 8, "answer": "billing"}], "is one of the gold rows"),
        ([], "is one of the gold rows"),
    ],
)
def test_a_baseline_that_cannot_be_compared(tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        read_baseline(lines(tmp_path / "other.jsonl", *rows), GOLD)


def test_the_hash_of_gold_rows_is_that_of_the_training_side(tmp_path):
    from converters.data.rows import Row, rows_sha256

    pairs = [{"input": row.input, "answer": row.answer} for row in GOLD]
    gold = read_gold(lines(tmp_path / "gold.jsonl", *pairs), "classify")
    rows = [Row(id="", input=row.input, answer=row.answer) for row in gold.rows]
    assert gold.sha256 == rows_sha256(rows)
