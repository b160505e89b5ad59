"""An encoder's input: text becomes the token ids its graph reads, with the file's own tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeslm.errors import InputTooLongError, MissingExtraError, ModelFileError
from edgeslm.formats.onnx.tokenizer import check_tokenizer
from edgeslm.formats.text import Truncate, without_middle

T = TypeVar("T")

#: a text with characters that no tokenizer knows, which shows whether it can say so
_TRIAL: Final = "a \ue000\ue001"
#: characters of a text for each token that may be read; words have 4 to 6
_CHARACTERS: Final = 64
#: one text as a graph reads it: arrays [length] by input
Row = Mapping[str, NDArray[np.int64] | NDArray[np.float32]]


class EncoderTokens:
    """Texts become token ids, special tokens included. Safe to call from many threads."""

    def __init__(self, tokenizer_json: str, max_tokens: int, *, where: str) -> None:
        """Read a tokenizer; ``max_tokens`` bounds an input, ``where`` names the file in errors.

        Raises:
            ModelFileError: it is no tokenizer.
        """
        self.max_tokens = max_tokens
        self._where = where
        #: the highest token id that a text can have
        self.highest = _guarded(where, lambda: check_tokenizer(tokenizer_json))
        self._tokenizer = _guarded(where, lambda: _parsed(tokenizer_json))

    def __call__(self, text: str, truncate: Truncate = None) -> Row:
        """The ids and the mask of a text.

        Raises:
            InputTooLongError: more than ``max_tokens``, or more than 64 characters for each of
                them, and ``truncate`` is None.
            ModelFileError: the tokenizer fails.
        """
        text = self._bounded(text, truncate)
        encoded = _guarded(self._where, lambda: self._tokenizer.encode(text))
        ids = encoded.ids
        if len(ids) > self.max_tokens:
            ids = self._cut(ids, encoded.special_tokens_mask, truncate)
        return self.row(ids)

    def spread(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of a text without special tokens, however many, and the half-open code points
        that each stands for; raises ModelFileError."""
        encoded = _guarded(
            self._where, lambda: self._tokenizer.encode(text, add_special_tokens=False)
        )
        return encoded.ids, encoded.offsets

    @cached_property
    def around(self) -> tuple[int, int]:
        """The special tokens before and behind a text; raises ModelFileError unless it is one of
        each."""
        ids = _guarded(self._where, lambda: self._tokenizer.encode("")).ids
        if len(ids) != 2:
            raise ModelFileError(
                f"{self._where}: its tokenizer must put one token before a text and one behind it; "
                "make the file again with `python -m converters`"
            )
        return ids[0], ids[1]

    def _bounded(self, text: str, truncate: Truncate) -> str:
        """A text of so many characters that its tokenizing takes milliseconds."""
        most = self.max_tokens * _CHARACTERS
        if len(text) > most and truncate is None:
            raise InputTooLongError(
                f"the text has {len(text):,} characters, but this model reads {self.max_tokens} "
                f'tokens; shorten it, or allow truncate="middle"',
                tokens=self.max_tokens + 1,  # at least
                limit=self.max_tokens,
            )
        return without_middle(text, most)

    def row(self, ids: Sequence[int]) -> Row:
        """Ids as the graph reads them."""
        return {
            "input_ids": np.array(ids, np.int64),
            "attention_mask": np.ones(len(ids), np.int64),
        }

    def _cut(self, ids: list[int], special: list[int], truncate: Truncate) -> list[int]:
        """Without the middle of the text; the special tokens around it stay."""
        before = len(list(takewhile(bool, special)))
        after = len(list(takewhile(bool, reversed(special))))
        room = self.max_tokens - before - after
        if truncate is None or room < 2:
            raise InputTooLongError(
                f"the text has {len(ids)} tokens, but this model reads {self.max_tokens}; shorten "
                'it, or allow truncate="middle"',
                tokens=len(ids),
                limit=self.max_tokens,
            )
        head, tail = before + room - room // 2, after + room // 2
        return ids[:head] + ids[-tail:]


def stack(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows as one batch: arrays [batch, length], each padded with zeros to the longest."""
    batch = {}
    for name, first in rows[0].items():
        lengths = [len(row[name]) for row in rows]
        whole = np.zeros((len(rows), max(lengths)), first.dtype)
        for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            whole[i, :length] = row[name]
        batch[name] = whole
    return batch


def _guarded(where: str, call: Callable[[], T]) -> T:
    """What a call of the tokenizers library gives; where that fails, the file is to blame."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError, MissingExtraError):
        raise
    except BaseException as error:  # its errors are bare Exceptions, its panics not even those
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise ModelFileError(
            f"{where}: its tokenizer is damaged: {reason}; make the file again with "
            "`python -m converters`, or pull it again"
        ) from error


def _parsed(tokenizer_json: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "this model is an encoder, and tokenizers is not installed; install it: "
            'pip install "edgeslm-core[onnx]"',
            extra="onnx",
        ) from error

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode(_TRIAL)
    return tokenizer
