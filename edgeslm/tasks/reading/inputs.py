"""ReaderInputs: a text becomes the units, features and tokens that a reader's graph takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.onnx.tokens import EncoderTokens
from edgeslm.errors import InputTooLongError
from edgeslm.formats.onnx.reader_spec import MAX_UNITS, MAX_WINDOWS, ReaderSpec
from edgeslm.formats.text import Kept, Truncate, kept_of
from edgeslm.tasks.reading.features import unit_features
from edgeslm.tasks.reading.layout import Layout, lay_out
from edgeslm.tasks.reading.record import typed_kinds
from edgeslm.tasks.reading.tokens import Windows, in_windows

#: characters of a text that may be read, and so many for each token of an encoder
MAX_CHARACTERS: Final = 50_000
_CHARACTERS: Final = 8
#: how much of a text that is too long is kept at the next try
_SHORTER: Final = 0.8
#: characters from which on less is not tried: a tokenizer makes too much of any text
_LEAST: Final = 8


class Prepared(NamedTuple):
    """A text ready for the graph. ``kept`` is what is read of it, ``inputs`` the graph's arrays,
    ``tokens`` how many an encoder reads, or features a linear reader."""

    kept: Kept
    layout: Layout
    inputs: dict[str, Any]
    windows: Windows | None
    tokens: int

    def unit_scores(self, said: NDArray[np.float32]) -> NDArray[np.float64]:
        """The scores of units, float64 [units, columns].

        ``said`` are what the graph gives: scores of units by their features; of an encoder, before
        them the scores of all places of all windows, whose mean over a unit's tokens is added.
        """
        scores = np.asarray(said, np.float64)
        windows = self.windows
        if windows is None:
            return scores
        places = windows.input_ids.size
        ordered = scores[:places][windows.order]
        sums = np.vstack([np.zeros((1, scores.shape[1])), ordered.cumsum(axis=0)])
        counts = np.maximum(windows.ends - windows.starts, 1)[:, None]
        means: NDArray[np.float64] = (sums[windows.ends] - sums[windows.starts]) / counts
        return scores[places:] + means


class ReaderInputs:
    """Texts become a reader's inputs. Safe to call from many threads."""

    def __init__(self, spec: ReaderSpec, tokens: EncoderTokens | None) -> None:
        """``tokens`` None is a linear reader."""
        self._spec, self._tokens = spec, tokens
        self._kinds = typed_kinds(spec)
        self._limit = MAX_CHARACTERS
        if tokens is not None:
            self._most = _most_tokens(tokens.max_tokens)
            self._limit = min(MAX_CHARACTERS, self._most * _CHARACTERS)

    def __call__(
        self, text: str, truncate: Truncate = None, check: Callable[[], None] = lambda: None
    ) -> Prepared:
        """Prepare a text.

        Args:
            check: called between parts of the work, to raise where there is no time for more.

        Raises:
            InputTooLongError: more characters, tokens or units than are read, and ``truncate`` is
                None. ModelFileError: the tokenizer fails.
        """
        if truncate is None:
            return self._prepared(kept_of(text, len(text)), check)
        limit = min(len(text), self._limit)
        while True:
            try:
                return self._prepared(kept_of(text, limit), check)
            except InputTooLongError:
                limit = int(limit * _SHORTER)
                if limit < _LEAST:
                    raise

    def _prepared(self, kept: Kept, check: Callable[[], None]) -> Prepared:
        check()
        _require(len(kept.text), self._limit, "characters", "reads")
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        if self._tokens is not None:
            ids, offsets = self._tokens.spread(kept.text)
            _require(len(ids), self._most, "tokens", "reads")
            check()
        layout = lay_out(kept.text, self._kinds, words=self._spec.words)
        _require(layout.units, MAX_UNITS, "lines, words and values", "weighs")
        check()
        features = unit_features(layout)
        inputs: dict[str, Any] = {"ids": features.ids, "values": _values(*features)}
        windows = None
        if self._tokens is not None:
            begin, end = self._tokens.around
            size = self._tokens.max_tokens
            windows = in_windows(ids, offsets, layout, size=size, begin=begin, end=end)
            inputs["input_ids"] = windows.input_ids
            inputs["attention_mask"] = windows.attention_mask
        read = int(features.counts.sum()) if self._tokens is None else len(ids)
        return Prepared(kept, layout, inputs, windows, read)

    def trial(self) -> Prepared:
        """A text that has all kinds of units, as far as windows hold it.

        Raises:
            InputTooLongError: the tokenizer makes many tokens of few characters.
        """
        return self("Total: 1.00\n2020-01-01 12:00\nA-123", "middle")


def _require(count: int, most: int, what: str, does: str) -> None:
    if count > most:
        raise InputTooLongError(
            f"the text has {count:,} {what}, but this model {does} {most:,}; shorten it, or allow "
            'truncate="middle"',
            tokens=count,
            limit=most,
        )


def _values(ids: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """What features count: those of a unit have length 1 together."""
    share = 1 / np.sqrt(np.maximum(counts, 1))
    return ((ids > 0) * share[:, None]).astype(np.float32)


def _most_tokens(window: int) -> int:
    """The tokens that MAX_WINDOWS overlapping windows hold."""
    room = window - 2
    return room + (MAX_WINDOWS - 1) * max(1, room // 2)
