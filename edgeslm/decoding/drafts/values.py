"""Drafts of a next value: rows repeat, so it stands behind the last one as it did before."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

#: a key with its value: a string that was closed, or a bare one with what follows it
_PAIR = re.compile(
    rb'"((?:[^"\\]|\\.)*)":\s?(?:"((?:[^"\\]|\\.)*)"|([^\s"\[\]{},]+)(?=[,}]))', re.DOTALL
)
#: a key whose value has not ended, with what there is of it: a string's or a bare one's
_OPEN = re.compile(rb'"((?:[^"\\]|\\.)*)":\s?(?:"([^"\\]*)|([^\s"\[\]{},]*))\Z')
_WORD = re.compile(rb"\S+")
#: what ends a cell of a table, or a line
BORDER = re.compile(rb"\s{2,}|[\t\n\r]")
#: bytes of the text among which a row's words are counted, and that a value is taken from
_WINDOW, _LONGEST = 800, 96
#: bytes of a word that may be a label
_SHORTEST = 2
#: behind a label or the last value, bytes and words among which a value may begin
_NEAR, _WORDS = 80, 3
#: what may not stand around a value that was found: the rest of a longer word or number
_ENDS_WITHIN, _WITHIN = re.compile(rb"(?:\w|\d[.,])\Z"), re.compile(rb"\w|[.,]\d")


@dataclass(frozen=True, slots=True)
class Copied:
    """Tokens that may follow; of the text, ``ends`` are the offsets behind each.

    ``key`` is that of the value they end, if it is known; ``kind`` says how they were found.
    """

    key: bytes | None
    tokens: list[int]
    ends: list[int]
    kind: str


@dataclass(frozen=True, slots=True)
class _Step:
    """From the end of one value to the next: whole lines, whole words from the value's end or the
    line's begin, and bytes of the word it is in."""

    lines: int
    words: int
    lead: int


class ValueDrafter:
    """Follows an answer's values through the text it copies from.

    Args:
        text: it, as bytes.
        pieces: bytes of each token.
        tokenize: tokens of a text that begins there.
    """

    def __init__(
        self, text: bytes, pieces: Sequence[bytes], tokenize: Callable[[str], list[int]]
    ) -> None:
        self._text, self._pieces, self._tokenize = text, pieces, tokenize
        self._cells: dict[int, tuple[list[int], list[int]]] = {}
        self._labels: dict[bytes, int | None] = {}
        self.forget()

    def forget(self) -> None:
        """Begin again: the answer was taken back."""
        self._output = bytearray()
        self._known = 0
        self._read = 0
        #: the output's tokens by the place of their first byte
        self._tokens: dict[int, int] = {}
        self._cursor = 0
        self._steps: dict[bytes, _Step] = {}
        #: by key, the token that ended its value
        self.closers: dict[bytes, int] = {}

    def follow(self, output: Sequence[int]) -> None:
        """Learn from the values that ``output`` has more than the last time."""
        for token in output[self._known :]:
            self._tokens[len(self._output)] = token
            self._output += self._pieces[token]
        self._known = len(output)
        for pair in _PAIR.finditer(self._output, self._read):
            quoted = pair[2] is not None
            end = pair.end(2 if quoted else 3)
            if end in self._tokens:
                self.closers[pair[1]] = self._tokens[end]
            self._learn(pair[1], pair[2] if quoted else pair[3])
            self._read = pair.end()

    def _learn(self, key: bytes, value: bytes) -> None:
        at = self._find(value, self._cursor) if value else None
        if at is not None:
            step = self._step(at)
            # the first row may come after a heading, the others follow each other
            first = key not in self._steps
            self._steps[key] = replace(step, lines=min(step.lines, 1)) if first else step
        elif value:
            at = self._find(value, 0)
        if at is not None:
            self._cursor = at + len(value)

    def _find(self, value: bytes, start: int) -> int | None:
        """Where the value stands first from ``start`` on, as whole words."""
        text, at = self._text, self._text.find(value, start)
        while at >= 0:
            end = at + len(value)
            before = _ENDS_WITHIN.search(text, max(0, at - 2), at)
            if before is None and not _WITHIN.match(text, end):
                return at
            at = text.find(value, at + 1)
        return None

    def _step(self, end: int) -> _Step:
        lines = self._text.count(b"\n", self._cursor, end)
        start = self._text.rfind(b"\n", self._cursor, end) + 1 if lines else self._cursor
        between = self._text[start:end]
        words = between.split()
        whole = not words or between[-1:].isspace()
        return _Step(lines, len(words) if whole else len(words) - 1, 0 if whole else len(words[-1]))

    def propose(
        self, tail: bytes, cursor: int | None, accepts: Callable[[int], bool]
    ) -> Copied | None:
        """What is left of the value that ``tail`` leaves open; None where nothing is known of it.

        ``cursor`` is where the value before it ends in the text, if that was drafted as well.
        """
        opened = _OPEN.search(tail)
        if opened is None:
            return None
        key, begun = opened[1], opened[2] if opened[3] is None else opened[3]
        start = self._cursor if cursor is None else cursor
        step = self._steps.get(key)
        if step is not None:
            at = self._after(start, step)
            return None if at is None else self._value(key, at, begun, "row")
        place = self._labelled(key)
        if place is not None:
            return self._first(key, place, begun, "label", accepts)
        if opened[3] is not None:
            return self._first(key, start, begun, "near", accepts)
        return None

    def _first(
        self, key: bytes, start: int, begun: bytes, kind: str, accepts: Callable[[int], bool]
    ) -> Copied | None:
        """The first of the next words that the grammar takes for a value, or its beginning."""
        words = _WORD.finditer(self._text, start, start + _NEAR)
        for word in itertools.islice(words, _WORDS):
            value = self._value(key, word.start(), begun, kind)
            if value is not None and accepts(value.tokens[0]):
                return value
        return None

    def _labelled(self, key: bytes) -> int | None:
        """Behind the key's last word in the text, where the line goes on."""
        if key not in self._labels:
            name = re.escape(key.rpartition(b"_")[2])
            label = rb"(?i)(?<!\w)" + name + rb"(?!\w)[^\w\n]*(?=\w)"
            match = re.search(label, self._text) if len(name) >= _SHORTEST else None
            self._labels[key] = None if match is None else match.end()
        return self._labels[key]

    def _value(self, key: bytes, at: int, begun: bytes, kind: str) -> Copied | None:
        """The cell at a place of the text, behind the bytes that were answered; None if others."""
        if not self._text.startswith(begun, at):
            return None
        tokens, ends = self._cell(at)
        done = at + len(begun)
        if done not in ends or done == ends[-1]:
            return None
        known = ends.index(done)
        return Copied(key, tokens[known:], ends[known + 1 :], kind)

    def _cell(self, at: int) -> tuple[list[int], list[int]]:
        """Tokens from a place up to the end of its cell, and offsets before, between and behind."""
        if at not in self._cells:
            border = BORDER.search(self._text, at, at + _LONGEST)
            raw = self._text[at : at + _LONGEST if border is None else border.start()]
            tokens = self._tokenize(raw.decode(errors="ignore"))
            lengths = (len(self._pieces[token]) for token in tokens)
            self._cells[at] = tokens, list(itertools.accumulate(lengths, initial=at))
        return self._cells[at]

    def _after(self, start: int, step: _Step) -> int | None:
        for _ in range(step.lines):
            start = self._text.find(b"\n", start) + 1
            if not start:
                return None
        words = _WORD.finditer(self._text, start, start + _WINDOW)
        for i, word in enumerate(words):
            if i == step.words:
                return word.start() + step.lead
        return None
