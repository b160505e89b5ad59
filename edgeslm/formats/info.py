"""What a model file is, whatever its format: read_info, and the format by the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from edgeslm.formats.gguf.info import GGUFInfo
    from edgeslm.formats.onnx.info import ONNXInfo

ModelInfo: TypeAlias = "GGUFInfo | ONNXInfo"


def format_of(path: Path) -> Literal["gguf", "onnx"]:
    """The format of a model file by its name: ``.onnx``, and all others are taken for GGUF."""
    return "onnx" if path.suffix.lower() == ".onnx" else "gguf"


def read_info(path: Path) -> ModelInfo:
    """Read and check the header of a model file; the weights are not read into memory.

    Raises:
        ModelFileError: it cannot be read, is damaged, or is no model.
        CardError: an .onnx without a card, or with one that does not fit its graph.
    """
    if format_of(path) == "onnx":
        from edgeslm.formats.onnx.info import read_onnx

        return read_onnx(path)
    from edgeslm.formats.gguf.info import read_gguf

    return read_gguf(path)
