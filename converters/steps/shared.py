"""What the steps of every kind share: the data step, cards and the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from converters.errors import GateError
from converters.work import Work
from edgeslm.formats.card import Card, Provenance
from edgeslm.formats.files import Progress

if TYPE_CHECKING:
    from converters.data.summary import DataSummary
    from converters.gates.reports import Divergence, FloatParity, ParityReport
    from converters.gates.verify import Verdict
    from edgeslm.evaluation.matches import Prediction
    from edgeslm.evaluation.selftest import SelfTest
    from edgeslm.formats.card import Calibration, Serving

#: libraries of the train extra that the data step and the gates take
SHARED_LIBRARIES = ("sklearn", "scipy", "datasketch", "matplotlib")


def data(work: Work, progress: Progress) -> DataSummary:
    """Files of examples become train, development and gold rows; raises what `prepare` does."""
    from converters.data.prepare import prepare

    return prepare(work.recipe, work.data_folder, work.data, progress)


def forget_other_run(work: Work) -> None:
    """Remove the checkpoint of a run that had other inputs."""
    note, inputs = work.training / "inputs", work.inputs("train")
    if note.is_file() and note.read_text(encoding="utf-8") == inputs:
        return
    if work.training.exists():
        shutil.rmtree(work.training)
    work.training.mkdir()
    note.write_text(inputs, encoding="utf-8")


def draft_card(work: Work, calibration: Calibration | None) -> Card:
    """The card without scores: what decides the answers."""
    recipe = work.recipe
    return Card(
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence,
        description=recipe.description,
        task=recipe.task,
        prompt=recipe.prompt,
        calibration=calibration,
        proven_as=recipe.serve_as,
        examples=recipe.examples,
    )


def loses_too_much(work: Work, floats: list[Prediction], said: list[Prediction]) -> str | None:
    """What quantized answers to the judged rows lose beyond what gates allow; None if little."""
    from converters.gates.verify import loses_too_much as judged

    return judged(work.recipe, work.judged, floats, said)


class Beside(NamedTuple):
    """What an adapter answers beside its base: to the rows that are judged, and to its examples."""

    predictions: list[Prediction]
    self_tests: Sequence[SelfTest]


def judge(
    work: Work,
    progress: Progress,
    *,
    divergence: Divergence,
    float_parity: FloatParity | None,
    prompt_parity: ParityReport | None = None,
    token_parity: ParityReport | None = None,
    beside: Beside | None = None,
) -> Verdict:
    """Hold the candidate of any kind to the recipe's gates, and write the verdict.

    ``beside`` is what its adapter answers beside the base, where the recipe has it judged.
    """
    from converters.gates.baselines import baselines
    from converters.gates.verify import VerifyInputs, held_out
    from converters.gates.verify import verify as judged
    from converters.steps.predict import open_with_card, references
    from edgeslm.evaluation.matches import Prediction
    from edgeslm.evaluation.selftest import self_test

    quantized = work.read_report("quantize")
    progress("baselines", 0, None)
    trivial = baselines(work.recipe, work.rows("train"), work.judged_rows)
    with open_with_card(work.candidate, draft_card(work, written_calibration(quantized))) as model:
        tests: dict[Serving, Sequence[SelfTest]] = {"file": self_test(model)}
    said: dict[Serving, list[Prediction]] = {
        "file": [Prediction(**fields) for fields in quantized["quantized"]]
    }
    if beside is not None:
        tests["adapter"], said["adapter"] = beside.self_tests, beside.predictions
    words = [work.in_words(part) for part in work.judged]
    floats = [Prediction(**fields) for fields in quantized["floats"]]
    others = references(work.recipe, work.data_folder, work.judged_rows)
    verdict = judged(
        VerifyInputs(
            recipe=work.recipe,
            parts=[
                part
                for way, predictions in said.items()
                for part in held_out(
                    work.judged,
                    words=words,
                    quantized=predictions,
                    floats=floats,
                    baselines=trivial,
                    references=others,
                    way=way,
                )
            ],
            self_tests=tests,
            prompt_parity=prompt_parity,
            token_parity=token_parity,
            float_parity=float_parity,
            divergence=divergence,
        )
    )
    work.write_report("verify", verdict.to_dict())
    return verdict


def require_passed(work: Work) -> None:
    """Raise GateError unless the build passed verification."""
    failed = [check for check in work.read_report("verify")["checks"] if not check["passed"]]
    if failed:
        words = "; ".join(f"{check['name']}: {check['words']}" for check in failed)
        raise GateError(f"{work.recipe.name} is not packed; {words}")


def final_card(work: Work, base_sha256: str | None, *, tools: Sequence[str]) -> Card:
    """The card with scores and provenance; ``tools`` are packages whose versions it names."""
    from edgeslm.formats.card import Score

    card = draft_card(work, written_calibration(work.read_report("quantize")))
    scores = work.read_report("verify")["scores"]
    return card.model_copy(
        update={
            "scores": tuple(Score.model_validate(score) for score in scores),
            "provenance": _provenance(work, base_sha256, tools),
        }
    )


def written_calibration(quantized: dict[str, Any]) -> Calibration | None:
    """The calibration that the quantize step has fitted."""
    from edgeslm.formats.card import Calibration

    written = quantized["calibration"]
    return None if written is None else Calibration.model_validate(written)


def _provenance(work: Work, base_sha256: str | None, tools: Sequence[str]) -> Provenance:
    from importlib.metadata import version

    summary = (work.data / "summary.json").read_bytes()
    return Provenance(
        base=work.recipe.base or None,
        base_sha256=base_sha256,
        recipe_sha256=_sha256(work.recipe.model_dump_json().encode()),
        data_sha256=_sha256(summary),
        tools={name: version(name) for name in tools},
        sources=tuple(f"{file.url} ({file.licence})" for file in work.recipe.data.files),
    )


def _sha256(raw: bytes) -> str:
    from hashlib import sha256

    return sha256(raw).hexdigest()
