"""What an .onnx specialist's graph reads: token ids, features, or both, as one row of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from edgeslm.engines.onnx.tokens import EncoderTokens, Row
from edgeslm.errors import InputTooLongError
from edgeslm.formats.onnx.info import ONNXInfo
from edgeslm.formats.text import Truncate, without_middle

#: one text's inputs; raises InputTooLongError where it is longer than may be read
Reader = Callable[[str, Truncate], Row]

#: characters that a linear model reads; their features take a sixth of a second
MAX_CHARACTERS: Final = 50_000
#: tokens of the row that a graph is tried with
_TRIAL = 4


def reader_of(info: ONNXInfo, max_tokens: int) -> tuple[Reader, Row]:
    """What turns a text into inputs, and inputs that a text could have, to try the graph with.

    Raises:
        ModelFileError: no tokenizer. CardError: no feature list.
    """
    parts = []
    if info.tokenizer_json is not None:
        parts.append(_tokens(info.tokenizer_json, max_tokens, where=str(info.path)))
    if info.features is not None:
        parts.append(_features(info.features, where=str(info.path)))
    [(read, trial), *more] = parts
    for other, extra in more:
        read, trial = _both(read, other), {**trial, **extra}
    return read, trial


def _both(first: Reader, second: Reader) -> Reader:
    return lambda text, truncate: {**first(text, truncate), **second(text, truncate)}


def _tokens(tokenizer_json: str, max_tokens: int, *, where: str) -> tuple[Reader, Row]:
    tokens = EncoderTokens(tokenizer_json, max_tokens, where=where)
    return tokens, tokens.row([tokens.highest] * min(_TRIAL, max_tokens))


def _features(spec_json: str, *, where: str) -> tuple[Reader, Row]:
    from edgeslm.engines.onnx.features import (  # most encoders start without it
        FeatureSpec,
        LinearFeatures,
    )

    features = LinearFeatures(FeatureSpec.from_json(spec_json, where=where))

    def read(text: str, truncate: Truncate) -> Row:
        if len(text) > MAX_CHARACTERS and truncate is None:
            raise InputTooLongError(
                f"the text has {len(text):,} characters, but this model reads {MAX_CHARACTERS:,}; "
                'shorten it, or allow truncate="middle"',
                tokens=len(text),
                limit=MAX_CHARACTERS,
            )
        ids, values = features([without_middle(text, MAX_CHARACTERS)])
        return {"ids": ids[0], "values": values[0]}

    last = np.array([max(0, features.size - 1)], np.int64)
    return read, {"ids": last, "values": np.ones(1, np.float32)}
