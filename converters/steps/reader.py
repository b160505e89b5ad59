"""The build of a reader, with an encoder or linear: its files, its steps, what each leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from converters.gates.candidates import candidate_files, take_fastest
from converters.gates.reports import Divergence, FloatParity
from converters.recipe.recipe import Recipe
from converters.steps.onnx import (
    Answers,
    OnnxWork,
    verify_quantized,
    write_answers,
    write_specialist,
)
from converters.steps.results import Exported, Trained, Written
from converters.steps.shared import (
    SHARED_LIBRARIES,
    data,
    draft_card,
    forget_other_run,
    loses_too_much,
)
from converters.work import Run, Step
from edgeslm.formats.card import ExtractTask
from edgeslm.formats.files import Progress, file_sha256

if TYPE_CHECKING:
    from converters.onnx.quantize import Candidate, QuantizeReport, Scheme
    from edgeslm.evaluation.matches import Prediction
    from edgeslm.formats.card import Calibration
    from edgeslm.results import Extraction

#: development texts at whose answers libraries and quantizations are compared, and timed
_COMPARED_ROWS: Final = 256
_TIMED, _ROUNDS = 32, 3
_TOOLS: Final = ("torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class ReaderWork(OnnxWork):
    """The build of a reader. A linear one has no base: ``base`` is the build's own folder."""

    libraries = (*SHARED_LIBRARIES, "torch", "safetensors", "onnx", "onnxruntime")

    @staticmethod
    def find_base(recipe: Recipe, folder: Path) -> Path:
        if recipe.kind == "linear":
            return folder
        from converters.encoder.base import resolve_encoder_base

        return resolve_encoder_base(recipe.base, recipe.base_sha256)

    @property
    def encodes(self) -> bool:
        return self.recipe.kind == "encoder"

    @property
    def base_identity(self) -> str | list[str] | None:
        return super().base_identity if self.encodes else None

    @property
    def runs(self) -> dict[Step, Run]:
        return {
            "data": partial(data, self),
            "train": partial(train, self),
            "export": partial(export, self),
            "quantize": partial(quantize, self),
            "verify": partial(verify_quantized, self),
            "pack": partial(pack, self),
        }

    def own_inputs(self, step: Step) -> Iterator[Any]:
        yield from super().own_inputs(step)
        if step == "train":
            yield self.table["reader"]

    def results(self, step: Step) -> list[Path]:
        match step:
            case "train":
                return [self.trained]
            case "export":
                return [self.float_onnx, self.report(step)]
            case _:
                return super().results(step)

    @property
    def trained(self) -> Path:
        """The trained reader, as a folder."""
        return self.training / "model"

    @property
    def float_onnx(self) -> Path:
        """The trained reader with float weights."""
        return self.folder / "float.onnx"

    @property
    def compared_texts(self) -> list[str]:
        """The development texts at which models are compared."""
        return [row.input for row in self.rows("development")[:_COMPARED_ROWS]]


def train(work: ReaderWork, progress: Progress) -> Trained:
    """Train the reader; a killed run of the same inputs is continued."""
    from converters.reading.train import train_reader
    from converters.training.curve import draw_curve

    forget_other_run(work)
    history = train_reader(
        work.recipe,
        work.base if work.encodes else None,
        work.rows("train"),
        work.rows("development"),
        out=work.training,
        report=lambda history: progress("training", history.losses[-1][0], history.steps),
        progress=progress,
    )
    curve = work.training / "loss.png"
    draw_curve(curve, history)
    return Trained.of(history, curve)


def export(work: ReaderWork, progress: Progress) -> Exported:
    """The trained reader as .onnx with float weights, held to what torch reads."""
    from converters.onnx.reader import export_reader
    from converters.reading.train import load_reader, torch_readings
    from edgeslm.schema.schema import compile_schema
    from edgeslm.tasks.reading.extractor import valid

    model, tokenizer = load_reader(work.trained)
    max_tokens = work.recipe.encoder.max_tokens
    progress("exporting", 0, None)
    export_reader(
        model,
        model.spec,
        work.float_onnx,
        card=draft_card(work, None),
        tokenizer=tokenizer,
        max_tokens=max_tokens,
    )
    progress("comparing readings with torch", 0, None)
    schema = compile_schema(_task(work).json_schema)
    reference = [
        [(reading.json, reading.confidence) for reading in valid(readings, schema)[0]]
        for readings in torch_readings(model, tokenizer, work.compared_texts, max_tokens)
    ]
    kl, same = compared(reference, _readings(work, work.float_onnx))
    exported = Exported(FloatParity(len(kl), sum(kl) / len(kl), max(kl), sum(same) / len(same)))
    work.write_report("export", exported.to_dict())
    return exported


def quantize(work: ReaderWork, progress: Progress) -> QuantizeReport:
    """The fastest quantization that loses no more than the gates allow, as ``candidate``.

    Raises:
        GateError: none does.
    """
    from converters.onnx.quantize import SCHEMES, QuantizeReport

    floats = _answers(work, work.float_onnx, progress, what="float answers")
    schemes = SCHEMES if work.encodes else SCHEMES[:1]
    tried: list[Answers] = []

    def refuses(path: Path) -> str | None:
        tried.append(_answers(work, path, progress, what="quantized answers"))
        return loses_too_much(work, floats.predictions, tried[-1].predictions)

    with candidate_files(schemes, work.candidate) as files:
        for done, (scheme, path) in enumerate(files.items()):
            progress("quantizing", done, len(files))
            _round(work, path, scheme)
        progress("measuring", 0, None)
        candidates, float_ms = _measured(work, files)
        judged, chosen = take_fastest(
            candidates,
            files,
            work.candidate,
            refuses=refuses,
            remedy="raise gates.max_drop",
            progress=progress,
        )
    report = QuantizeReport(judged, chosen, float_ms)
    write_answers(work, floats.predictions, tried[-1], asdict(report))
    return report


def pack(work: ReaderWork, progress: Progress) -> Written:
    """Write the specialist, one file, with its card; raises GateError where it did not pass."""
    from converters.encoder.model import WEIGHTS

    progress("packing", 0, None)
    base = file_sha256(work.base / WEIGHTS) if work.encodes else None
    return write_specialist(work, base, _TOOLS)


# --- comparing ------------------------------------------------------------------

#: each text's fields: JSON text and confidence
Readings = Sequence[Sequence[tuple[str, float]]]


def compared(reference: Readings, other: Readings) -> tuple[list[float], list[bool]]:
    """For each field of each text how far its confidence moved (KL divergence of right and wrong,
    in nats), and whether its value stayed."""
    from math import log

    def bounded(share: float) -> float:
        return min(max(share, 1e-9), 1 - 1e-9)

    kl, same = [], []
    for own, others in zip(reference, other, strict=True):
        for (value, confidence), (said, sure) in zip(own, others, strict=True):
            p, q = bounded(confidence), bounded(sure)
            kl.append(p * log(p / q) + (1 - p) * log((1 - p) / (1 - q)))
            same.append(value == said)
    return kl, same


def _readings(work: ReaderWork, path: Path) -> Readings:
    """What a file reads in the compared texts, uncalibrated."""
    from converters.steps.predict import open_with_card
    from edgeslm.tasks.extraction.leaves import leaves

    with open_with_card(path, draft_card(work, None)) as model:
        answers: list[Extraction[Any]] = [model.extractor()(text) for text in work.compared_texts]
    return [
        [
            (answer.json[leaf.start : leaf.end], answer.fields[leaf.path].confidence)
            for leaf in leaves(answer.json)
        ]
        for answer in answers
    ]


def _task(work: ReaderWork) -> ExtractTask:
    task = work.recipe.task
    assert isinstance(task, ExtractTask), "reader_spec refuses any other"
    return task


def _round(work: ReaderWork, target: Path, scheme: Scheme) -> None:
    from converters.onnx.quantize import quantize_onnx
    from converters.onnx.reader import round_features

    if work.encodes:
        bits = work.recipe.encoder.embedding_bits
        quantize_onnx(work.float_onnx, target, scheme, embedding_bits=bits)
    else:
        round_features(work.float_onnx, target)


def _measured(
    work: ReaderWork, files: Mapping[Scheme, Path]
) -> tuple[dict[Scheme, Candidate], float]:
    """Each candidate, and the float file's milliseconds."""
    from converters.onnx.quantize import Candidate

    paths = {"float": work.float_onnx} | {str(scheme): path for scheme, path in files.items()}
    ms = _milliseconds(paths, work.compared_texts[:_TIMED])
    reference, candidates = _readings(work, work.float_onnx), {}
    for scheme, path in files.items():
        kl, same = compared(reference, _readings(work, path))
        candidates[scheme] = Candidate(
            scheme=scheme,
            size=path.stat().st_size,
            milliseconds=ms[scheme],
            divergence=Divergence(kl=sum(kl) / len(kl), top1=sum(same) / len(same), n=len(kl)),
        )
    return candidates, ms["float"]


def _milliseconds(paths: Mapping[str, Path], texts: Sequence[str]) -> dict[str, float]:
    """The median milliseconds of an answer, by name, turn by turn."""
    from edgeslm.models.onnx import open_onnx

    taken: dict[str, list[float]] = {name: [] for name in paths}
    with ExitStack() as stack:
        calls = {
            name: stack.enter_context(open_onnx(path, gpu=False)).extractor()
            for name, path in paths.items()
        }
        for text in [texts[0], *texts] * _ROUNDS:
            for name, call in calls.items():
                start = time.perf_counter()
                call(text)
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: median(times) for name, times in taken.items()}


def _answers(work: ReaderWork, path: Path, progress: Progress, *, what: str) -> Answers:
    """Calibrate a file on development rows, and answer the rows with it that are judged."""
    from converters.steps.predict import open_with_card, predict

    progress("calibrating", 0, None)
    with open_with_card(path, draft_card(work, None)) as model:
        calibration = _calibration(work, model.extractor())
    said: list[Prediction] = predict(
        path,
        draft_card(work, calibration),
        work.judged_rows,
        lambda _said, done, of: progress(what, done, of),
    )
    return Answers(calibration, said)


def _calibration(work: ReaderWork, extract: Any) -> Calibration | None:
    from converters.causal.calibration import calibrate_fields

    return calibrate_fields(extract, work.rows("development"), fold=work.recipe.gates.fold)
