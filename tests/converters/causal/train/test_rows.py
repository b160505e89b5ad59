"""Which rows a training run scores, and how much each row counts in what it loses"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from converters.causal.base import load_base
from converters.causal.train import train
from converters.data.rows import Row
from edgeslm.engines.llama.tokenizer import LlamaTokenizer
from tests.converters.causal.train.test_train import DEVELOPMENT, ROWS, made_up
from tests.helpers.recipes import classify
from tests.helpers.tiny_gguf import write_tiny_gguf


def test_changed_copies_of_development_rows_are_scored_too(tmp_path: Path, monkeypatch):
    """Those that differ and are not too long; nothing of them is trained on."""
    gguf = write_tiny_gguf(tmp_path / "base.gguf", n_ctx=512)
    copies = {
        DEVELOPMENT[0].id: replace(DEVELOPMENT[0], input="changed"),
        DEVELOPMENT[1].id: replace(DEVELOPMENT[1], input="changed " * 500),
    }
    monkeypatch.setattr(
        train, "augmented", lambda rows, *_, **__: [copies.get(row.id, row) for row in rows]
    )
    tokenizer = LlamaTokenizer(gguf)
    try:
        run = train._Run(
            made_up(), load_base(gguf), tokenizer, ROWS[1:], DEVELOPMENT, out=tmp_path / "out"
        )
        scored = [tokenizer.detokenize(row.tokens) for row in run._development]
    finally:
        tokenizer.close()
    assert len(scored) == len(DEVELOPMENT) + 1
    assert sum(b"changed" in text for text in scored) == 1
    assert sum(DEVELOPMENT[0].input.encode() in text for text in scored) == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_row_counts_as_often_as_its_weight_says(tmp_path: Path, smoothing: float):
    """Three quarters and one quarter are the loss of three copies and one, per token."""
    gguf = write_tiny_gguf(tmp_path / "base.gguf", n_ctx=512)
    plain = classify("rows.jsonl", labels=["A", "B"])
    recipe = plain.model_copy(
        update={"train": plain.train.model_copy(update={"label_smoothing": smoothing})}
    )
    heavy, light = Row("heavy", "the same", "A"), Row("light", "the same", "B")
    tokenizer = LlamaTokenizer(gguf)

    def loss(*rows: Row) -> float:
        run = train._Run(recipe, load_base(gguf), tokenizer, rows, [heavy], out=tmp_path / "out")
        return float(run._loss(1, run._plain).detach())

    try:
        copies = loss(heavy, heavy, heavy, light)
        weighed = loss(replace(heavy, weight=1.5), replace(light, weight=0.5))
        alike = loss(heavy, light)
    finally:
        tokenizer.close()
    assert weighed == pytest.approx(copies, rel=1e-4)
    assert abs(alike - copies) > 1e-3, "both labels are lost alike: nothing is seen here"
