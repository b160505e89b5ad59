"""The steps of a build, each a plain function from a Work folder to its results."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.causal.encode import Encoded, encode_rows
from converters.work import Work
from edgeslm.formats.card import Card, ClassifyTask, Provenance
from edgeslm.formats.files import Progress, file_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from converters.data.summary import DataSummary
    from converters.gates.reports import Divergence, FloatParity, ParityReport
    from converters.gates.verify import Verdict
    from converters.training.history import History
    from edgeslm.evaluation.matches import Prediction
    from edgeslm.formats.card import Calibration

#: development rows at whose answers libraries and quantizations are compared
_COMPARED_ROWS = 32


def data(work: Work, progress: Progress) -> DataSummary:
    """Files of examples become train, development and gold rows; raises what `prepare` does."""
    from converters.data.prepare import prepare

    return prepare(work.recipe, work.data_folder, work.data, progress)


def train(work: Work, progress: Progress) -> History:
    """Train the adapter; what a killed run left for the same inputs is gone on from."""
    import torch  # noqa: F401  before llama.cpp, whose short waits for threads are not for torch

    from converters.causal.base import runtime_gguf
    from converters.causal.train.train import train as run
    from converters.training.curve import draw_curve
    from edgeslm.engines.llama.tokenizer import LlamaTokenizer

    forget_other_run(work)
    tokenizer = LlamaTokenizer(runtime_gguf(work.base, work.folder, progress=progress))
    try:
        progress("loading the base", 0, None)
        history = run(
            work.recipe,
            _trainable_base(work),
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
    from converters.causal.adapter import read_peft
    from converters.causal.base import load_base, runtime_gguf, save_hf
    from converters.causal.merge import merge_hf
    from edgeslm.formats.gguf.adapter import write_adapter
    from edgeslm.formats.gguf.info import read_gguf
    from edgeslm.store.assemble import merge_float

    base = runtime_gguf(work.base, work.folder, progress=progress)
    progress("merging with torch", 0, None)
    model = merge_hf(load_base(work.base), work.peft, as_shipped=True)
    save_hf(model, work.base, work.merged_hf)
    write_adapter(work.draft, read_peft(work.peft, read_gguf(base)))
    progress("merging without torch", 0, None)
    merge_float(base, work.draft, work.merged, progress=progress)
    return [work.merged_hf, work.merged]


def export(work: Work, progress: Progress) -> dict[str, Any]:
    """The merged model through the converter, held to torch and to the device's own merge."""
    from converters.causal.base import load_base, runtime_gguf
    from converters.causal.export import export_gguf, load_hf_tokenizer
    from converters.causal.parity import float_parity, prompt_parity, token_parity, weight_distance
    from edgeslm.engines.llama.tokenizer import LlamaTokenizer
    from edgeslm.formats.gguf.info import read_gguf

    base = read_gguf(runtime_gguf(work.base, work.folder, progress=progress))
    pre = base.metadata.get("tokenizer.ggml.pre")  # a rebuilt tokenizer may not be recognised
    export_gguf(work.merged_hf, work.exported, dtype="F32", pre=pre, progress=progress)
    progress("comparing weights", 0, None)
    furthest = weight_distance(work.merged, work.exported)
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
        "tokens": {"n": tokens.n, "differing": tokens.differing},
        "prompts": {"n": prompts.n, "differing": prompts.differing},
    }
    work.write_report("export", report)
    return report


def quantize(work: Work, progress: Progress) -> Any:
    """The fastest quantization that loses no more than the gates allow, as ``candidate``.

    Raises:
        GateError: none of the recipe's types does.
    """
    from converters.causal.adapter import read_peft
    from converters.causal.base import load_base, runtime_gguf
    from converters.causal.imatrix import importance_matrix
    from converters.causal.quantize import quantize_best, table
    from edgeslm.formats.gguf.adapter import write_adapter
    from edgeslm.formats.gguf.info import read_gguf

    base = read_gguf(runtime_gguf(work.base, work.folder, progress=progress))
    rows = encoded(work, "train")[: work.recipe.quantize.imatrix_rows]
    imatrix = importance_matrix(
        load_base(work.merged_hf), rows, architecture=base.architecture, progress=progress
    )
    write_adapter(work.draft, read_peft(work.peft, base, imatrix=imatrix))
    floats = _gold_predictions(work.merged, work, progress, what="float answers", calibration=None)
    tried: dict[str, Any] = {}

    def refuses(candidate: Path) -> str | None:
        calibration = _calibration(work, candidate, progress)
        said = _gold_predictions(
            candidate, work, progress, what="quantized answers", calibration=calibration
        )
        tried["calibration"] = calibration and calibration.model_dump(mode="json")
        tried["quantized"] = [asdict(prediction) for prediction in said]
        return loses_too_much(work, floats, said)

    report = quantize_best(
        work.recipe.quantize,
        work.merged,
        imatrix,
        encoded(work, "development"),
        work.candidate,
        refuses=refuses,
        progress=progress,
    )
    answers = [asdict(prediction) for prediction in floats]
    work.write_report("quantize", {**asdict(report), "floats": answers, **tried})
    return table(report)


def verify(work: Work, progress: Progress) -> Verdict:
    """Judge the candidate by the gates; the verdict is written, whatever it is."""
    from converters.gates.reports import Divergence, ParityReport

    quantized = work.read_report("quantize")
    exported = work.read_report("export")
    chosen = next(c for c in quantized["candidates"] if c["file_type"] == quantized["chosen"])
    return judge(
        work,
        progress,
        prompt_parity=ParityReport(**exported["prompts"], first=()),
        token_parity=ParityReport(**exported["tokens"], first=()),
        float_parity=_float_parity(exported),
        divergence=Divergence(**chosen["divergence"]),
    )


def judge(
    work: Work,
    progress: Progress,
    *,
    divergence: Divergence,
    float_parity: FloatParity | None,
    prompt_parity: ParityReport | None = None,
    token_parity: ParityReport | None = None,
) -> Verdict:
    """Hold the candidate of any kind to the recipe's gates, and write the verdict."""
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
        tests = self_test(model)
    verdict = judged(
        VerifyInputs(
            recipe=work.recipe,
            parts=held_out(
                work.judged,
                words=[work.in_words(part) for part in work.judged],
                quantized=[Prediction(**fields) for fields in quantized["quantized"]],
                floats=[Prediction(**fields) for fields in quantized["floats"]],
                baselines=trivial,
                references=references(work.recipe, work.data_folder, work.judged_rows),
            ),
            self_tests=tests,
            prompt_parity=prompt_parity,
            token_parity=token_parity,
            float_parity=float_parity,
            divergence=divergence,
        )
    )
    work.write_report("verify", verdict.to_dict())
    return verdict


def pack(work: Work, progress: Progress) -> list[Path]:
    """Write the specialist and its adapter file, with card and proof.

    Raises:
        GateError: it did not pass verification.
    """
    from converters.causal.base import runtime_gguf
    from converters.causal.quantize import quantization
    from edgeslm.store.assemble import seal

    require_passed(work)
    base = runtime_gguf(work.base, work.folder, progress=progress)
    card = final_card(work, file_sha256(base), tools=("torch", "transformers", "peft", "gguf"))
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
    from converters.causal.base import runtime_gguf
    from edgeslm.engines.llama.tokenizer import LlamaTokenizer

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


def require_passed(work: Work) -> None:
    """Raise GateError unless the build passed verification."""
    from converters.errors import GateError

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


def _gold_predictions(
    gguf: Path, work: Work, progress: Progress, *, what: str, calibration: Calibration | None
) -> list[Prediction]:
    from converters.steps.predict import predict

    card = draft_card(work, calibration)
    return predict(gguf, card, work.judged_rows, lambda _said, done, of: progress(what, done, of))


def loses_too_much(work: Work, floats: list[Prediction], said: list[Prediction]) -> str | None:
    """What quantized answers to the judged rows lose beyond what gates allow; None if little."""
    from converters.gates.verify import loses_too_much as judged

    return judged(work.recipe, work.judged, floats, said)


def _calibration(work: Work, candidate: Path, progress: Progress) -> Calibration | None:
    from converters.causal.calibration import calibrate, calibrate_fields
    from converters.steps.predict import open_with_card
    from edgeslm.models.model import Model

    progress("calibrating", 0, None)
    rows = work.rows("development")
    with open_with_card(candidate, draft_card(work, None)) as model:
        if isinstance(work.recipe.task, ClassifyTask):
            assert isinstance(model, Model)  # encoders have steps of their own
            # also labels that hardly matter: at a higher temperature they may
            return calibrate(partial(model.classifier(), all_labels=True), rows)
        return calibrate_fields(model.extractor(), rows)


def written_calibration(quantized: dict[str, Any]) -> Calibration | None:
    """The calibration that the quantize step has fitted."""
    from edgeslm.formats.card import Calibration

    found = quantized["calibration"]
    return None if found is None else Calibration.model_validate(found)


def _float_parity(exported: dict[str, Any]) -> FloatParity:
    from converters.gates.reports import FloatParity

    return FloatParity(**exported["float_parity"])


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


def _trainable_base(work: Work) -> PreTrainedModel:
    from converters.causal.base import load_base, save_hf
    from converters.causal.train.qlora import check_qlora, load_4bit

    if not work.recipe.train.qlora:
        return load_base(work.base)
    check_qlora()
    folder = work.base
    if not folder.is_dir():
        folder = save_hf(load_base(work.base), work.base, work.folder / "base-hf")
    return load_4bit(folder)


def forget_other_run(work: Work) -> None:
    """A checkpoint is only for the inputs it was made with."""
    note, inputs = work.training / "inputs", work.inputs("train")
    if note.is_file() and note.read_text(encoding="utf-8") == inputs:
        return
    if work.training.exists():
        shutil.rmtree(work.training)
    work.training.mkdir()
    note.write_text(inputs, encoding="utf-8")
