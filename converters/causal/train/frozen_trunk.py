"""The frozen lower layers of a model, evaluated once per row; only those above are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from converters.causal.train.attention import FastAttention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: what is kept of rows that come again, in bytes
CACHE_BYTES = 4 * 1024**3


class _Pass(nn.Module):
    """Stands in for a layer that is not to run; the others keep their numbers, and so the
    kind of attention that the config has for each."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


class Trunk:
    """Splits a causal language model below its top ``layers``.

    What the lower layers make of a row depends on no trained weight, so it is computed
    once and kept, up to CACHE_BYTES. Rows are padded on the right: under a causal mask
    what follows a row changes nothing in it.
    """

    def __init__(self, model: PreTrainedModel, layers: int | None) -> None:
        self._inner = model.model
        every = list(self._inner.layers)
        below = 0 if layers is None else max(0, len(every) - layers)
        passes = [_Pass() for _ in every]
        self.below = below
        self._lower = nn.ModuleList([*every[:below], *passes[below:]])
        self._upper = nn.ModuleList([*passes[:below], *every[below:]])
        self._norm = self._inner.norm
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._room = CACHE_BYTES

    def hidden(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        """The last hidden states, [rows, longest, hidden size], with a gradient."""
        if not self.below:
            return self._run(self._upper, self._norm, input_ids=self._padded_ids(rows))
        missing = list(dict.fromkeys(row for row in rows if row not in self._kept))
        fresh = self._evaluate(missing) if missing else {}
        states = [self._kept[row] if row in self._kept else fresh[row] for row in rows]
        embedded = nn.utils.rnn.pad_sequence(states, batch_first=True)
        return self._run(self._upper, self._norm, inputs_embeds=embedded)

    def _evaluate(self, rows: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        with torch.no_grad():
            states = self._run(self._lower, nn.Identity(), input_ids=self._padded_ids(rows))
        fresh = {row: states[i, : len(row)].clone() for i, row in enumerate(rows)}
        for row, state in fresh.items():
            size = state.numel() * state.element_size()
            if size <= self._room:
                self._kept[row] = state
                self._room -= size
        return fresh

    def _run(self, layers: nn.ModuleList, norm: nn.Module, **inputs: Tensor) -> Tensor:
        self._inner.layers, self._inner.norm = layers, norm
        try:
            with FastAttention():
                states: Tensor = self._inner(**inputs, use_cache=False).last_hidden_state
        finally:
            self._restore()
        return states

    def _restore(self) -> None:
        whole = [*self._lower[: self.below], *self._upper[self.below :]]
        self._inner.layers, self._inner.norm = nn.ModuleList(whole), self._norm

    def _padded_ids(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        device = self._inner.embed_tokens.weight.device
        ids = [torch.tensor(row, device=device) for row in rows]
        return nn.utils.rnn.pad_sequence(ids, batch_first=True)
