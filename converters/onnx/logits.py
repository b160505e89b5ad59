"""Logits of an .onnx specialist for texts, one by one as the runtime computes them"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.onnx.inputs import reader_of
from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.onnx.tokens import Row, stack
from edgeslm.formats.onnx.info import read_onnx

Logits = NDArray[np.float32]


class FileLogits:
    """An .onnx file opened for its logits; ``read`` gives a text's inputs, ``run`` their logits."""

    def __init__(self, path: Path) -> None:
        """Raises ModelFileError, CardError: the file is no specialist."""
        info = read_onnx(path)
        read, _ = reader_of(info, info.max_tokens)
        self.read: Callable[[str], Row] = lambda text: read(text, "middle")
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
