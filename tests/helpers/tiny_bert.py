"""Writes tiny random BERT folders with a word-level tokenizer, for tests without downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from converters.encoder.model import EncoderModel, HeadSpec
from tests.helpers.tiny_onnx import tokenizer_json

HIDDEN = 32


def tiny_backbone(words: int, *, seed: int = 0, layers: int = 2) -> BertModel:
    """A random encoder of ``words`` words and 4 special tokens."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=words + 4,
        hidden_size=HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def tiny_encoder(words: int, labels: Sequence[str]) -> EncoderModel:
    """The same with an untrained head."""
    return EncoderModel(tiny_backbone(words), [HeadSpec("", tuple(labels))]).eval()


def write_tiny_bert(folder: Path, words: Sequence[str]) -> Path:
    """The base of an encoder's recipe."""
    tiny_backbone(len(words)).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json(words), encoding="utf-8")
    return folder
