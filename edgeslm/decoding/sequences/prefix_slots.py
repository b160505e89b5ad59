"""Evaluated fixed prompts in sequences of an engine: found again, restored, or dropped for room."""

from __future__ import annotations

from collections import OrderedDict

from edgeslm.decoding.sequences.prefix_files import PrefixCache
from edgeslm.engines.engine import Engine, drive, run_steps
from edgeslm.errors import EngineError

Tokens = tuple[int, ...]


class PrefixSlots:
    """Prompts that were evaluated, the least recently used dropped first.

    A prompt belongs to the adapter it was evaluated with: ``adapter`` is the sha256 of
    its file, None for the model alone. ``saved`` keeps prompts for later processes, None in this
    one alone.
    """

    def __init__(self, engine: Engine, slots: range, saved: PrefixCache | None) -> None:
        self._engine = engine
        self._slots = slots
        self._saved = saved
        self._kept: OrderedDict[tuple[str | None, Tokens], int] = OrderedDict()

    def copy_to(self, sequence: int, prefix: Tokens, adapter: str | None) -> int:
        """Put a prompt into an empty sequence; how many of its tokens were not evaluated.

        The engine must be using ``adapter``.
        """
        if not prefix:
            return 0
        key = (adapter, prefix)
        slot = self._kept.get(key)
        cached = len(prefix)
        if slot is None:
            slot = self._free_slot()
            cached = self._fill(slot, prefix, adapter)
            self._kept[key] = slot
        self._kept.move_to_end(key)
        self._engine.fork(slot, sequence)
        return cached

    def room(self, prefix: Tokens, adapter: str | None, size: int) -> int:
        """Cells that a context of ``size`` has beside a prompt and all others."""
        new = 0 if (adapter, prefix) in self._kept else len(prefix)
        return size - self._cells() - new

    def make_room(self, prefix: Tokens, adapter: str | None, more: int) -> None:
        """Room for a prompt and ``more`` cells: the context grows, or other prompts go."""
        wanted = (adapter, prefix)
        engine = self._engine
        if more <= self.room(prefix, adapter, engine.context_size):
            return
        others = self._cells() - (len(prefix) if wanted in self._kept else 0)
        need = len(prefix) + more
        if engine.context_size < engine.max_context:
            target = max(need + others, 2 * engine.context_size)
            engine.resize(min(target, engine.max_context))
            self._kept.clear()
        while need + self._cells() > engine.context_size and self._kept:
            oldest = next(iter(self._kept))
            if oldest == wanted:
                if len(self._kept) == 1:
                    break
                self._kept.move_to_end(wanted)
            self._evict()

    def forget(self, adapter: str) -> None:
        """Drop the prompts of an adapter."""
        for key in [key for key in self._kept if key[0] == adapter]:
            self._engine.truncate(self._kept.pop(key), 0)

    def _cells(self) -> int:
        return sum(len(tokens) for _, tokens in self._kept)

    def _fill(self, slot: int, prefix: Tokens, adapter: str | None) -> int:
        """A prompt into an empty slot; how many of its tokens were not evaluated."""
        if self._saved is not None and self._restore(self._saved, slot, prefix, adapter):
            return len(prefix)
        drive(self._engine, run_steps(prefix, 0, slot, self._engine.batch_size))
        if self._saved is not None:
            self._saved.put(prefix, lambda: self._engine.save(slot), adapter=adapter)
        return 0

    def _restore(self, saved: PrefixCache, slot: int, prefix: Tokens, adapter: str | None) -> bool:
        state = saved.get(prefix, adapter=adapter)
        if state is None:
            return False
        try:
            self._engine.restore(slot, state)
        except EngineError:
            saved.drop(prefix, adapter=adapter)
            return False
        return True

    def _free_slot(self) -> int:
        if len(self._kept) == len(self._slots):
            self._evict()
        used = set(self._kept.values())
        slot = next(slot for slot in self._slots if slot not in used)
        self._engine.truncate(slot, 0)  # what a cancelled prefill left
        return slot

    def _evict(self) -> None:
        _, slot = self._kept.popitem(last=False)
        self._engine.truncate(slot, 0)
