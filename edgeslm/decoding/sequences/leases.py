"""Sequences lent to answers in progress: given back from any thread, recalled for room."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edgeslm.engines.engine import Engine


@dataclass(slots=True, eq=False)
class Lease:
    """Sequences that one answer may fill with up to ``cells`` cells of its own.

    ``recalled`` ones are lent no more, and what they held is gone.
    """

    sequences: tuple[int, ...]
    cells: int
    recalled: bool = False


class Leases:
    """Who uses which sequences. For the caller that holds the engine, but for ``give_back``."""

    def __init__(self, engine: Engine, sequences: range) -> None:
        self._engine = engine
        self._free = list(sequences)
        self._lent: list[Lease] = []
        self._returned: deque[Lease] = deque()
        #: sequences that there are
        self.size = len(sequences)

    @property
    def cells(self) -> int:
        """Cells that answers in progress may fill."""
        return sum(lease.cells for lease in self._lent)

    def lend(self, count: int, cells: int) -> Lease | None:
        """Lends ``count`` empty sequences; None if fewer are free."""
        if len(self._free) < count:
            return None
        lease = Lease(tuple(self._free[:count]), cells)
        del self._free[:count]
        self._lent.append(lease)
        return lease

    def claim(self, count: int, cells: int) -> Lease:
        """Lends as ``lend``; takes all others back first if too few are free."""
        lease = self.lend(count, cells)
        if lease is None:
            self.recall()
            lease = self.lend(count, cells)
        assert lease is not None, f"{count} of {self.size} sequences"
        return lease

    def give_back(self, lease: Lease) -> None:
        """Returns a lease; ``collect`` frees it. Any thread may, without holding the engine."""
        self._returned.append(lease)

    def collect(self) -> None:
        """Free what was given back."""
        while self._returned:
            self._free_again(self._returned.popleft())

    def recall(self) -> None:
        """Take all back, since the request that runs needs the room; they begin again later."""
        for lease in list(self._lent):
            lease.recalled = True
            self._free_again(lease)

    def _free_again(self, lease: Lease) -> None:
        if lease not in self._lent:
            return
        self._lent.remove(lease)
        for sequence in lease.sequences:
            self._engine.truncate(sequence, 0)
        self._free += lease.sequences
