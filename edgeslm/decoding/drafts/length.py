"""How many tokens to draft: what a batch costs here, and how often drafts were right."""

from __future__ import annotations

#: the most tokens drafted at once
MAX_DRAFT = 24
#: the share of right tokens that is expected before the first draft of a kind, and of others
_FIRST_GUESSES = {"row": 0.95, "label": 0.6, "near": 0.6}
_FIRST_GUESS = 0.8
#: how far a draft moves the share, and each decode moves it back
_NEWEST, _FORGET = 0.3, 0.01
#: no token of a draft is surer than this
_SUREST = 0.98


class BatchCost:
    """What a batch of n rows costs, in any unit: measured, or else as on a common CPU.

    CPU kernels take rows by fours, so a batch is as dear as its last four. ``measured``
    is False where logits depend on the shape of a batch: there the same text must be
    drafted the same way each time, whatever the clock says.
    """

    def __init__(self, measured: bool) -> None:
        self._measured = measured
        self._seen: dict[int, float] = {}

    def record(self, rows: int, ms: float) -> None:
        """A batch of ``rows`` took ``ms``; what is remembered is a running minimum."""
        if self._measured:
            fours = _fours(rows)
            # neighbours on the machine only ever add to a time; the minimum forgets slowly
            self._seen[fours] = min(ms, 1.02 * self._seen.get(fours, ms))

    def of(self, rows: int) -> float:
        """The cost of a batch of ``rows``, relative to one row."""
        fours = _fours(rows)
        usual = _usual(fours)
        if 0 not in self._seen:
            return usual
        if fours in self._seen:
            return self._seen[fours] / self._seen[0]
        known = max(self._seen)
        return usual * self._seen[known] / self._seen[0] / _usual(known)


def _fours(rows: int) -> int:
    return 0 if rows == 1 else -(-rows // 4)


def _usual(fours: int) -> float:
    return 1.0 if fours == 0 else 2.2 + 1.55 * (fours - 1)


def _first_guess(kind: str) -> float:
    return _FIRST_GUESSES.get(kind, _FIRST_GUESS)


class DraftLength:
    """How many tokens to draft: the most expected tokens for the cost.

    The share of right drafts is a running average over one answer, for each ``kind`` of draft
    apart: what follows a row of a table may be sure where a single word that matches is not.
    """

    def __init__(self, cost: BatchCost) -> None:
        self.cost = cost
        self._right: dict[str, float] = {}
        self._pending, self._company, self._room = 1, 0, MAX_DRAFT

    def begin(self, pending: int, *, company: int = 0, room: int = MAX_DRAFT) -> None:
        """Before a batch: ``pending`` tokens are in it for sure, and no more than ``room`` drafts.

        ``company`` other answers are decoded in the same batch, a row and a token each.
        """
        self._pending, self._company, self._room = pending, company, room

    def right(self, kind: str) -> float:
        """The share of right tokens expected of a kind, 0 to 1."""
        return self._right.get(kind, _first_guess(kind))

    def judge(self, kind: str, drafted: int, accepted: int) -> None:
        """Records that ``accepted`` of ``drafted`` tokens were right."""
        if drafted:
            # what came after the first wrong one was never compared
            compared = min(drafted, accepted + 1)
            right = self.right(kind)
            self._right[kind] = right + _NEWEST * (accepted / compared - right)

    def best(self, kind: str) -> int:
        """The best number of tokens to draft; may be 0."""
        right = self.right(kind)
        right += _FORGET * (_first_guess(kind) - right)  # is tried again after a while
        self._right[kind] = right
        pending = self._pending + self._company
        expected, chance = 1.0 + self._company, 1.0
        best, best_rate = 0, expected / self.cost.of(pending)
        for n in range(1, min(MAX_DRAFT, self._room) + 1):
            chance *= min(right, _SUREST)
            expected += chance
            rate = expected / self.cost.of(pending + n)
            if rate > best_rate:
                best, best_rate = n, rate
        return best
