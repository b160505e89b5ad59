"""Encoded rows are the tokens of inference; row files are read back, or one clear error"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters.causal.encode import encode_rows, target_text
from converters.data.rows import Row, part_of, read_rows, rows_sha256, write_rows
from converters.errors import DataError
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.engines.llama.tokenizer import LlamaTokenizer
from edgeslm.formats.card import Card, ClassifyTask, ExtractTask, PromptSpec
from edgeslm.models.gguf import GgufModel
from tests.helpers.grammars import accepts
from tests.helpers.recipes import BILL_SCHEMA, classify, extract

TEXT = "Größe 12.50 <|im_end|> the total,\n2024-03-01  😀"
PROMPT = PromptSpec(system="Read the bill.", user="Bill:\n{{ text }}\nEnd of the bill")
BILL = {"shop": 'É "A" & Co', "date": None, "total": "-12.50"}


class Recording(LlamaEngine):
    """Keeps what it evaluates: sequences, position, token."""

    def evaluate(self, batch: Batch) -> Logits:
        self.rows = [
            *getattr(self, "rows", []),
            *zip(batch.sequences, batch.positions, batch.tokens, strict=True),
        ]
        return super().evaluate(batch)


@pytest.fixture
def recording(tiny_model: Path) -> Iterator[Recording]:
    engine = Recording(tiny_model, threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Iterator[LlamaTokenizer]:
    opened = LlamaTokenizer(tiny_model)
    yield opened
    opened.close()


def paths(rows: list) -> set[tuple[int, ...]]:
    """The token sequences that were evaluated, whole."""
    by_sequence: dict[int, dict[int, int]] = {}
    for sequences, position, token in rows:
        for sequence in sequences:
            by_sequence.setdefault(sequence, {})[position] = token
    return {tuple(places[p] for p in sorted(places)) for places in by_sequence.values()}


def test_a_classified_text_is_evaluated_as_it_was_trained(recording, tokenizer):
    task = ClassifyTask(labels=("refund", "not total", "address"))
    rows = [Row(label.name, TEXT, label.name) for label in task.labels]
    encoded = encode_rows(rows, task, PROMPT, tokenizer, max_tokens=500)
    model = GgufModel(recording, Card(name="x", licence="mit", task=task, prompt=PROMPT))
    model.classifier()(TEXT)
    prompt = {row.tokens[: row.start] for row in encoded}
    assert len(prompt) == 1
    (prompt_tokens,) = prompt
    at = [(position, token) for _, position, token in recording.rows]
    assert [token for p, token in sorted(at[: len(prompt_tokens)])] == list(prompt_tokens)
    later = {*at[len(prompt_tokens) :]}
    for row in encoded:  # all but the end, after which nothing is read
        for position, token in list(enumerate(row.tokens))[row.start : -1]:
            assert (position, token) in later
        assert row.answer == (*tokenizer.tokenize(row.id), tokenizer.vocab.end[0])


def test_an_extracted_text_is_evaluated_as_it_was_trained(recording, tokenizer):
    task = ExtractTask(json_schema=BILL_SCHEMA, max_tokens=200)
    (row,) = encode_rows([Row("1", TEXT, BILL)], task, PROMPT, tokenizer, max_tokens=500)
    model = GgufModel(recording, Card(name="x", licence="mit", task=task, prompt=PROMPT))
    model.extractor()(TEXT)
    at = sorted((position, token) for _, position, token in recording.rows[: row.start])
    assert [token for _, token in at] == list(row.tokens[: row.start])
    assert tokenizer.vocab.control[row.tokens[-1]] == "<|im_end|>"
    assert row.tokens.count(row.tokens[-1]) == 3  # two of the template, none of the text


def test_the_answer_is_spelled_as_the_grammar_lets_it_be():
    task = ExtractTask(json_schema=BILL_SCHEMA)
    assert target_text(task, BILL) == '{"shop":"É \\"A\\" & Co","date":null,"total":"-12.50"}'
    assert accepts(BILL_SCHEMA, target_text(task, BILL))
    loose = ExtractTask.model_validate(
        {"json_schema": BILL_SCHEMA, "style": {"item_separator": ", ", "key_separator": ": "}}
    )
    assert accepts(BILL_SCHEMA, target_text(loose, BILL), loose.style)
    assert not accepts(BILL_SCHEMA, target_text(loose, BILL))


def test_a_verbalizer_is_what_is_written():
    labels = [{"name": "refund", "verbalizer": "R"}, "other"]
    assert target_text(ClassifyTask.model_validate({"labels": labels}), "refund") == "R"


def test_a_row_over_the_limit_is_named(tokenizer):
    task = classify("a", labels=["a", "b"]).task
    rows = [Row("short", "x", "a"), Row("file.jsonl:7", "total " * 50, "b")]
    encode_rows(rows[:1], task, PROMPT, tokenizer, max_tokens=60)
    with pytest.raises(DataError, match=r"row file\.jsonl:7: \d+ tokens, over the 60 of train"):
        encode_rows(rows, task, PROMPT, tokenizer, max_tokens=60)


# --- rows ---------------------------------------------------------------------

ROWS = [Row("a:1", "é\u2028x", {"shop": None}, "shop", ("é", "\u2028x")), Row("a:2", "y", "label")]


def test_rows_are_read_as_they_were_written(tmp_path):
    write_rows(tmp_path / "rows.jsonl", ROWS)
    assert read_rows(tmp_path / "rows.jsonl") == ROWS
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("line", "number"),
    [(b"\xff\n", 1), (b"{}\n", 1), (b"[1]\n", 1), (b"3\n", 1), (b'{"id": "x"', 1), (b"{", 3)],
)
def test_a_damaged_line_is_named(tmp_path, line, number):
    path = tmp_path / "rows.jsonl"
    write_rows(path, ROWS)
    whole = path.read_bytes() if number == 3 else b""
    path.write_bytes(whole + line)
    with pytest.raises(DataError, match=rf"rows\.jsonl, line {number}: damaged"):
        read_rows(path)


def test_a_missing_file_says_which_step_makes_it(tmp_path):
    with pytest.raises(DataError, match="run the data step first"):
        read_rows(tmp_path / "train.jsonl")


def test_parts_are_fixed_by_the_folded_key():
    keys = [f"some {i}" for i in range(4000)]
    parts = [part_of(key, gold=0.2, development=0.1) for key in keys]
    assert parts == [part_of(f"  {key.upper()}\n", gold=0.2, development=0.1) for key in keys]
    assert parts.count("gold") / 4000 == pytest.approx(0.2, abs=0.03)
    assert parts.count("development") / 4000 == pytest.approx(0.1, abs=0.03)
    more = [part_of(key, gold=0.3, development=0.1) for key in keys]
    assert all(b == "gold" for a, b in zip(parts, more, strict=True) if a == "gold")


def test_the_hash_tells_inputs_answers_and_order():
    assert rows_sha256(ROWS) == rows_sha256(list(ROWS))
    others = [ROWS[::-1], ROWS[:1], [Row("a:1", "z", ROWS[0].answer), ROWS[1]]]
    assert len({rows_sha256(rows) for rows in [ROWS, *others]}) == 4


def test_extraction_recipes_encode_their_own_rows(tokenizer):
    recipe = extract("a.jsonl")
    (row,) = encode_rows(
        [Row("1", TEXT, BILL)], recipe.task, recipe.prompt, tokenizer, max_tokens=500
    )
    assert json.loads(target_text(recipe.task, BILL)) == BILL
    assert len(row.answer) > 1
