"""A reader in training: features and perhaps an encoder score units; a chain ties their tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from converters.reading.documents import Document
from converters.reading.states import unit_states
from edgeslm.formats.onnx.reader_spec import ReaderSpec
from edgeslm.tasks.reading.features import BUCKETS, UnitFeatures
from edgeslm.tasks.reading.record import rows_of

if TYPE_CHECKING:
    from torch import Tensor

_NEVER = -1e4


class ReaderModel(torch.nn.Module):
    """Scores of units: the sum of their features' weights, and of the mean of their tokens' states.

    ``backbone`` None is the linear reader.
    """

    def __init__(self, spec: ReaderSpec, backbone: Any = None, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        self.bag = torch.nn.Embedding(BUCKETS, spec.columns, padding_idx=0)
        torch.nn.init.zeros_(self.bag.weight)
        self.bias = torch.nn.Parameter(torch.zeros(spec.columns))
        self.transitions = torch.nn.Parameter(torch.zeros(spec.tags, spec.tags))
        self.begin = torch.nn.Parameter(torch.zeros(spec.tags))
        self.backbone = backbone
        self.dropout = torch.nn.Dropout(dropout)
        if backbone is not None:
            self.head = torch.nn.Linear(backbone.config.hidden_size, spec.columns, bias=False)

    def forward(self, documents: Sequence[Document]) -> list[Tensor]:
        """Scores of each document's units, float32 [units, columns]."""
        scores = [self._weighed(document.features) for document in documents]
        if self.backbone is None:
            return scores
        states = unit_states(self.backbone, documents)
        return [
            own + self.head(self.dropout(state)) for own, state in zip(scores, states, strict=True)
        ]

    def _weighed(self, features: UnitFeatures) -> Tensor:
        ids = torch.from_numpy(features.ids)
        share = torch.from_numpy(features.counts).clamp(min=1).rsqrt().unsqueeze(1)
        weighed: Tensor = self.bag(ids).sum(1) * share + self.bias
        return weighed


def reader_loss(model: ReaderModel, documents: Sequence[Document]) -> Tensor:
    """The mean over documents of what their targets cost, a scalar."""
    scores = model(documents)
    total = _chain_loss(model, documents, scores)
    for document, own in zip(documents, scores, strict=True):
        total = total + _value_loss(model.spec, document, own)
    return total / len(documents)


def _chain_loss(model: ReaderModel, documents: Sequence[Document], scores: list[Tensor]) -> Tensor:
    """Minus the log-probability of the paths that are right, summed over documents."""
    spec = model.spec
    if spec.tags == 1:
        return torch.zeros(())
    pieces = [len(document.layout.pieces) for document in documents]
    longest = max(1, *pieces)
    allowed = torch.full((len(documents), longest, spec.tags), _NEVER)
    rows = []
    for at, (document, count) in enumerate(zip(documents, pieces, strict=True)):
        rows.append(
            torch.nn.functional.pad(
                scores[at][1 : 1 + count, : spec.tags], (0, 0, 0, longest - count)
            )
        )
        right = torch.from_numpy(document.targets.tags)
        allowed[at, :count] = torch.where(right, 0.0, _NEVER)
    own = torch.stack(rows)
    lengths = torch.tensor(pieces)
    forbidden = _forbidden(spec)
    transitions = model.transitions + forbidden[0]
    begin = model.begin + forbidden[1]
    both = torch.cat([own, own + allowed])
    summed = _paths(both, transitions, begin, lengths.repeat(2))
    everything, right_ones = summed.chunk(2)
    return (everything - right_ones)[lengths > 0].sum()


def _forbidden(spec: ReaderSpec) -> tuple[Tensor, Tensor]:
    """What no path may do: an inner tag stands only behind its own field's tags."""
    transitions = torch.zeros(spec.tags, spec.tags)
    begin = torch.zeros(spec.tags)
    for number in range(len(spec.texts)):
        inside = 2 + 2 * number
        transitions[:, inside] = _NEVER
        transitions[inside - 1, inside] = transitions[inside, inside] = 0.0
        begin[inside] = _NEVER
    return transitions, begin


def _paths(scores: Tensor, transitions: Tensor, begin: Tensor, lengths: Tensor) -> Tensor:
    """The log of the weight of all paths, float32 [batch]."""
    reached = scores[:, 0] + begin
    for at in range(1, scores.shape[1]):
        following = scores[:, at] + torch.logsumexp(reached.unsqueeze(2) + transitions, 1)
        reached = torch.where((lengths > at).unsqueeze(1), following, reached)
    return torch.logsumexp(reached, 1)


def _value_loss(spec: ReaderSpec, document: Document, scores: Tensor) -> Tensor:
    rows, total = rows_of(document.layout), torch.zeros(())
    targets = (*document.targets.typed, *document.targets.listed)
    for (field, columns), right in zip(spec.values_at(), targets, strict=True):
        if right is None:
            continue
        options = scores[0, columns]
        if isinstance(right, int):  # the place of a listed value
            wanted = options[right : right + 1]
        else:
            own, null = scores[rows[field.read], columns.start], options[1:]
            if not (len(own) or field.nullable):
                continue
            options = torch.cat([own, null]) if field.nullable or not right else own
            wanted = own[list(right)] if right else null
        total = total + torch.logsumexp(options, 0) - torch.logsumexp(wanted, 0)
    return total


def finished_spec(model: ReaderModel) -> ReaderSpec:
    """The spec with the transitions that were learned."""
    forbidden = _forbidden(model.spec)
    transitions = (model.transitions.detach() + forbidden[0]).tolist()
    begin = (model.begin.detach() + forbidden[1]).tolist()
    return replace(model.spec, transitions=tuple(map(tuple, transitions)), begin=tuple(begin))
