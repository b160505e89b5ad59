"""Logits of an .onnx specialist for texts, one by one as the runtime computes them"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgeslm.encoder import EncoderTokens, Row, stack
from edgeslm.engines.onnx import OnnxSession
from edgeslm.linear import FeatureSpec, LinearFeatures
from edgeslm.onnx_file import ONNXInfo, read_onnx

Logits = NDArray[np.float32]


class FileLogits:
    """An .onnx file opened for its logits; ``read`` gives a text's inputs, ``run`` their logits."""

    def __init__(self, path: Path) -> None:
        """Raises ModelFileError, CardError: the file is no specialist."""
        info = read_onnx(path)
        self.read = _reader(info)
        self._session = OnnxSession(path, gpu=False)

    def run(self, row: Row) -> Logits:
        """float32 [labels of all heads]."""
        logits: Logits = self._session.run(stack([row]))[0]
        return logits

    def __call__(self, texts: Sequence[str]) -> Logits:
        """float32 [texts, labels of all heads]; a text too long for the model loses its middle."""
        return np.stack([self.run(self.read(text)) for text in texts])

    def __enter__(self) -> FileLogits:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()


def _reader(info: ONNXInfo) -> Callable[[str], Row]:
    if info.tokenizer_json is not None:
        tokens = EncoderTokens(info.tokenizer_json, info.max_tokens, where=str(info.path))
        return lambda text: tokens(text, "middle")
    assert info.features is not None, "read_onnx gives one of both"
    features = LinearFeatures(FeatureSpec.from_json(info.features, where=str(info.path)))

    def read(text: str) -> Row:
        ids, values = features([text])
        return {"ids": ids[0], "values": values[0]}

    return read
