"""The quantize step: candidates measured on this device and this task, the fastest good one kept"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from converters.causal.divergence import divergences
from converters.causal.encode import Encoded
from converters.gates.candidates import Measured, candidate_files, take_fastest
from converters.gates.reports import Divergence
from converters.recipe.recipe import Quantize
from edgeslm.engines.engine import Batch
from edgeslm.formats.files import Progress, silent
from edgeslm.formats.gguf.adapter import Floats, Quantization, QuantType
from edgeslm.formats.gguf.info import read_gguf

if TYPE_CHECKING:
    from edgeslm.engines.llama.engine import LlamaEngine

#: runs of each measurement, of which the median counts; single tokens of one run
_RUNS, _DECODES = 3, 16


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second on this device: many at once, and one after the other."""

    prefill: float
    decode: float

    def milliseconds(self, prompt: float, answer: float) -> float:
        """How long a prompt and an answer of so many tokens take, if every token is decoded."""
        return 1000 * (prompt / self.prefill + answer / self.decode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Measured):
    """One quantization; ``milliseconds`` are for a row of the task's mean length."""

    file_type: QuantType
    bits_per_weight: float
    speed: Speed


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """All candidates, fastest first, and the one that was taken."""

    candidates: tuple[Candidate, ...]
    chosen: QuantType

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def quantization(spec: Quantize, file_type: QuantType) -> Quantization:
    """What an assembly says of one candidate of the recipe."""
    embeddings = None if spec.embeddings == "same" else spec.embeddings
    return Quantization(file_type=file_type, embeddings=embeddings, overrides=spec.overrides)


def quantize_best(
    spec: Quantize,
    float_gguf: Path,
    imatrix: Mapping[str, Floats],
    rows: Sequence[Encoded],
    out: Path,
    *,
    refuses: Callable[[Path], str | None],
    progress: Progress = silent,
) -> QuantizeReport:
    """Write as ``out`` the fastest candidate that ``refuses`` has nothing against.

    Speed is measured at the rows' mean length, the distance to the float weights at their
    answers. ``refuses`` is asked from the fastest on, until it gives no reason.

    Raises:
        GateError: no candidate passes; ``out`` is as it was.
        DataError: no rows.
        EngineError: llama.cpp cannot quantize as the recipe says.
    """
    with candidate_files(spec.types, out) as files:
        for done, (file_type, path) in enumerate(files.items()):
            progress("quantizing", done, len(files))
            _write(quantization(spec, file_type), float_gguf, imatrix, path)
        distances = divergences(float_gguf, list(files.values()), rows, progress=progress)
        candidates = {
            file_type: _measured(file_type, path, distance, rows)
            for (file_type, path), distance in zip(files.items(), distances, strict=True)
        }
        judged, chosen = take_fastest(
            candidates,
            files,
            out,
            refuses=refuses,
            remedy="name a larger type such as Q8_0 in quantize.types",
            progress=progress,
        )
    return QuantizeReport(judged, chosen)


def measure_speed(engine: LlamaEngine, prompt: int) -> Speed:
    """Speed of a loaded model behind prompts of so many tokens; takes a few seconds."""
    prompt = max(1, min(prompt, engine.max_context - _DECODES))
    engine.resize(prompt + _DECODES)
    engine.arm(None)
    # which tokens makes no difference to the time
    return Speed(
        prefill=prompt / median(_prefill(engine, prompt) for _ in range(_RUNS)),
        decode=_DECODES / median(_decode(engine, prompt) for _ in range(_RUNS)),
    )


def _write(how: Quantization, source: Path, imatrix: Mapping[str, Floats], target: Path) -> None:
    from edgeslm.engines.llama.quantize import quantize

    quantize(
        source,
        target,
        how.file_type,
        imatrix=imatrix,
        embeddings=how.embeddings,
        overrides=how.overrides,
    )


def _measured(
    file_type: QuantType, path: Path, distance: Divergence, rows: Sequence[Encoded]
) -> Candidate:
    from edgeslm.engines.llama.engine import LlamaEngine

    prompt, answer = fmean(row.start for row in rows), fmean(len(row.answer) for row in rows)
    engine = LlamaEngine(path)
    try:
        speed = measure_speed(engine, round(prompt))
    finally:
        engine.close()
    info = read_gguf(path)
    return Candidate(
        file_type=file_type,
        size=info.size,
        bits_per_weight=info.bits_per_weight,
        speed=speed,
        milliseconds=speed.milliseconds(prompt, answer),
        divergence=distance,
    )


def _prefill(engine: LlamaEngine, prompt: int) -> float:
    """Seconds for a prompt at once."""
    engine.truncate(0, 0)
    start = time.perf_counter()
    for at in range(0, prompt, engine.batch_size):
        engine.evaluate(Batch.run([0] * min(engine.batch_size, prompt - at), at, 0))
    return time.perf_counter() - start


def _decode(engine: LlamaEngine, prompt: int) -> float:
    """Seconds for some tokens behind the prompt, one by one."""
    engine.truncate(0, prompt)
    start = time.perf_counter()
    for at in range(prompt, prompt + _DECODES):
        engine.evaluate(Batch.run([0], at, 0))
    return time.perf_counter() - start
