"""Quantization-aware training: the model computes with the weights that the runtime will have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_BLOCK = 32


class RoundedWeights:
    """Keeps a LoRA model's linear layers where their merged weights are those of Q4_0.

    For a base W, an adapter s B A and the rounding Q, a layer's frozen weight is held at
    ``Q(W + s B A) - s B A``, so that with its adapter it computes with ``Q(W + s B A)``, while
    the adapter's gradients are those of an unrounded layer (the straight-through estimator,
    Bengio et al. 2013). Layers without an adapter hold ``Q(W)``. Embeddings stay as they are.
    """

    def __init__(self, model: Any) -> None:
        from peft.tuners.lora import Linear

        modules: list[Any] = list(model.modules())
        adapted: list[Any] = [module for module in modules if isinstance(module, Linear)]
        self._adapted = [(layer, layer.base_layer.weight.detach().clone()) for layer in adapted]
        bases = {id(layer.base_layer) for layer in adapted}
        factors = {
            id(half)
            for layer in adapted
            for halves in (layer.lora_A, layer.lora_B)
            for half in halves.values()
        }
        head = model.get_output_embeddings()
        for module in modules:
            plain = isinstance(module, nn.Linear) and id(module) not in bases | factors
            if plain and module is not head:
                module.weight.data = round_q4_0(module.weight.data)

    @torch.no_grad()
    def refresh(self) -> None:
        """Round again, for what the adapter has become."""
        for layer, weight in self._adapted:
            (name,) = layer.active_adapters
            change = layer.get_delta_weight(name)
            layer.base_layer.weight.copy_(round_q4_0(weight + change).sub_(change))


def round_q4_0(weight: Tensor) -> Tensor:
    """What ``weight`` ([rows, columns], float32, columns a multiple of 32) is after Q4_0.

    Each block of 32 has one scale, in 16 bits: its largest value (by size) over -8.
    """
    blocks = weight.reshape(-1, _BLOCK)
    at = blocks.abs().argmax(-1, keepdim=True)
    scale = blocks.gather(-1, at) / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    steps = (blocks * inverse).add_(8.5).trunc_().clamp_(0, 15).sub_(8)
    return steps.mul_(scale.half().float()).view_as(weight)
