"""States of units in training: the mean of an encoder's last layer over their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from converters.reading.documents import Document

if TYPE_CHECKING:
    from torch import Tensor


def unit_states(backbone: Any, documents: Sequence[Document]) -> list[Tensor]:
    """float32 [units, hidden] for each document; zeros for a unit without tokens."""
    windows = [document.windows for document in documents if document.windows is not None]
    length = max(own.input_ids.shape[1] for own in windows)

    def stacked(name: str) -> Tensor:
        return torch.cat(
            [
                torch.nn.functional.pad(
                    torch.from_numpy(getattr(own, name)), (0, length - own.input_ids.shape[1])
                )
                for own in windows
            ]
        )

    states = backbone(
        input_ids=stacked("input_ids"), attention_mask=stacked("attention_mask")
    ).last_hidden_state.float()
    means, at = [], 0
    for own in windows:
        count, width = own.input_ids.shape
        flat = states[at : at + count, :width].reshape(count * width, -1)
        at += count
        means.append(run_means(flat[torch.from_numpy(own.order)], own.starts, own.ends))
    return means


def run_means(states: Tensor, starts: Any, ends: Any) -> Tensor:
    """The mean of each run of rows, float32 [runs, width]."""
    sums = torch.cat([torch.zeros(1, states.shape[1]), states.cumsum(0)])
    first, behind = torch.from_numpy(starts), torch.from_numpy(ends)
    counts = (behind - first).clamp(min=1).unsqueeze(1)
    means: Tensor = (sums[behind] - sums[first]) / counts
    return means
