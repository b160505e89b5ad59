"""Copy drafts: an extraction repeats its input, so what followed there is tried here."""

from __future__ import annotations

from collections.abc import Sequence

from edgeslm.grammar import Matcher

#: the most tokens drafted at once
MAX_DRAFT = 24
#: the share of right drafts that is expected before the first one
_FIRST_GUESS = 0.8
#: tokens of the longest match that is looked for
_LONGEST_MATCH = 4
#: a single token that stands in more places of the text than this says too little
_MAX_PLACES = 3


class CopyDrafter:
    """Drafts what followed the longest match of the last tokens, in the text or in the answer.

    Prompt lookup decoding (Saxena 2023; Yang et al., arXiv:2304.04487), trimmed by the grammar.

    Args:
        text: the tokens that an answer copies from.
        closers: tokens that end a JSON string, the longest first.
    """

    def __init__(self, text: Sequence[int], closers: Sequence[int]) -> None:
        self._closers = closers
        self._text_length = len(text)
        self._tokens: list[int] = []
        #: the places behind each run of up to _LONGEST_MATCH tokens
        self._places: dict[tuple[int, ...], list[int]] = {}
        self._last = 0
        self._learn(text)

    def propose(self, output: Sequence[int], matcher: Matcher, limit: int) -> list[int]:
        """Up to ``limit`` tokens that may follow ``output``; the matcher stands behind it.

        Where the copy ends because the grammar forbids what follows (a line break, say),
        the string is closed and what the grammar forces then is drafted, too.
        """
        self._follow(output)
        limit = min(limit, MAX_DRAFT)
        start = self._match(output) if limit > 0 else None
        if start is None:
            return []
        copied = self._tokens[start : start + limit]
        draft = copied[: matcher.valid_prefix(copied)]
        if draft and len(draft) < limit:
            draft += self._close(draft, matcher)[: limit - len(draft)]
        return draft

    def _follow(self, output: Sequence[int]) -> None:
        """Learn what the answer has grown by; forget what was taken back."""
        known = len(self._tokens) - self._text_length
        if known > len(output):
            text = self._tokens[: self._text_length]
            self._tokens, self._places, known = [], {}, 0
            self._learn(text)
        self._learn(output[known:])

    def _learn(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            # the last token has nothing behind it yet: its places are those before it
            self._tokens.append(token)
            end = len(self._tokens) - 1
            for size in range(1, min(_LONGEST_MATCH, end) + 1):
                self._places.setdefault(tuple(self._tokens[end - size : end]), []).append(end)

    def _match(self, output: Sequence[int]) -> int | None:
        for size in range(min(_LONGEST_MATCH, len(output)), 0, -1):
            places = self._places.get(tuple(output[-size:]), [])
            if size == 1:
                places = [place for place in places if place < self._text_length]
            if places and (size > 1 or len(places) <= _MAX_PLACES):
                return self._choose(places)
        return None

    def _choose(self, places: list[int]) -> int:
        """In the text the place after the last copy, as fields mostly follow its order."""
        if places[-1] >= self._text_length:
            return places[-1]
        place = next((place for place in places if place >= self._last), places[0])
        self._last = place
        return place

    def _close(self, draft: Sequence[int], matcher: Matcher) -> list[int]:
        ahead = matcher.copy()
        ahead.consume(draft)
        for closer in self._closers:
            if ahead.accepts(closer):
                ahead.consume([closer])
                return [closer, *ahead.forced()]
        return []


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


class DraftLength:
    """How many tokens to draft: the most expected tokens for the cost.

    The share of right drafts is a running average over one answer.
    """

    def __init__(self, cost: BatchCost) -> None:
        self.cost = cost
        self._right = _FIRST_GUESS

    def judge(self, drafted: int, accepted: int) -> None:
        """Of ``drafted`` tokens so many were what the model said."""
        if drafted:
            # what came after the first wrong one was never compared
            compared = min(drafted, accepted + 1)
            self._right += 0.3 * (accepted / compared - self._right)

    def best(self, pending: int, company: int = 0) -> int:
        """The best number of tokens to draft behind ``pending`` ones; may be 0.

        ``company`` other answers are decoded in the same batch, a row and a token each.
        """
        self._right += 0.01 * (_FIRST_GUESS - self._right)  # is tried again after a while
        pending += company
        expected, chance = 1.0 + company, 1.0
        best, best_rate = 0, expected / self.cost.of(pending)
        for n in range(1, MAX_DRAFT + 1):
            chance *= min(self._right, 0.98)
            expected += chance
            rate = expected / self.cost.of(pending + n)
            if rate > best_rate:
                best, best_rate = n, rate
        return best
