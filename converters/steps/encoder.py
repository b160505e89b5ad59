"""The build of an encoder: its files, its steps, and what each of them reads and leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.recipe.recipe import Recipe
from converters.steps.onnx import (
    BESIDE,
    Answers,
    OnnxWork,
    answers,
    remembered,
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
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.files import Progress, file_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from converters.encoder.model import EncoderModel
    from converters.onnx.linear import LinearModel
    from converters.onnx.quantize import QuantizeReport

#: development rows at whose answers libraries and quantizations are compared
_COMPARED_ROWS = 256
_TOOLS = ("torch", "transformers", "onnx", "onnxruntime")


@dataclass(frozen=True)
class EncoderWork(OnnxWork):
    """The build of an encoder: all of it, or factors that are merged, then rounded and proven."""

    libraries = (
        *SHARED_LIBRARIES,
        *("torch", "transformers", "peft", "safetensors"),
        *("onnx", "onnxruntime", "tokenizers"),
    )

    @staticmethod
    def find_base(recipe: Recipe, folder: Path) -> Path:
        from converters.encoder.base import resolve_encoder_base

        return resolve_encoder_base(recipe.base, recipe.base_sha256)

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
        if step == "export":
            yield [self.recipe.data.remembers, *map(self.table["encoder"].get, BESIDE)]

    def results(self, step: Step) -> list[Path]:
        match step:
            case "train":
                return [self.encoder]
            case "export":
                return [self.float_onnx, self.report(step)]
            case _:
                return super().results(step)

    @property
    def encoder(self) -> Path:
        """The trained encoder, as a folder."""
        return self.training / "model"

    @property
    def float_onnx(self) -> Path:
        """The trained encoder with float weights."""
        return self.folder / "float.onnx"


def train(work: EncoderWork, progress: Progress) -> Trained:
    """Train the encoder; a killed run of the same inputs is continued."""
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
    curve = work.training / "loss.png"
    draw_curve(curve, history)
    return Trained.of(history, curve)


def export(work: EncoderWork, progress: Progress) -> Exported:
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
    exported_as = Exported(parity)
    work.write_report("export", exported_as.to_dict())
    return exported_as


def _beside(
    work: EncoderWork, model: EncoderModel, tokenizer: Tokenizer, progress: Progress
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


def quantize(work: EncoderWork, progress: Progress) -> QuantizeReport:
    """The fastest quantization that loses no more than the gates allow, as ``candidate``.

    Raises:
        GateError: none does.
    """
    from converters.onnx.quantize import quantize_best

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
    return report


def pack(work: EncoderWork, progress: Progress) -> Written:
    """Write the specialist, one file, with its card; raises GateError where it did not pass."""
    progress("packing", 0, None)
    return write_specialist(work, file_sha256(work.base / "model.safetensors"), _TOOLS)


def compared_texts(work: EncoderWork) -> list[str]:
    """The development texts at which models are compared."""
    return [row.input for row in work.rows("development")[:_COMPARED_ROWS]]
