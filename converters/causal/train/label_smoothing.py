"""Label smoothing for a language model: a share of the target goes to the other labels' tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class LabelSmoothing:
    """Cross-entropy whose targets share a part among the tokens by which labels go on.

    At each answer token these are the next tokens of all labels that begin as the answer does,
    not the whole vocabulary: the model is asked to doubt which label it is, and never that it is
    a label. Where one token alone can follow, it is the whole target. (Szegedy et al. 2016, over
    the label trie's branches.)
    """

    def __init__(self, labels: Sequence[tuple[int, ...]], share: float) -> None:
        """``labels`` are whole answers as tokens, ``share`` the part that is smoothed, 0 to 1."""
        self._share = share
        following: dict[tuple[int, ...], set[int]] = {}
        for label in labels:
            for at, token in enumerate(label):
                following.setdefault(label[:at], set()).add(token)
        self._following = {before: sorted(tokens) for before, tokens in following.items()}

    def losses(self, logits: Tensor, targets: Tensor, answers: Sequence[tuple[int, ...]]) -> Tensor:
        """Of each token of these answers, float32 [tokens].

        ``logits`` are float32 [tokens, vocabulary]; ``targets`` the answers one behind the other.
        """
        import torch

        chances = torch.log_softmax(logits, -1)
        right = chances.gather(1, targets[:, None])[:, 0]
        rows, columns, weights = [], [], []
        at = 0
        for answer in answers:
            for i in range(len(answer)):
                among = self._following[answer[:i]]
                rows += [at] * len(among)
                columns += among
                weights += [1 / len(among)] * len(among)
                at += 1
        each = chances[rows, columns] * torch.tensor(weights, device=logits.device)
        spread = torch.zeros_like(right).index_add(0, torch.tensor(rows, device=each.device), each)
        return -((1 - self._share) * right + self._share * spread)
