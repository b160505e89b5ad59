"""An encoder with classification heads: mean pooling, one linear layer, saved as one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from converters.encoder.heads import HeadSpec
from converters.errors import BaseModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
HEADS = "heads.json"
#: architectures whose inputs are ids and mask alone, with the positions counted from 0
ARCHITECTURES = ("bert",)
#: what a folder may hold beside the encoder: a pooler, heads of pre-training, a counted constant
_NOT_USED = ("pooler.", "cls.", "embeddings.position_ids")


class EncoderModel(torch.nn.Module):
    """A backbone (transformers' BertModel, without its pooler) and the heads over its mean.

    The heads are one linear layer, whose rows are all heads' labels one after the other.
    """

    def __init__(self, backbone: Any, heads: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = tuple(heads)
        self.dropout = torch.nn.Dropout(backbone.config.hidden_dropout_prob)
        labels = sum(len(head.labels) for head in heads)
        self.head = torch.nn.Linear(backbone.config.hidden_size, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, length] twice -> float32 [batch, labels of all heads]."""
        logits: Tensor = self.head(self.dropout(self.pooled(input_ids, attention_mask)))
        return logits

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of the last layer over the tokens of each text, float32 [batch, hidden]."""
        states: Tensor = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(1) / mask.sum(1).clamp(min=1)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, config.json and heads.json; LoRA factors are merged into the weights."""
        import copy

        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        backbone = self.backbone
        if hasattr(backbone, "merge_and_unload"):  # in a copy: training goes on
            backbone = copy.deepcopy(backbone).merge_and_unload()
        weights = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
        weights |= {f"head.{name}": value for name, value in self.head.state_dict().items()}
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
        backbone.config.to_json_file(folder / CONFIG)
        heads = json.dumps([asdict(head) for head in self.heads], ensure_ascii=False, indent=1)
        (folder / HEADS).write_text(heads + "\n", encoding="utf-8")


def load_backbone(folder: Path, *, dropout: float = 0.0) -> Any:
    """The encoder of a Hugging Face folder in float32, without its pooler.

    Raises:
        BaseModelError: missing, damaged, or of another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        backbone = fresh_backbone(folder, dropout)
        weights = load_file(folder / WEIGHTS)
        backbone.load_state_dict(
            {
                name.removeprefix("bert."): weight.float()
                for name, weight in weights.items()
                if not name.removeprefix("bert.").startswith(_NOT_USED)
            }
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(
            f"{folder}: not an encoder that can be trained: {error}; fetch it again"
        ) from error
    for name, weight in backbone.named_parameters():
        if not torch.isfinite(weight).all():
            raise BaseModelError(f"{folder}: its {name} holds values that are not numbers")
    return backbone


def fresh_backbone(folder: Path, dropout: float) -> Any:
    """An encoder of random weights, of the shape that config.json says."""
    from transformers import BertConfig, BertModel

    described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    architecture = described.get("model_type") if isinstance(described, dict) else None
    if architecture not in ARCHITECTURES:
        raise BaseModelError(
            f"{folder}: the architecture {architecture!r} is not trained as an encoder; "
            f"use one of {', '.join(ARCHITECTURES)}"
        )
    config = BertConfig.from_json_file(folder / CONFIG)
    config.hidden_dropout_prob = dropout
    config.attention_probs_dropout_prob = 0.0  # with it the fused attention is slower
    return BertModel(config, add_pooling_layer=False)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, which neither truncates nor pads.

    Raises:
        BaseModelError: missing or damaged.
    """
    from tokenizers import Tokenizer

    path = folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception for what it cannot read
        raise BaseModelError(f"{path}: cannot be read: {error}; fetch the encoder again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_encoder(folder: Path) -> tuple[EncoderModel, Tokenizer]:
    """The trained model of a folder (see `save_pretrained`) in evaluation mode, its tokenizer.

    Raises:
        BaseModelError: a file is missing or damaged, or they do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tokenizer = load_tokenizer(folder)
    try:
        described = json.loads((folder / HEADS).read_text(encoding="utf-8"))
        heads = [HeadSpec(h["name"], tuple(h["labels"]), bool(h["multi_label"])) for h in described]
        model = EncoderModel(fresh_backbone(folder, 0.0), heads)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(f"{folder}: no trained encoder: {error}; train it again") from error
    return model.eval(), tokenizer
