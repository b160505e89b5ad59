"""The steps that one schema may take to compile: the same on every machine, unlike a clock."""

from __future__ import annotations

from collections.abc import Hashable

from edgeslm.errors import SchemaError

#: one step is one look at a schema, some 2 us
MAX_STEPS = 1_000_000


class Budget:
    """Counts the steps of one schema, also where it is compiled a second time."""

    def __init__(self) -> None:
        self._left = MAX_STEPS
        self._paid: set[Hashable] = set()

    def spend(self, steps: int = 1) -> None:
        """Take steps off the budget.

        Raises:
            SchemaError: none are left.
        """
        self._left -= steps
        if self._left < 0:
            raise SchemaError(
                f"schema: it must compile within {MAX_STEPS:,} steps; join fewer schemas at one "
                "place, or leave out patterns",
                path="",
            )

    def spend_once(self, work: Hashable, steps: int) -> None:
        """Take steps off the budget for work whose result is kept."""
        if work not in self._paid:
            self._paid.add(work)
            self.spend(steps)
