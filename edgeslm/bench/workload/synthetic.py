"""Models of a known shape with random weights: for latency alone, on machines that lack the real.

Their answers mean nothing. The time of an answer does: it depends on shapes and types, not on
what the weights are. Types are those of llama.cpp's own Q4_0 files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from filelock import FileLock

from edgeslm.bench.machine.facts import SYNTHETIC_KEY
from edgeslm.bench.workload.vocabulary import tokenizer
from edgeslm.engines.device.machine import cache_home
from edgeslm.errors import InputError, ModelFileError, PullError
from edgeslm.formats.files import Progress, publish, require_room, silent
from edgeslm.formats.gguf.info import read_gguf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: of the files: another one makes those of before be written again
VERSION: Final = 1
_CHUNK_BYTES = 16 * 1024 * 1024
#: room for the header; that of 152,064 tokens has 4 MB
_HEADER_BYTES = 8 * 1024 * 1024
_FILE_TYPE_Q4_0 = 2

Kind = Literal["F32", "Q4_0", "Q6_K", "Q8_0"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how long a model takes: its matrices and its vocabulary."""

    architecture: Literal["llama", "qwen2"]
    layers: int
    width: int
    heads: int
    kv_heads: int
    ff_width: int
    vocabulary: int
    context: int
    rope_base: float
    tied: bool

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads


#: as their makers publish them: Llama 3.1 and 3.3 8B, Qwen2.5, SmolLM2
SHAPES: Final[Mapping[str, Shape]] = {
    "llama-8b": Shape("llama", 32, 4096, 32, 8, 14336, 128256, 131072, 500_000.0, tied=False),
    "qwen-7b": Shape("qwen2", 28, 3584, 28, 4, 18944, 152064, 32768, 1_000_000.0, tied=False),
    "qwen-3b": Shape("qwen2", 36, 2048, 16, 2, 11008, 151936, 32768, 1_000_000.0, tied=True),
    "qwen-1.5b": Shape("qwen2", 28, 1536, 12, 2, 8960, 151936, 32768, 1_000_000.0, tied=True),
    "qwen-0.5b": Shape("qwen2", 24, 896, 14, 2, 4864, 151936, 32768, 1_000_000.0, tied=True),
    "smollm2-360m": Shape("llama", 32, 960, 15, 5, 2560, 49152, 8192, 100_000.0, tied=True),
    "smollm2-135m": Shape("llama", 30, 576, 9, 3, 1536, 49152, 8192, 100_000.0, tied=True),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor to write; ``shape`` has the row length last."""

    name: str
    shape: tuple[int, ...]
    kind: Kind

    @property
    def row_bytes(self) -> int:
        per_block, block_bytes = _BLOCKS[self.kind]
        return self.shape[-1] // per_block * block_bytes

    @property
    def n_bytes(self) -> int:
        return prod(self.shape[:-1]) * self.row_bytes


#: numbers and bytes of one block
_BLOCKS: Final[Mapping[Kind, tuple[int, int]]] = {
    "F32": (1, 4),
    "Q4_0": (32, 18),
    "Q6_K": (256, 210),
    "Q8_0": (32, 34),
}


def synthetic(name: str, *, folder: Path | None = None, progress: Progress = silent) -> Path:
    """The file of a shape of ``SHAPES``, written at the first call: some seconds per gigabyte.

    Args:
        folder: where it is kept; default is ``synthetic`` in edgeslm's cache.
        progress: called with what is being done, and bytes done and in all.

    Raises:
        InputError: no such shape.
        PullError: the disk has no room for it, or it cannot be written.
    """
    shape = SHAPES.get(name)
    if shape is None:
        raise InputError(f"{name} is no shape; there are {', '.join(SHAPES)}")
    folder = folder or cache_home() / "synthetic"
    path = folder / f"synthetic-{name}-v{VERSION}.gguf"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not _is_whole(path):
                write(shape, path, name=name, progress=progress)
    except OSError as error:
        raise PullError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def write(shape: Shape, path: Path, *, name: str, progress: Progress = silent) -> None:
    """Write a model of this shape; the same shape gives the same bytes.

    Raises:
        PullError: the disk has no room for it; nothing was written.
        OSError: it cannot be written; nothing is left.
    """
    total = sum(tensor.n_bytes for tensor in tensors(shape))
    aside = path.with_suffix(".part")
    aside.unlink(missing_ok=True)  # left by a process that was killed
    require_room(path.parent, total + _HEADER_BYTES)
    try:
        _write_all(shape, aside, name, total, progress)
        publish(aside, path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def tensors(shape: Shape) -> Iterator[Tensor]:
    """The tensors of a shape, with the types that llama.cpp's Q4_0 gives them."""
    # the output matrix is kept finer; rows that Q6_K does not divide get Q8_0
    output: Kind = "Q6_K" if shape.width % 256 == 0 else "Q8_0"
    width, kv_width = shape.width, shape.kv_width
    embeddings = (shape.vocabulary, width)
    yield Tensor("token_embd.weight", embeddings, output if shape.tied else "Q4_0")
    for i in range(shape.layers):
        yield Tensor(f"blk.{i}.attn_norm.weight", (width,), "F32")
        for part, rows in (("q", width), ("k", kv_width), ("v", kv_width)):
            yield Tensor(f"blk.{i}.attn_{part}.weight", (rows, width), "Q4_0")
            if shape.architecture == "qwen2":
                yield Tensor(f"blk.{i}.attn_{part}.bias", (rows,), "F32")
        yield Tensor(f"blk.{i}.attn_output.weight", (width, width), "Q4_0")
        yield Tensor(f"blk.{i}.ffn_norm.weight", (width,), "F32")
        yield Tensor(f"blk.{i}.ffn_gate.weight", (shape.ff_width, width), "Q4_0")
        yield Tensor(f"blk.{i}.ffn_up.weight", (shape.ff_width, width), "Q4_0")
        yield Tensor(f"blk.{i}.ffn_down.weight", (width, shape.ff_width), "Q4_0")
    yield Tensor("output_norm.weight", (width,), "F32")
    if not shape.tied:
        yield Tensor("output.weight", embeddings, output)


def _is_whole(path: Path) -> bool:
    try:
        read_gguf(path)
    except ModelFileError:
        return False
    return True


# --- writing ------------------------------------------------------------------


def _write_all(shape: Shape, path: Path, name: str, total: int, progress: Progress) -> None:
    import gguf
    import numpy as np

    random = np.random.Generator(np.random.SFC64(VERSION))
    writer = gguf.GGUFWriter(path, shape.architecture)
    try:
        for key, value in _metadata(shape, name).items():
            writer.add_key_value(key, value, _value_type(value))
        for tensor in tensors(shape):
            rows = (*tensor.shape[:-1], tensor.row_bytes)
            kind = gguf.GGMLQuantizationType[tensor.kind]
            writer.add_tensor_info(tensor.name, rows, np.dtype(np.uint8), tensor.n_bytes, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        # the writer itself takes whole tensors only, and one of these can have half a gigabyte
        assert writer.fout is not None
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        done = 0
        for tensor in tensors(shape):
            for chunk in _chunks(tensor, random):
                file.write(chunk)
                done += len(chunk)
                progress(f"writing synthetic {name}", done, total)
            writer.write_padding(file, tensor.n_bytes)
    finally:
        writer.close()


def _metadata(shape: Shape, name: str) -> dict[str, Any]:
    prefix = shape.architecture
    return {
        "general.type": "model",
        "general.name": f"synthetic {name}: random weights, answers mean nothing",
        "general.file_type": _FILE_TYPE_Q4_0,
        "general.quantization_version": 2,
        SYNTHETIC_KEY: True,
        f"{prefix}.block_count": shape.layers,
        f"{prefix}.context_length": shape.context,
        f"{prefix}.embedding_length": shape.width,
        f"{prefix}.feed_forward_length": shape.ff_width,
        f"{prefix}.attention.head_count": shape.heads,
        f"{prefix}.attention.head_count_kv": shape.kv_heads,
        f"{prefix}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{prefix}.rope.dimension_count": shape.width // shape.heads,
        f"{prefix}.rope.freq_base": shape.rope_base,
        f"{prefix}.vocab_size": shape.vocabulary,
        **tokenizer(shape.vocabulary),
    }


def _value_type(value: Any) -> Any:
    import gguf

    is_count = isinstance(value, int) and not isinstance(value, bool)
    return gguf.GGUFValueType.UINT32 if is_count else gguf.GGUFValueType.get_type(value)


def _chunks(tensor: Tensor, random: np.random.Generator) -> Iterator[bytes]:
    """The bytes of a tensor, some megabytes at a time."""
    import numpy as np

    if tensor.kind == "F32":
        neutral = 0.0 if tensor.name.endswith(".bias") else 1.0
        yield np.full(tensor.shape, neutral, "<f4").tobytes()
        return
    _, block_bytes = _BLOCKS[tensor.kind]
    left = tensor.n_bytes // block_bytes
    while left:
        n = min(left, _CHUNK_BYTES // block_bytes)
        yield _blocks(tensor.kind, n, 1 / sqrt(tensor.shape[-1]), random).tobytes()
        left -= n


def _blocks(kind: Kind, n: int, deviation: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Random blocks, [n, bytes], whose numbers have about this standard deviation.

    All bits are random but those of the scales, so that no number is infinite or none.
    """
    import numpy as np

    _, block_bytes = _BLOCKS[kind]
    blocks = np.frombuffer(bytearray(random.bytes(n * block_bytes)), np.uint8)
    blocks = blocks.reshape(n, block_bytes)

    def scale(integers: float) -> NDArray[np.uint8]:
        """A float16 for integers of this standard deviation."""
        return np.frombuffer(np.float16(deviation / integers).tobytes(), np.uint8)

    if kind == "Q4_0":  # scale, 32 x 4 bits: -8 to 7
        blocks[:, :2] = scale(4.6)
    elif kind == "Q8_0":  # scale, 32 x 8 bits: -128 to 127
        blocks[:, :2] = scale(73.9)
    else:  # Q6_K: 256 x 6 bits (-32 to 31), 16 scales of 8 bits, and their scale
        blocks[:, 192:208] = 64
        blocks[:, 208:] = scale(18.5 * 64)
    return blocks
