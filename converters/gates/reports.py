"""Reports that gates judge: how far two libraries, or float and rounded weights, lie apart."""

from __future__ import annotations

from dataclasses import dataclass

#: differing texts that a report keeps; the rest is counted
KEPT = 20
#: nats by which float16 cells may swap two tokens that are as good as equal
TIE = 0.02


@dataclass(frozen=True, slots=True)
class Difference:
    """A text that the two sides tokenize otherwise."""

    text: str
    llama: tuple[int, ...]
    hf: tuple[int, ...]

    @property
    def at(self) -> int:
        """The first place where the tokens differ."""
        pairs = zip(self.llama, self.hf, strict=False)
        shorter = min(len(self.llama), len(self.hf))
        return next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)


@dataclass(frozen=True, slots=True)
class ParityReport:
    """``differing`` of ``n`` texts have other tokens; ``first`` holds up to ``KEPT`` of them."""

    n: int
    differing: int
    first: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        return self.differing == 0


@dataclass(frozen=True, slots=True)
class FloatParity:
    """How far llama.cpp's distributions are from transformers', over ``n`` answer positions.

    KL divergence in nats; ``top1`` is the share of positions where llama.cpp's best token is
    transformers' best too, or less likely there by no more than ``TIE``.
    """

    n: int
    mean_kl: float
    max_kl: float
    top1: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """``kl`` is the mean of KL(reference || other) in nats, ``top1`` the share of positions with
    the same best token, over the ``n`` positions that an answer's tokens are read at."""

    kl: float
    top1: float
    n: int
