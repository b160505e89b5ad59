"""Copy drafts: an extraction repeats its input, so what followed there is tried here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from edgeslm.decoding.drafts.length import MAX_DRAFT, DraftLength
from edgeslm.decoding.drafts.values import BORDER, Copied, ValueDrafter
from edgeslm.decoding.grammar import Matcher

#: tokens of the longest match that is looked for
_LONGEST_MATCH = 4
#: a single token that stands in more places of the text than this says too little
_MAX_PLACES = 3
#: tokens at the end of an answer among which the key of an open value is looked for
_TAIL = 48
#: a key that may have ended, without the marks behind it
_KEY = re.compile(rb'[{,]\s?"[^"\\]+\Z')


class Marks:
    """Tokens that end JSON's keys and values, out of a vocabulary's ``pieces``."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        closers = [
            token
            for token, piece in enumerate(pieces)
            if piece[:1] in {b'"', b",", b"}", b"]"} and not piece.strip(b'",:{}[]')
        ]
        #: the likeliest first: what begins with a quotation mark ends a string, while the others
        #: may be part of it; of these the longest, as tokenizers prefer them
        self.closers = sorted(closers, key=lambda t: (pieces[t][:1] != b'"', -len(pieces[t])))
        #: what every open string may hold, but nothing else does
        self.letter = next((token for token, piece in enumerate(pieces) if piece.isalpha()), None)


class Draft:
    """Tokens that may follow an answer, all of them allowed by the grammar.

    ``kind`` says where the first ones are from; no more than ``most`` are kept.
    """

    def __init__(self, output: Sequence[int], matcher: Matcher, pieces: Sequence[bytes]) -> None:
        self.kind = ""
        self.tokens: list[int] = []
        self.most = MAX_DRAFT
        self._pieces = pieces
        self._before = list(output[-_TAIL:])
        self._ahead = matcher.copy()

    @property
    def recent(self) -> list[int]:
        """The last tokens of the answer with the draft."""
        return [*self._before, *self.tokens]

    @property
    def tail(self) -> bytes:
        """``recent`` as bytes."""
        return b"".join(self._pieces[token] for token in self.recent[-_TAIL:])

    @property
    def is_full(self) -> bool:
        return len(self.tokens) >= self.most

    def limit(self, kind: str, most: int) -> None:
        self.kind, self.most = kind, most
        del self.tokens[most:]

    def add(self, tokens: Sequence[int]) -> int:
        """Add what the grammar allows of these tokens, and as many as there is room for."""
        tokens = tokens[: self.most - len(self.tokens)]
        tokens = tokens[: self._ahead.valid_prefix(tokens)]
        self._ahead.consume(tokens)
        self.tokens += tokens
        return len(tokens)

    def accepts(self, token: int) -> bool:
        return self._ahead.accepts(token)

    def add_forced(self) -> None:
        if not self.is_full:
            self.add(self._ahead.forced())


class CopyDrafter:
    """Drafts what followed the longest match of the last tokens, in the text or in the answer.

    Prompt lookup decoding (Saxena 2023; Yang et al., arXiv:2304.04487), trimmed by the grammar.
    Where a value begins, there is nothing to match yet: then a ValueDrafter says what may come.

    Args:
        text: the tokens that an answer copies from.
        marks: those of the vocabulary.
        tokenize: tokens of a text that begins there.
    """

    def __init__(
        self,
        text: Sequence[int],
        marks: Marks,
        tokenize: Callable[[str], list[int]],
    ) -> None:
        pieces = marks.pieces
        self._marks, self._pieces = marks, pieces
        self._text_length = len(text)
        self._tokens: list[int] = []
        #: the places behind each run of up to _LONGEST_MATCH tokens
        self._places: dict[tuple[int, ...], list[int]] = {}
        self._last = 0
        #: offsets of the text's tokens in its bytes, and its end
        self._offsets = [0, *itertools.accumulate(len(pieces[token]) for token in text)]
        self._values = ValueDrafter(b"".join(pieces[token] for token in text), pieces, tokenize)
        self._learn(text)

    def propose(self, output: Sequence[int], matcher: Matcher, length: DraftLength) -> Draft:
        """What may follow ``output``; the matcher stands behind it, and stays there.

        Where the copy ends, because the grammar forbids what follows (a line break, say) or a
        cell of a table ends, the value is closed; what the grammar forces then is drafted,
        too, and after that the next value.
        """
        self._follow(output)
        draft, cursor = Draft(output, matcher, self._pieces), None
        self._cross(draft)
        while not draft.is_full:
            copied = self._next(draft, cursor, length)
            if not draft.kind:
                kind = "marks" if copied is None else copied.kind
                draft.limit(kind, length.best(kind))
            n = 0 if copied is None else draft.add(copied.tokens)
            if copied is None or draft.is_full:
                break
            cursor = copied.ends[n - 1] if n <= len(copied.ends) else None
            if not self._close(draft, copied.key):
                break
            self._cross(draft)
        return draft

    def _next(self, draft: Draft, cursor: int | None, length: DraftLength) -> Copied | None:
        """The surer of what the text has for an open value, and what followed a match."""
        value = self._values.propose(draft.tail, cursor, draft.accepts)
        match = self._match(draft.recent)
        candidates = [copied for copied in (value, match) if copied is not None]
        allowed = [copied for copied in candidates if draft.accepts(copied.tokens[0])]
        return max(allowed, key=lambda copied: length.right(copied.kind), default=None)

    def _cross(self, draft: Draft) -> None:
        """Draft the marks between a key and its value, where their tokens are a choice."""
        letter = self._marks.letter
        if draft.is_full or letter is None or not _KEY.search(draft.tail):
            return
        if not draft.accepts(letter):
            self._close(draft, None)

    def _close(self, draft: Draft, key: bytes | None) -> bool:
        """Draft what ends a value or key, the usual token if it is known, and what is forced."""
        usual = None if key is None else self._values.closers.get(key)
        closers = self._marks.closers
        for mark in closers if usual is None else (usual, *closers):
            if draft.add([mark]):
                draft.add_forced()
                return True
        return False

    def _follow(self, output: Sequence[int]) -> None:
        """Learn what the answer has grown by; forget what was taken back."""
        known = len(self._tokens) - self._text_length
        if known > len(output):
            text = self._tokens[: self._text_length]
            self._tokens, self._places, known = [], {}, 0
            self._learn(text)
            self._values.forget()
        self._learn(output[known:])
        self._values.follow(output)

    def _learn(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            # the last token has nothing behind it yet: its places are those before it
            self._tokens.append(token)
            end = len(self._tokens) - 1
            for size in range(1, min(_LONGEST_MATCH, end) + 1):
                self._places.setdefault(tuple(self._tokens[end - size : end]), []).append(end)

    def _match(self, recent: Sequence[int]) -> Copied | None:
        for size in range(min(_LONGEST_MATCH, len(recent)), 0, -1):
            places = self._places.get(tuple(recent[-size:]), [])
            if size == 1:
                places = [place for place in places if place < self._text_length]
            if places and (size > 1 or len(places) <= _MAX_PLACES):
                copied = self._from(self._choose(places), f"match {size}")
                return copied if copied.tokens else None
        return None

    def _choose(self, places: list[int]) -> int:
        """In the text the place after the last copy, as fields mostly follow its order."""
        if places[-1] >= self._text_length:
            return places[-1]
        place = next((place for place in places if place >= self._last), places[0])
        self._last = place
        return place

    def _from(self, start: int, kind: str) -> Copied:
        """What stands from a place of text or answer on; of the text no more than a cell."""
        end = start + MAX_DRAFT
        if start >= self._text_length:
            return Copied(None, self._tokens[start:end], [], kind)
        tokens = itertools.takewhile(
            lambda token: not BORDER.search(self._pieces[token]),
            self._tokens[start : min(end, self._text_length)],
        )
        cell = list(tokens)
        return Copied(None, cell, self._offsets[start + 1 : start + 1 + len(cell)], kind)
