"""What the steps of an encoder and of a linear model share: both end as one .onnx file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from converters.gates.reports import Divergence, FloatParity
from converters.steps.results import Written
from converters.steps.shared import draft_card, final_card, judge, require_passed
from converters.work import Step, Work, without
from edgeslm.evaluation.matches import Prediction
from edgeslm.formats.card import Calibration, ClassifyTask
from edgeslm.formats.files import Progress, publish

if TYPE_CHECKING:
    from converters.gates.verify import Verdict
    from converters.onnx.logits import Logits
    from edgeslm.formats.onnx.known_inputs import KnownInputs


#: options of an encoder that decide what export adds to it, and nothing of its training
BESIDE = ("linear_features", "logit_adjustment")


class OnnxWork(Work):
    """A build that ends as one .onnx file."""

    suffix = ".onnx"

    def own_inputs(self, step: Step) -> Iterator[Any]:
        yield from super().own_inputs(step)
        match step:
            case "train":
                yield [self.recipe.kind, without(self.table["encoder"], BESIDE)]
            case "quantize":
                yield self.table["task"].get("out_of_scope")


def remembered(work: Work, logits: Logits) -> KnownInputs | None:
    """What the file remembers of training texts; ``logits`` are those of development rows."""
    from converters.onnx.known_inputs import remember

    task = work.recipe.task
    if not work.recipe.data.remembers or not isinstance(task, ClassifyTask):
        return None
    return remember(task, work.rows("train"), work.rows("development"), logits)


class Answers(NamedTuple):
    """What a file says to the rows that are judged, under the calibration fitted for itself."""

    calibration: Calibration | None
    predictions: list[Prediction]


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


def verify_quantized(work: Work, progress: Progress) -> Verdict:
    """Judge an encoder's candidate by the gates; the verdict is written, whatever it is."""
    quantized = work.read_report("quantize")
    chosen = next(c for c in quantized["candidates"] if c["scheme"] == quantized["chosen"])
    return judge(
        work,
        progress,
        float_parity=FloatParity(**work.read_report("export")["float_parity"]),
        divergence=Divergence(**chosen["divergence"]),
    )


def write_specialist(work: Work, base_sha256: str | None, tools: Sequence[str]) -> Written:
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
    return Written((work.model,))


def _remember_held_out(work: Work, path: Path) -> None:
    """Let the file know its held-out rows too, now that its scores without them are written."""
    from converters.onnx.export import write_known
    from converters.onnx.known_inputs import remember_also
    from edgeslm.formats.onnx.info import read_onnx
    from edgeslm.formats.onnx.known_inputs import read_known

    info, task = read_onnx(path), work.recipe.task
    assert info.known is not None and isinstance(task, ClassifyTask), "export has seen to both"
    known = read_known(info.known, info.width, where=str(path))
    held_out = [*work.rows("development"), *work.judged_rows]
    write_known(path, remember_also(task, known, held_out))
