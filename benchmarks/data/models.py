"""A pulled model in another quantization, made once and kept."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from edgeslm.formats.files import file_sha256, publish


def requantized(source: Path, kind: str, folder: Path) -> Path:
    """The model of ``source`` as ``kind``, such as Q4_0; made in ``folder`` unless there.

    The weights go through their present quantization, so quality is a little below
    what the float weights would give.

    Raises:
        EngineError: llama.cpp cannot quantize this file.
    """
    from edgeslm.engines.llama.quantize import quantize

    target = folder / f"{file_sha256(source)}-{kind}.gguf"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            aside = target.with_suffix(".part")
            quantize(source, aside, kind)
            publish(aside, target)
    return target
