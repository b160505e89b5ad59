"""The steps of an encoder's build, each a plain function from a Work folder to its results"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from converters.steps.causal import (
    data,
    draft_card,
    final_card,
    forget_other_run,
    judge,
    loses_too_much,
    require_passed,
)
from converters.work import Work
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import Calibration, ClassifyTask
from edgeslm.formats.files import Progress, file_sha256, publish

if TYPE_CHECKING:
    from rich.table import Table
    from tokenizers import Tokenizer

    from converters.encoder.model import EncoderModel
    from converters.gates.verify import Verdict
    from converters.onnx.linear import LinearModel
    from converters.onnx.logits import Logits
    from converters.training.history import History
    from edgeslm.formats.onnx.known_inputs import KnownInputs

__all__ = ["data", "export", "pack", "quantize", "train", "verify"]

#: development rows at whose answers libraries and quantizations are compared
_COMPARED_ROWS = 256
_TOOLS = ("torch", "transformers", "onnx", "onnxruntime")


def train(work: Work, progress: Progress) -> History:
    """Train the encoder; what a killed run left for the same inputs is gone on from."""
    from converters.encoder.train import train_encoder
    from converters.onnx.linear import require_fit
    from converters.training.curve import draw_curve

    if work.recipe.encoder.linear_features:
        require_fit(work.recipe, work.rows("train"), work.rows("development"))
    forget_other_run(work)
    progress("loading the base", 0, None)
    history = train_encoder(
        work.recipe,
        work.base,
        work.rows("train"),
        work.rows("development"),
        out=work.training,
        report=lambda history: progress("training", history.losses[-1][0], history.steps),
        progress=progress,
    )
    draw_curve(work.training / "loss.png", history)
    return history


def export(work: Work, progress: Progress) -> dict[str, Any]:
    """The trained encoder as .onnx with float weights, and what is put beside it, held to torch."""
    from converters.encoder.model import load_encoder
    from converters.onnx.export import export_onnx
    from converters.onnx.logits import FileLogits
    from converters.onnx.parity import float_parity, torch_logits

    model, tokenizer = load_encoder(work.encoder)
    linear = _beside(work, model, tokenizer, progress)
    texts = compared_texts(work)
    if work.recipe.data.remembers:  # what is remembered is weighed against all of them
        texts = [row.input for row in work.rows("development")]
    reference = torch_logits(model, tokenizer, texts)
    if linear is not None:
        reference += linear.logits(texts)
    progress("exporting", 0, None)
    export_onnx(
        model,
        tokenizer,
        work.float_onnx,
        card=draft_card(work, None),
        max_tokens=work.recipe.encoder.max_tokens,
        linear=linear,
        known=remembered(work, reference),
    )
    progress("comparing logits with torch", 0, None)
    with FileLogits(work.float_onnx) as exported:
        parity = float_parity(work.recipe.task, reference, exported(texts))
    report = {"float_parity": asdict(parity), "size": work.float_onnx.stat().st_size}
    work.write_report("export", report)
    return report


def _beside(
    work: Work, model: EncoderModel, tokenizer: Tokenizer, progress: Progress
) -> LinearModel | None:
    """Change the heads as the recipe asks; the linear model that answers with them, if any."""
    from converters.onnx.mix import adjust_logits, mix_in_linear

    recipe, rows, linear = work.recipe, work.rows("train"), None
    if recipe.encoder.linear_features:
        linear = mix_in_linear(
            recipe,
            model,
            tokenizer,
            rows,
            work.rows("development"),
            report=lambda line: progress(line, 0, None),
        )
    if recipe.encoder.logit_adjustment and isinstance(recipe.task, ClassifyTask):
        adjust_logits(model, recipe.task, rows, recipe.encoder.logit_adjustment)
    return linear


def quantize(work: Work, progress: Progress) -> Table:
    """The fastest quantization that loses no more than the gates allow, as ``candidate``.

    Raises:
        GateError: none does.
    """
    from converters.onnx.quantize import quantize_best, table

    floats = answers(work, work.float_onnx, progress, what="float answers")
    tried: list[Answers] = []

    def refuses(candidate: Path) -> str | None:
        tried.append(answers(work, candidate, progress, what="quantized answers"))
        return loses_too_much(work, floats.predictions, tried[-1].predictions)

    report = quantize_best(
        work.float_onnx,
        work.recipe.task,
        compared_texts(work),
        work.candidate,
        refuses=refuses,
        embedding_bits=work.recipe.encoder.embedding_bits,
        progress=progress,
    )
    write_answers(work, floats.predictions, tried[-1], asdict(report))
    return table(report)


def verify(work: Work, progress: Progress) -> Verdict:
    """Judge the candidate by the gates; the verdict is written, whatever it is."""
    from converters.gates.reports import Divergence, FloatParity

    quantized = work.read_report("quantize")
    chosen = next(c for c in quantized["candidates"] if c["scheme"] == quantized["chosen"])
    return judge(
        work,
        progress,
        float_parity=FloatParity(**work.read_report("export")["float_parity"]),
        divergence=Divergence(**chosen["divergence"]),
    )


def pack(work: Work, progress: Progress) -> list[Path]:
    """Write the specialist, one file, with its card; raises GateError where it did not pass."""
    progress("packing", 0, None)
    return write_specialist(work, file_sha256(work.base / "model.safetensors"), _TOOLS)


# --- shared with linear models ------------------------------------------------


def remembered(work: Work, logits: Logits) -> KnownInputs | None:
    """What the file is to remember of training texts; ``logits`` are those of development rows."""
    from converters.onnx.known_inputs import remember

    task = work.recipe.task
    if not work.recipe.data.remembers or not isinstance(task, ClassifyTask):
        return None
    return remember(task, work.rows("train"), work.rows("development"), logits)


class Answers(NamedTuple):
    """What a file says to the rows that are judged, under the calibration fitted for itself."""

    calibration: Calibration | None
    predictions: list[Prediction]


def compared_texts(work: Work) -> list[str]:
    """The development texts at which models are compared."""
    return [row.input for row in work.rows("development")[:_COMPARED_ROWS]]


def answers(work: Work, path: Path, progress: Progress, *, what: str) -> Answers:
    """Calibrate an .onnx file on development rows, and answer the rows with it that are judged.

    The card with the calibration is written into the file.
    """
    from converters.steps.predict import predict

    progress("calibrating", 0, None)
    calibration = _calibration(work, path)
    said = predict(
        path,
        draft_card(work, calibration),
        work.judged_rows,
        lambda _said, done, of: progress(what, done, of),
    )
    return Answers(calibration, said)


def _calibration(work: Work, path: Path) -> Calibration | None:
    """None for tags: a head's probabilities are the model's own."""
    from converters.onnx.calibration import calibrate_logits
    from converters.onnx.logits import FileLogits

    task = work.recipe.task
    if not isinstance(task, ClassifyTask):
        return None
    rows = work.rows("development")
    with FileLogits(path) as model:
        return calibrate_logits(task, model([row.input for row in rows]), rows)


def write_answers(
    work: Work, floats: Sequence[Prediction], quantized: Answers, report: dict[str, Any]
) -> None:
    """The quantize step's report: which candidate, and what it and the float model answered."""
    calibration = quantized.calibration
    work.write_report(
        "quantize",
        {
            **report,
            "floats": [asdict(prediction) for prediction in floats],
            "calibration": calibration and calibration.model_dump(mode="json"),
            "quantized": [asdict(prediction) for prediction in quantized.predictions],
        },
    )


def write_specialist(work: Work, base_sha256: str | None, tools: Sequence[str]) -> list[Path]:
    """The candidate with its final card, under the specialist's name.

    Raises:
        GateError: it did not pass verification.
    """
    from converters.onnx.export import write_card
    from edgeslm.formats.onnx.info import read_onnx

    require_passed(work)
    aside = work.model.with_name(f".{work.recipe.name}.part.onnx")
    try:
        shutil.copyfile(work.candidate, aside)
        write_card(aside, final_card(work, base_sha256, tools=tools))
        if work.recipe.data.remember == "everything":
            _remember_held_out(work, aside)
        read_onnx(aside)  # as a device will, before it has its name
        publish(aside, work.model)
    finally:
        aside.unlink(missing_ok=True)
    return [work.model]


def _remember_held_out(work: Work, path: Path) -> None:
    """Held-out rows, which have said all they can of the file: a device is to know them too."""
    from converters.onnx.export import write_known
    from converters.onnx.known_inputs import remember_also
    from edgeslm.formats.onnx.info import read_onnx
    from edgeslm.formats.onnx.known_inputs import read_known

    info, task = read_onnx(path), work.recipe.task
    assert info.known is not None and isinstance(task, ClassifyTask), "export has seen to both"
    known = read_known(info.known, info.label_count, where=str(path))
    held_out = [*work.rows("development"), *work.judged_rows]
    write_known(path, remember_also(task, known, held_out))
