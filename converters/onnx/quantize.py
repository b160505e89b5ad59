"""The quantize step of an encoder: 8-bit candidates measured here, the fastest good one kept"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from converters.encoder.tables import Bits, quantize_tables
from converters.errors import DataError, require
from converters.gates.candidates import Measured, candidate_files, take_fastest
from converters.onnx.export import read_model, set_metadata, write_model
from converters.onnx.graph import WORDS
from converters.onnx.logits import FileLogits, Logits
from converters.onnx.parity import divergence
from edgeslm.formats.card import Task
from edgeslm.formats.files import Progress, silent

if TYPE_CHECKING:
    from onnx import ModelProto

#: How weights are rounded. "int8" and "uint8" have a scale for each output and multiply with
#: inputs rounded as they come, by one scale for all of them; "int8 blocks" have a scale for each
#: block of weights and of inputs: slower, and several times nearer to float.
#:
#: "int8" uses 7 of its bits: with 8, processors without VNNI overflow 16-bit sums and answer
#: otherwise than those with it, and a file is made for all of them. So 8 bits are no candidate to
#: be measured: a processor with VNNI, where they are exact, would find nothing wrong with them.
Scheme = Literal["int8", "uint8", "int8 blocks"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
_BLOCK: Final = 128
#: texts and rounds that the time is measured with
_TEXTS, _ROUNDS = 32, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Measured):
    """One way to quantize; ``milliseconds`` are the median of one text's run."""

    scheme: Scheme


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """All candidates, fastest first, the one that was taken, and the float model's time where there
    is a float model."""

    candidates: tuple[Candidate, ...]
    chosen: Scheme
    float_milliseconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def quantize_best(
    float_onnx: Path,
    task: Task,
    texts: Sequence[str],
    out: Path,
    *,
    refuses: Callable[[Path], str | None],
    embedding_bits: Bits = 8,
    progress: Progress = silent,
) -> QuantizeReport:
    """Write as ``out`` the fastest candidate that ``refuses`` has nothing against.

    Speed and the distance to the float weights are measured on ``texts``, one by one.
    ``refuses`` is asked from the fastest on, until it gives no reason.

    Raises:
        GateError: no candidate passes; ``out`` is as it was.
        DataError: no texts. MissingExtraError: onnx or onnxruntime are not installed.
    """
    if not texts:
        raise DataError("no texts to measure candidates on; raise data.split.development")
    with candidate_files(SCHEMES, out) as files:
        for done, (scheme, path) in enumerate(files.items()):
            progress("quantizing", done, len(files))
            quantize_onnx(float_onnx, path, scheme, embedding_bits=embedding_bits)
        progress("measuring", 0, None)
        candidates, float_ms = _measured(float_onnx, files, task, texts)
        judged, chosen = take_fastest(
            candidates,
            files,
            out,
            refuses=refuses,
            remedy="raise gates.max_drop",
            progress=progress,
        )
    return QuantizeReport(judged, chosen, float_ms)


def quantize_onnx(source: Path, target: Path, scheme: Scheme, *, embedding_bits: Bits = 8) -> Path:
    """Write an encoder with 8-bit weights and rounded embeddings; heads and the rest stay float.

    Raises:
        BaseModelError: ``source`` is missing or damaged.
        MissingExtraError: onnx or onnxruntime are not installed.
    """
    require("onnx", "onnxruntime")
    proto = read_model(source)
    held = {entry.key: entry.value for entry in proto.metadata_props}
    quantize_tables(proto, {WORDS: embedding_bits})
    with _quiet():
        rounded = (
            _blockwise(proto)
            if scheme == "int8 blocks"
            else _dynamic(proto, target, signed=scheme == "int8")
        )
    set_metadata(rounded, held)
    return write_model(rounded, target)


def _dynamic(proto: ModelProto, target: Path, *, signed: bool) -> ModelProto:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    aside = target.with_name(target.name + ".dynamic")
    try:
        quantize_dynamic(
            proto,
            aside,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=signed,
            nodes_to_exclude=[  # the heads, which it takes for other matrices by these names
                f"{node.name}_MatMul" for node in proto.graph.node if node.op_type == "Gemm"
            ],
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            # of what fused operators give, which ONNX's own shape inference does not know
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        return read_model(aside)
    finally:
        aside.unlink(missing_ok=True)


def _blockwise(proto: ModelProto) -> ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer: Any = MatMulNBitsQuantizer(
        proto, bits=8, block_size=_BLOCK, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    rounded: ModelProto = quantizer.model.model
    return rounded


def _measured(
    float_onnx: Path, files: Mapping[Scheme, Path], task: Task, texts: Sequence[str]
) -> tuple[dict[Scheme, Candidate], float]:
    """Candidates, and the float model's milliseconds."""
    paths = {"float": float_onnx} | {str(scheme): path for scheme, path in files.items()}
    logits = {name: _logits(path, texts) for name, path in paths.items()}
    ms = run_milliseconds(paths, texts[:_TEXTS])
    candidates = {
        scheme: Candidate(
            scheme=scheme,
            size=path.stat().st_size,
            milliseconds=ms[scheme],
            divergence=divergence(task, logits["float"], logits[scheme]),
        )
        for scheme, path in files.items()
    }
    return candidates, ms["float"]


def run_milliseconds(paths: Mapping[str, Path], texts: Sequence[str]) -> dict[str, float]:
    """The median milliseconds of a run with one text, by name, turn by turn: whatever else this
    machine does meanwhile slows all of them alike."""
    taken: dict[str, list[float]] = {name: [] for name in paths}
    with ExitStack() as stack:
        models = {name: stack.enter_context(FileLogits(path)) for name, path in paths.items()}
        rows = [next(iter(models.values())).read(text) for text in texts]
        for model in models.values():
            model.run(rows[0])
        for _ in range(_ROUNDS):
            for row in rows:
                for name, model in models.items():
                    start = time.perf_counter()
                    model.run(row)
                    taken[name].append(1000 * (time.perf_counter() - start))
    return {name: median(times) for name, times in taken.items()}


def _logits(path: Path, texts: Sequence[str]) -> Logits:
    with FileLogits(path) as model:
        return model(texts)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizers advise through the root logger what is done here already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
