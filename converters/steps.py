"""The steps of a build, each a plain function from a Work folder to its results."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.encode import Encoded, encode_rows
from converters.errors import BaseModelError
from converters.rows import Row
from converters.work import Work
from edgeslm.card import Card, ClassifyTask, Provenance
from edgeslm.transfer import Progress, file_sha256

if TYPE_CHECKING:
    from converters.parity import FloatParity
    from converters.summary import DataSummary
    from converters.train import History
    from converters.verify import Verdict
    from edgeslm.answers import Prediction
    from edgeslm.card import Calibration

#: development rows at whose answers libraries and quantizations are compared
_COMPARED_ROWS = 32
#: how far a weight merged by torch may be from the one merged by numpy, relative to its tensor
_WEIGHT_TOLERANCE = 1e-5


def data(work: Work, progress: Progress) -> DataSummary:
    """Files of examples become train, development and gold rows; raises what `prepare` does."""
    from converters.data import prepare

    return prepare(work.recipe, work.data_folder, work.data, progress)


def train(work: Work, progress: Progress) -> History:
    """Train the adapter; what a killed run left for the same inputs is gone on from."""
    from converters.base import load_base, runtime_gguf
    from converters.curve import draw_curve
    from converters.train import train as run
    from edgeslm.engines.llama_tokenizer import LlamaTokenizer

    _forget_other_run(work)
    tokenizer = LlamaTokenizer(runtime_gguf(work.base, work.folder, progress=progress))
    try:
        progress("loading the base", 0, None)
        history = run(
            work.recipe,
            load_base(work.base),
            tokenizer,
            work.rows("train"),
            work.rows("development"),
            out=work.training,
            report=lambda history: progress("training", history.losses[-1][0], history.steps),
        )
    finally:
        tokenizer.close()
    draw_curve(work.training / "loss.png", history)
    return history


def merge(work: Work, progress: Progress) -> list[Path]:
    """Adapter and base become float weights twice: by torch, and as a device does it."""
    from converters.adapter import read_peft
    from converters.base import load_base, runtime_gguf, save_hf
    from converters.merge import merge_hf
    from edgeslm.adapter_file import write_adapter
    from edgeslm.assemble import merge_float
    from edgeslm.gguf_file import read_gguf

    base = runtime_gguf(work.base, work.folder, progress=progress)
    progress("merging with torch", 0, None)
    model = merge_hf(load_base(work.base), work.peft)
    save_hf(model, work.base, work.merged_hf)
    write_adapter(work.draft, read_peft(work.peft, read_gguf(base)))
    progress("merging without torch", 0, None)
    merge_float(base, work.draft, work.merged, progress=progress)
    return [work.merged_hf, work.merged]


def export(work: Work, progress: Progress) -> dict[str, Any]:
    """The merged model through the converter, held to torch and to the device's own merge."""
    from converters.base import load_base
    from converters.export import export_gguf, load_hf_tokenizer
    from converters.parity import float_parity, prompt_parity, token_parity
    from edgeslm.engines.llama_tokenizer import LlamaTokenizer

    export_gguf(work.merged_hf, work.exported, dtype="F32", progress=progress)
    progress("comparing weights", 0, None)
    furthest = _furthest_weight(work)
    progress("comparing logits with torch", 0, None)
    parity = float_parity(load_base(work.merged_hf), work.merged, encoded(work, "development"))
    progress("comparing tokens", 0, None)
    hf = load_hf_tokenizer(work.merged_hf)
    samples = [row.input for row in work.rows("development")]
    tokens = token_parity(work.merged, hf, samples=samples)
    tokenizer = LlamaTokenizer(work.merged)
    try:
        prompts = prompt_parity(work.recipe.prompt, tokenizer, hf)
    finally:
        tokenizer.close()
    report = {
        "furthest_weight": furthest,
        "float_parity": asdict(parity),
        "tokens_differing": [tokens.differing, tokens.n],
        "prompts_differing": [prompts.differing, prompts.n],
    }
    work.write_report("export", report)
    return report


def quantize(work: Work, progress: Progress) -> Any:
    """The fastest quantization that loses no more than the gates allow, as ``candidate``.

    Raises:
        GateError: none of the recipe's types does.
    """
    from converters.adapter import read_peft
    from converters.base import load_base, runtime_gguf
    from converters.imatrix import importance_matrix
    from converters.quantize import quantize_best, table
    from edgeslm.adapter_file import write_adapter
    from edgeslm.gguf_file import read_gguf

    base = read_gguf(runtime_gguf(work.base, work.folder, progress=progress))
    rows = encoded(work, "train")[: work.recipe.quantize.imatrix_rows]
    imatrix = importance_matrix(
        load_base(work.merged_hf), rows, architecture=base.architecture, progress=progress
    )
    write_adapter(work.draft, read_peft(work.peft, base, imatrix=imatrix))
    gold = work.rows("gold")
    floats = _gold_predictions(work.merged, work, progress, what="float answers", calibration=None)

    def passes(candidate: Path) -> bool:
        said = _gold_predictions(
            candidate, work, progress, what="quantized answers", calibration=None
        )
        return _loses_little(work, gold, floats, said)

    report = quantize_best(
        work.recipe.quantize,
        work.merged,
        imatrix,
        encoded(work, "development"),
        work.candidate,
        passes=passes,
        progress=progress,
    )
    work.write_report(
        "quantize",
        {**asdict(report), "floats": [asdict(prediction) for prediction in floats]},
    )
    return table(report)


def verify(work: Work, progress: Progress) -> Verdict:
    """Judge the candidate by the gates; the verdict is written, whatever it is."""
    from converters.baselines import baselines
    from converters.divergence import Divergence
    from converters.predict import open_with_card
    from converters.verify import VerifyInputs
    from converters.verify import verify as judge
    from edgeslm.answers import Prediction
    from edgeslm.selftest import self_test

    quantized = work.read_report("quantize")
    exported = work.read_report("export")
    gold = work.rows("gold")
    calibration = _calibration(work, progress)
    said = _gold_predictions(
        work.candidate, work, progress, what="gold answers", calibration=calibration
    )
    progress("baselines", 0, None)
    trivial = baselines(work.recipe, work.rows("train"), gold)
    with open_with_card(work.candidate, draft_card(work, calibration)) as model:
        tests = self_test(model)
    chosen = next(c for c in quantized["candidates"] if c["file_type"] == quantized["chosen"])
    verdict = judge(
        VerifyInputs(
            recipe=work.recipe,
            gold=gold,
            gold_name=_gold_name(work),
            quantized=said,
            floats=[Prediction(**fields) for fields in quantized["floats"]],
            baselines=trivial,
            references={},
            self_tests=tests,
            prompt_parity=None,
            token_parity=None,
            float_parity=_float_parity(exported),
            divergence=Divergence(**chosen["divergence"]),
        )
    )
    values = {**verdict.to_dict(), "calibration": None}
    if calibration is not None:
        values["calibration"] = calibration.model_dump(mode="json")
    work.write_report("verify", values)
    return verdict


def pack(work: Work, progress: Progress) -> list[Path]:
    """Write the specialist and its adapter file, with card and proof.

    Raises:
        GateError: it did not pass verification.
    """
    from converters.base import runtime_gguf
    from converters.errors import GateError
    from converters.quantize import quantization
    from edgeslm.assemble import seal
    from edgeslm.card import Calibration, Score

    verdict = work.read_report("verify")
    failed = [check for check in verdict["checks"] if not check["passed"]]
    if failed:
        words = "; ".join(f"{check['name']}: {check['words']}" for check in failed)
        raise GateError(f"{work.recipe.name} is not packed; {words}")
    base = runtime_gguf(work.base, work.folder, progress=progress)
    found = verdict["calibration"]
    card = draft_card(work, None if found is None else Calibration.model_validate(found))
    card = card.model_copy(
        update={
            "scores": tuple(Score.model_validate(score) for score in verdict["scores"]),
            "provenance": _provenance(work, base),
        }
    )
    seal(
        base,
        work.draft,
        work.adapter,
        work.model,
        quantization=quantization(work.recipe.quantize, work.read_report("quantize")["chosen"]),
        card=card,
        progress=progress,
    )
    return [work.model, work.adapter]


def encoded(work: Work, part: Any) -> list[Encoded]:
    """Rows of a part as the runtime's tokens, at most as many as are compared or measured."""
    from converters.base import runtime_gguf
    from edgeslm.engines.llama_tokenizer import LlamaTokenizer

    rows = work.rows(part)
    if part == "development":
        rows = rows[:_COMPARED_ROWS]
    tokenizer = LlamaTokenizer(runtime_gguf(work.base, work.folder))
    try:
        return encode_rows(
            rows,
            work.recipe.task,
            work.recipe.prompt,
            tokenizer,
            max_tokens=work.recipe.train.max_tokens,
        )
    finally:
        tokenizer.close()


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
        examples=recipe.examples,
    )


def _gold_predictions(
    gguf: Path, work: Work, progress: Progress, *, what: str, calibration: Calibration | None
) -> list[Prediction]:
    from converters.predict import predict

    card = draft_card(work, calibration)
    return predict(
        gguf, card, work.rows("gold"), lambda done, _failed, of: progress(what, done, of)
    )


def _loses_little(
    work: Work, gold: Sequence[Row], floats: list[Prediction], said: list[Prediction]
) -> bool:
    from edgeslm.scoring import score

    task: Any = "classify" if isinstance(work.recipe.task, ClassifyTask) else "extract"
    answers = [row.answer for row in gold]
    before, after = (score(task, answers, found).main.value for found in (floats, said))
    return 100 * (before - after) <= work.recipe.gates.max_drop


def _calibration(work: Work, progress: Progress) -> Calibration | None:
    from converters.calibration import calibrate
    from converters.predict import open_with_card

    if not isinstance(work.recipe.task, ClassifyTask):
        return None
    progress("calibrating", 0, None)
    with open_with_card(work.candidate, draft_card(work, None)) as model:
        return calibrate(model.classifier(), work.rows("development"))


def _furthest_weight(work: Work) -> float:
    """The largest relative difference of a tensor between the two ways to merge.

    Raises:
        BaseModelError: a tensor is missing in one, or further off than rounding explains.
    """
    import numpy as np

    from edgeslm.gguf_file import read_gguf
    from edgeslm.merge import read_rows as read_values

    ours, theirs = read_gguf(work.merged), read_gguf(work.exported)
    names = {tensor.name: tensor for tensor in theirs.tensors}
    odd = set(names) ^ {tensor.name for tensor in ours.tensors}
    if odd:
        raise BaseModelError(f"the tensor {min(odd)} is only in one of both merged models")
    furthest = 0.0
    with ours.path.open("rb") as left, theirs.path.open("rb") as right:
        for tensor in ours.tensors:
            pairs = zip(
                read_values(left, ours, tensor),
                read_values(right, theirs, names[tensor.name]),
                strict=True,
            )
            for a, b in pairs:
                off = float(np.abs(a - b).max() / max(1e-12, float(np.abs(a).max())))
                furthest = max(furthest, off)
    if furthest > _WEIGHT_TOLERANCE:
        raise BaseModelError(
            f"torch and the device's own merge differ by {furthest:.2g} in a weight; report this "
            "with the recipe and the base"
        )
    return furthest


def _float_parity(exported: dict[str, Any]) -> FloatParity:
    from converters.parity import FloatParity

    return FloatParity(**exported["float_parity"])


def _provenance(work: Work, base: Path) -> Provenance:
    from importlib.metadata import version

    summary = (work.data / "summary.json").read_bytes()
    return Provenance(
        base=work.recipe.base,
        base_sha256=file_sha256(base),
        recipe_sha256=_sha256(work.recipe.model_dump_json().encode()),
        data_sha256=_sha256(summary),
        tools={name: version(name) for name in ("torch", "transformers", "peft", "gguf")},
        sources=tuple(f"{file.url} ({file.licence})" for file in work.recipe.data.files),
    )


def _sha256(raw: bytes) -> str:
    from hashlib import sha256

    return sha256(raw).hexdigest()


def _gold_name(work: Work) -> str:
    split = work.recipe.data.split
    by = "a hash of the input" if split.group is None else f"a hash of {split.group}"
    files = ", ".join(file.path for file in work.recipe.data.files)
    return f"{split.gold:.0%} of {files}, by {by}"


def _forget_other_run(work: Work) -> None:
    """A checkpoint is only for the inputs it was made with."""
    note, inputs = work.training / "inputs", work.inputs("train")
    if note.is_file() and note.read_text(encoding="utf-8") == inputs:
        return
    shutil.rmtree(work.training, ignore_errors=True)
    work.training.mkdir(parents=True)
    note.write_text(inputs, encoding="utf-8")
