"""Quantization-aware training of encoders: layers compute as they will in an "int8" file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from converters.encoder import tables
from converters.encoder.tables import STEPS, Bits, block_of

#: an output's weights are -64 to 64 times its scale: the 7 bits that every processor sums alike
_WEIGHT_STEPS = 64
#: a text's inputs are 0 to 255 times its scale, less a zero point
_INPUT_STEPS = 255
#: ranges are no smaller, so that zeros stay zeros
_TINY = 1e-30


def round_layers(backbone: Any, *, embedding_bits: Bits = 8) -> None:
    """Let a BERT compute with rounded embeddings, weights and inputs of layers from now on.

    The layers keep their parameters and these their names, so what is saved is unrounded; the
    gradients are those of unrounded layers (straight-through, Bengio et al. 2013).
    """
    lengths = _Lengths()
    backbone.register_forward_pre_hook(lengths.note, with_kwargs=True)
    parents = [module for module in backbone.modules() if not isinstance(module, nn.Linear)]
    for parent in parents:
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, RoundedLinear(child, lengths))
    words = backbone.get_input_embeddings()
    if words.weight.numel() > tables.LARGE_TABLE:
        backbone.set_input_embeddings(RoundedEmbedding(words, embedding_bits))


class _Lengths:
    """The attention mask of the batch that is under way: padding is in no text's range."""

    mask: Tensor

    def note(self, _backbone: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        self.mask = kwargs["attention_mask"]


class RoundedLinear(nn.Module):
    """A linear layer [batch, length, in] -> [batch, length, out] over rounded numbers."""

    def __init__(self, plain: nn.Linear, lengths: _Lengths) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        self._lengths = lengths

    def forward(self, x: Tensor) -> Tensor:
        apply: Callable[..., Tensor] = _StraightThrough.apply
        x = apply(x, lambda values: round_inputs(values, self._lengths.mask))
        return nn.functional.linear(x, apply(self.weight, round_weights), self.bias)


class RoundedEmbedding(nn.Module):
    """Embeddings int64 [batch, length] -> [batch, length, width], each rounded block by block."""

    def __init__(self, plain: nn.Embedding, bits: Bits) -> None:
        super().__init__()
        self.weight, self._padding = plain.weight, plain.padding_idx
        self._steps, self._block = STEPS[bits], block_of(plain.embedding_dim, bits)

    def forward(self, ids: Tensor) -> Tensor:
        apply: Callable[..., Tensor] = _StraightThrough.apply
        embedded = nn.functional.embedding(ids, self.weight, self._padding)
        return apply(embedded, self._in_blocks)

    def _in_blocks(self, values: Tensor) -> Tensor:
        blocks = values.reshape(*values.shape[:-1], -1, self._block)
        return _rounded(blocks, self._steps).flatten(-2)


class _StraightThrough(torch.autograd.Function):
    """A function's values with the gradient of none."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(values)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def round_weights(weight: Tensor) -> Tensor:
    """Float32 [out, in] as onnxruntime's per-channel int8 of reduced range holds it: one scale
    for each output, no zero point."""
    return _rounded(weight, _WEIGHT_STEPS)


def _rounded(rows: Tensor, steps: int) -> Tensor:
    """Each row (the last dimension) on ``steps`` steps to either side of 0."""
    scale = rows.abs().amax(-1, keepdim=True).clamp_(min=_TINY).div_(steps)
    return rows.div(scale).round_().mul_(scale)


def round_inputs(x: Tensor, mask: Tensor) -> Tensor:
    """Float32 [batch, length, width] as DynamicQuantizeLinear rounds it, text by text.

    Each text's range is that of its tokens (``mask`` [batch, length], 0 for padding) and of 0.
    """
    real = mask.to(x.dtype)
    low = (x.amin(2) * real).amin(1).clamp_(max=0)[:, None, None]
    high = (x.amax(2) * real).amax(1).clamp_(min=0)[:, None, None]
    scale = (high - low).clamp_(min=_TINY).div_(_INPUT_STEPS)
    zero = low.div(scale).neg_().round_().clamp_(0, _INPUT_STEPS)
    steps = x.div(scale).round_().add_(zero).clamp_(0, _INPUT_STEPS)
    return steps.sub_(zero).mul_(scale)
