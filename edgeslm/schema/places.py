"""The one seam between the compiler and the emitters of unions, objects and arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from edgeslm.schema.conditions import Rewrites
from edgeslm.schema.keywords import Certificate
from edgeslm.schema.parts import Closed, Conjuncts, Never


class Places(Protocol):
    """What unions, objects and arrays need of the compiler that they are a part of."""

    certificate: Certificate
    rewrites: Rewrites

    @property
    def within_budget(self) -> bool:
        """Whether there is room for more places than the author wrote."""

    def node(self, paths: tuple[str, ...]) -> Closed | Never:
        """The closed schema of a place that all of these schemas describe."""

    def nodes_of(self, paths: Iterable[str]) -> Conjuncts:
        """The schemas at these places that are objects."""

    def plain(self, path: str) -> Conjuncts:
        """A schema with all that it refers to."""
