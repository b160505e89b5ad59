"""LoRA's linear layer in fewer passes over memory: the same numbers as peft's, sooner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _LoraLinear(torch.autograd.Function):
    """``x W^T + s (x A^T) B^T`` for a frozen W, with the second term added in place.

    peft's forward makes the product with B, a scaled copy and a sum, each as large as the
    output, and its backward as many again; on a processor these passes over memory cost
    as much as a third of the multiplications.
    """

    @staticmethod
    def forward(  # noqa: PLR0917  torch passes them by position
        ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        factors = a.dtype
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = flat @ a.T
        out = flat @ weight.T
        out.addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale, ctx.factors = scale, factors
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:
        flat, weight, a, b, low = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1])
        through_b = (g @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (g @ weight).addmm_(through_b, a).view(*gradient.shape[:-1], a.shape[1])
        grad_a, grad_b = through_b.T @ flat, (g.T @ low).mul_(ctx.scale)
        return grad_x, None, grad_a.to(ctx.factors), grad_b.to(ctx.factors), None


def fuse(model: Any) -> int:
    """Let every plain LoRA layer of a peft model use the fused form; returns how many do.

    Layers with dropout, DoRA, or a bias keep peft's own.
    """
    from peft.tuners.lora import Linear

    fused = 0
    for layer in model.modules():
        if isinstance(layer, Linear) and _is_plain(layer):
            _bind(layer)
            fused += 1
    return fused


def _is_plain(layer: Any) -> bool:
    name = layer.active_adapters[0]
    weight = layer.base_layer.weight
    return (
        len(layer.active_adapters) == 1
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and not layer.use_dora[name]
        and layer.base_layer.bias is None
        and not weight.requires_grad
        and weight.is_floating_point()
    )


def _bind(layer: Any) -> None:
    name = layer.active_adapters[0]
    base, a, b = layer.base_layer, layer.lora_A[name], layer.lora_B[name]

    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        apply: Callable[..., Tensor] = _LoraLinear.apply
        return apply(x, base.weight, a.weight, b.weight, layer.scaling[name])

    layer.forward = forward
