"""The steps of a linear model's build, each a plain function from a Work folder to its results"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.errors import GateError
from converters.onnx.logits import Logits
from converters.steps.causal import data, draft_card, forget_other_run, judge, loses_too_much
from converters.steps.encoder import answers, remembered, write_answers, write_specialist
from converters.work import Work
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.files import Progress

if TYPE_CHECKING:
    from converters.gates.verify import Verdict

__all__ = ["data", "pack", "quantize", "train", "verify"]

#: how the weights are kept
_SCHEME = "int8"
#: development texts that the time is measured with
_TIMED = 32
_TOOLS = ("scikit-learn", "onnx", "onnxruntime")


def train(work: Work, progress: Progress) -> dict[str, Any]:
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
    return {
        "features": model.spec.size,
        "features_all": model.features_all,
        "strength": model.strength,
        "accuracy": model.accuracy,
        "accuracy_all": model.accuracy_all,
    }


def quantize(work: Work, progress: Progress) -> str:
    """The 8-bit file as ``candidate``, calibrated and held to the float weights' answers.

    Raises:
        GateError: it loses more than the gates allow.
    """
    from converters.onnx.logits import FileLogits
    from converters.onnx.parity import divergence
    from converters.onnx.quantize import run_milliseconds

    shutil.copyfile(work.linear, work.candidate)
    texts = [row.input for row in work.rows("development")]
    with np.load(work.float_logits, allow_pickle=False) as saved:
        development, judged = saved["development"], saved["judged"]
    floats = _predictions(work, development, judged)
    found = answers(work, work.candidate, progress, what="quantized answers")
    if reason := loses_too_much(work, floats, found.predictions):
        raise GateError(
            f"the linear model loses too much by 8-bit weights: {reason}; raise gates.max_drop"
        )
    with FileLogits(work.candidate) as model:
        distance = divergence(work.recipe.task, development, model(texts))
    size = work.candidate.stat().st_size
    ms = run_milliseconds({_SCHEME: work.candidate}, texts[:_TIMED])[_SCHEME]
    candidate = {
        "scheme": _SCHEME,
        "size": size,
        "milliseconds": ms,
        "divergence": asdict(distance),
        "passed": True,
    }
    write_answers(work, floats, found, {"chosen": _SCHEME, "candidates": [candidate]})
    return f"{size / 1e6:.1f} MB, {ms:.2f} ms a text"


def verify(work: Work, progress: Progress) -> Verdict:
    """Judge the candidate by the gates; the verdict is written, whatever it is."""
    from converters.gates.reports import Divergence

    [candidate] = work.read_report("quantize")["candidates"]
    distance = Divergence(**candidate["divergence"])
    return judge(work, progress, float_parity=None, divergence=distance)


def pack(work: Work, progress: Progress) -> list[Path]:
    """Write the specialist, one file, with its card; raises GateError where it did not pass."""
    progress("packing", 0, None)
    return write_specialist(work, None, _TOOLS)


def _predictions(work: Work, development: Logits, judged: Logits) -> list[Prediction]:
    """What float logits of the judged rows answer, calibrated on those of development rows."""
    from converters.onnx.calibration import calibrate_logits
    from edgeslm.tasks.decision import Rule

    task = work.recipe.task
    assert isinstance(task, ClassifyTask), "train has refused any other"
    rule = Rule.of(task, calibrate_logits(task, development, work.rows("development")))
    decisions = [rule(row) for row in judged]
    return [
        Prediction(task.labels[found.label].name, float(found.probabilities[found.label]))
        for found in decisions
    ]
