"""The build of a linear model: its files, its steps, and what each of them reads and leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converters.errors import GateError
from converters.gates.reports import Divergence
from converters.onnx.logits import Logits
from converters.recipe.recipe import Recipe
from converters.steps.onnx import OnnxWork, answers, remembered, write_answers, write_specialist
from converters.steps.results import LinearTrained, Written
from converters.steps.shared import (
    SHARED_LIBRARIES,
    data,
    draft_card,
    forget_other_run,
    judge,
    loses_too_much,
)
from converters.work import Run, Step
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.files import Progress

if TYPE_CHECKING:
    from converters.gates.verify import Verdict
    from converters.onnx.quantize import QuantizeReport

#: how the weights are kept
_SCHEME: Final = "int8"
#: development texts that the time is measured with
_TIMED = 32
_TOOLS = ("scikit-learn", "onnx", "onnxruntime")


@dataclass(frozen=True)
class LinearWork(OnnxWork):
    """The build of a linear model, which has no base: ``base`` is the build's own folder."""

    libraries = (*SHARED_LIBRARIES, "onnx", "onnxruntime")

    @staticmethod
    def find_base(recipe: Recipe, folder: Path) -> Path:
        return folder

    @property
    def base_identity(self) -> None:
        """None: there is no base."""
        return None

    @property
    def runs(self) -> dict[Step, Run]:
        return {
            "data": partial(data, self),
            "train": partial(train, self),
            "quantize": partial(quantize, self),
            "verify": partial(verify, self),
            "pack": partial(pack, self),
        }

    def own_inputs(self, step: Step) -> Iterator[Any]:
        yield from super().own_inputs(step)
        if step == "train":
            yield self.recipe.data.remembers

    def results(self, step: Step) -> list[Path]:
        return [self.linear] if step == "train" else super().results(step)

    @property
    def linear(self) -> Path:
        """The trained linear model."""
        return self.training / "linear.onnx"

    @property
    def float_logits(self) -> Path:
        """What the linear model's float weights say of development and judged rows."""
        return self.training / "logits.npz"


def train(work: LinearWork, progress: Progress) -> LinearTrained:
    """Fit TF-IDF and regression; leaves the file with 8-bit weights, and the float logits."""
    from converters.onnx.export import write_card
    from converters.onnx.linear import train_linear, write_linear

    forget_other_run(work)
    progress("fitting", 0, None)
    model = train_linear(work.recipe, work.rows("train"), work.rows("development"))
    development = model.logits([row.input for row in work.rows("development")])
    np.savez(
        work.float_logits,
        development=development,
        judged=model.logits([row.input for row in work.judged_rows]),
    )
    write_linear(model, work.linear, known=remembered(work, development))
    write_card(work.linear, draft_card(work, None))
    return LinearTrained(
        features=model.spec.size,
        features_all=model.features_all,
        strength=model.strength,
        accuracy=model.accuracy,
        accuracy_all=model.accuracy_all,
    )


def quantize(work: LinearWork, progress: Progress) -> QuantizeReport:
    """The 8-bit file as ``candidate``, calibrated and held to the float weights' answers.

    Raises:
        GateError: it loses more than the gates allow.
    """
    from converters.onnx.logits import FileLogits
    from converters.onnx.parity import divergence
    from converters.onnx.quantize import Candidate, QuantizeReport, run_milliseconds

    shutil.copyfile(work.linear, work.candidate)
    texts = [row.input for row in work.rows("development")]
    with np.load(work.float_logits, allow_pickle=False) as saved:
        development, judged = saved["development"], saved["judged"]
    floats = _predictions(work, development, judged)
    quantized = answers(work, work.candidate, progress, what="quantized answers")
    if reason := loses_too_much(work, floats, quantized.predictions):
        raise GateError(
            f"the linear model loses too much by 8-bit weights: {reason}; raise gates.max_drop"
        )
    with FileLogits(work.candidate) as model:
        distance = divergence(work.recipe.task, development, model(texts))
    candidate = Candidate(
        scheme=_SCHEME,
        size=work.candidate.stat().st_size,
        milliseconds=run_milliseconds({_SCHEME: work.candidate}, texts[:_TIMED])[_SCHEME],
        divergence=distance,
        passed=True,
    )
    report = QuantizeReport((candidate,), _SCHEME)
    write_answers(work, floats, quantized, report.to_dict())
    return report


def verify(work: LinearWork, progress: Progress) -> Verdict:
    """Judge the candidate by the gates; the verdict is written, whatever it is."""
    [candidate] = work.read_report("quantize")["candidates"]
    distance = Divergence(**candidate["divergence"])
    return judge(work, progress, float_parity=None, divergence=distance)


def pack(work: LinearWork, progress: Progress) -> Written:
    """Write the specialist, one file, with its card; raises GateError where it did not pass."""
    progress("packing", 0, None)
    return write_specialist(work, None, _TOOLS)


def _predictions(work: LinearWork, development: Logits, judged: Logits) -> list[Prediction]:
    """What float logits of the judged rows answer, calibrated on those of development rows."""
    from converters.onnx.calibration import calibrate_logits
    from edgeslm.tasks.decision import Rule

    task = work.recipe.task
    assert isinstance(task, ClassifyTask), "train has refused any other"
    rule = Rule.of(task, calibrate_logits(task, development, work.rows("development")))
    decisions = [rule(row) for row in judged]
    return [
        Prediction(task.labels[one.label].name, float(one.probabilities[one.label]))
        for one in decisions
    ]
