"""Base and adapter become the proven model file: merged, quantized, packed, compared"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeslm.errors import CardError, EdgeslmError
from edgeslm.formats.card import Card
from edgeslm.formats.files import Progress, file_sha256, silent
from edgeslm.formats.gguf.adapter import (
    AdapterInfo,
    Assembly,
    Mark,
    Quantization,
    read_adapter,
    write_adapter,
)
from edgeslm.formats.gguf.header import TensorInfo
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf
from edgeslm.formats.gguf.merge import merge_float, read_raw, read_rows, unwritable, write_merged
from edgeslm.formats.gguf.pack import remove_leftovers, write_card

__all__ = ["assemble", "merge_float", "seal"]

#: How much further from the float weights a tensor may be than the proven one was. Another
#: processor rounds a few blocks otherwise, which changes this by far less than a thousandth;
#: weights that are not these are off by many times as much.
TOLERANCE = 1.01


def assemble(base: Path, adapter: Path, target: Path, *, progress: Progress = silent) -> Path:
    """Make the specialist that an adapter and its base were proven as; returns ``target``.

    The weights are dequantized, the adapter is added, the sum quantized with the adapter's
    importance matrix. Every tensor is then the proven one bit for bit or, where this
    processor rounds otherwise, within `TOLERANCE`. ``target`` gets its name only then.

    Raises:
        ModelFileError: a file is damaged, or the two do not fit each other.
        CardError: the adapter does not say how to assemble it, or is for another base.
        PullError: not enough disk; float weights lie there meanwhile, 4 bytes for each.
        EngineError: llama.cpp cannot quantize it.
        EdgeslmError: what came out is not what was proven, or cannot be written.
    """
    info = read_adapter(adapter)
    assembly, card = info.assembly, info.card
    if assembly is None or card is None:
        raise CardError(
            f"{adapter}: holds no {'assembly' if assembly is None else 'card'}, so what it must "
            "become is not known; pack it again"
        )
    _check_base(base, assembly, adapter, progress)
    with _work_files(target) as (merged, made):
        write_merged(base, info, merged, progress)
        _quantize(merged, made, info, assembly.quantization, progress)
        _verify(read_gguf(made), read_gguf(merged), assembly)
        write_card(made, card, target)
    return target


def seal(
    base: Path,
    draft: Path,
    adapter: Path,
    target: Path,
    *,
    quantization: Quantization,
    card: Card,
    progress: Progress = silent,
) -> Assembly:
    """Make a new specialist as ``target``, and as ``adapter`` the draft with card and proof.

    ``draft`` is an adapter with factors and importance matrix. From ``adapter`` and the base
    `assemble` makes ``target`` again.

    Raises:
        ModelFileError, CardError, PullError, EngineError, EdgeslmError: as `assemble`.
        SchemaError: the card's schema cannot be enforced.
    """
    from edgeslm.engines.llama.library import llama_cpp

    info = read_adapter(draft)
    with _work_files(target) as (merged, made):
        write_merged(base, info, merged, progress)
        _quantize(merged, made, info, quantization, progress)
        write_card(made, card, target)
        assembly = Assembly(
            base_sha256=file_sha256(base),
            quantization=quantization,
            tensors=_marks(read_gguf(made), read_gguf(merged)),
            file_sha256=file_sha256(target),
            build=f"llama-cpp-python {llama_cpp.__version__}",
        )
        # the card as packed, which names the chat template too
        write_adapter(adapter, info.load(), card=read_gguf(target).card, assembly=assembly)
    return assembly


@contextmanager
def _work_files(target: Path) -> Iterator[tuple[Path, Path]]:
    """Places beside the target for merged and quantized weights; empty afterwards."""
    names = [target.with_name(f"{target.name}.{step}") for step in ("merged", "made")]
    merged, made = (name.with_name(f".{name.name}.{os.getpid()}.part") for name in names)
    try:
        for name in names:
            remove_leftovers(name)
        yield merged, made
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        merged.unlink(missing_ok=True)
        made.unlink(missing_ok=True)


def _quantize(
    merged: Path,
    made: Path,
    adapter: AdapterInfo,
    quantization: Quantization,
    progress: Progress,
) -> None:
    from edgeslm.engines.llama.quantize import quantize

    progress("quantizing", 0, None)
    quantize(
        merged,
        made,
        quantization.file_type,
        imatrix=adapter.imatrix(),
        embeddings=quantization.embeddings,
        overrides=quantization.overrides,
    )


# --- what was proven ----------------------------------------------------------


def _check_base(base: Path, assembly: Assembly, adapter: Path, progress: Progress) -> None:
    sha256 = file_sha256(base, progress)
    if sha256 != assembly.base_sha256:
        raise CardError(
            f"{adapter}: an adapter for another base: it was made for the file with sha256 "
            f"{assembly.base_sha256}, {base} has {sha256}; use the base that it names"
        )


def _verify(made: GGUFInfo, merged: GGUFInfo, assembly: Assembly) -> None:
    """Hold what was made to what was proven."""
    odd = {tensor.name for tensor in made.tensors} ^ set(assembly.tensors)
    if odd:
        raise EdgeslmError(
            f"the tensor {min(odd)!r} is only in one of what was assembled and what was proven; "
            "pull adapter and base again"
        )
    for tensor in made.tensors:
        mark = assembly.tensors[tensor.name]
        if _sha256(made, tensor) != mark.sha256:
            error = _error(made, tensor, merged)
            if not error <= TOLERANCE * mark.error:
                raise EdgeslmError(
                    f"the assembled {tensor.name} is {error:.3g} from its float weights, the "
                    f"proven one was {mark.error:.3g}: this llama.cpp quantizes otherwise than "
                    f"that of {assembly.build}; install that version, or pull the whole model"
                )


def _marks(made: GGUFInfo, merged: GGUFInfo) -> dict[str, Mark]:
    return {
        tensor.name: Mark(sha256=_sha256(made, tensor), error=_error(made, tensor, merged))
        for tensor in made.tensors
    }


def _sha256(info: GGUFInfo, tensor: TensorInfo) -> str:
    digest = hashlib.sha256()
    with info.path.open("rb") as file:
        for raw in read_raw(file, info, tensor):
            digest.update(raw)
    return digest.hexdigest()


def _error(made: GGUFInfo, tensor: TensorInfo, merged: GGUFInfo) -> float:
    """Root mean square of the difference of a tensor to its float weights."""
    wanted = next(other for other in merged.tensors if other.name == tensor.name)
    total = 0.0
    with made.path.open("rb") as left, merged.path.open("rb") as right:
        parts = zip(read_rows(left, made, tensor), read_rows(right, merged, wanted), strict=True)
        for values, floats in parts:
            total += float(np.square(values.astype(np.float64) - floats).sum())
    return float((total / np.prod(tensor.shape)) ** 0.5)
