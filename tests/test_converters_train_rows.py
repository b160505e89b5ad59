"""Which rows a training run scores: the development rows, and what augmentation makes of them"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from test_converters_train import DEVELOPMENT, ROWS, made_up
from tiny_gguf import write_tiny_gguf

from converters import train
from converters.base import load_base
from edgeslm.engines.llama_tokenizer import LlamaTokenizer


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
