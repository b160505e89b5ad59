"""The build of a language model: its files, its steps, and what each of them reads and leaves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.causal.encode import Encoded, encode_rows
from converters.gates.reports import Divergence, FloatParity, ParityReport
from converters.recipe.recipe import Recipe
from converters.steps.results import Exported, Trained, Written
from converters.steps.shared import (
    SHARED_LIBRARIES,
    Beside,
    data,
    draft_card,
    final_card,
    forget_other_run,
    judge,
    loses_too_much,
    require_passed,
    written_calibration,
)
from converters.work import Run, Step, Work
from edgeslm.formats.card import ClassifyTask
from edgeslm.formats.files import Progress, file_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from converters.causal.quantize import QuantizeReport
    from converters.gates.verify import Verdict
    from edgeslm.evaluation.matches import Prediction
    from edgeslm.formats.card import Calibration

#: development rows at whose answers libraries and quantizations are compared
_COMPARED_ROWS = 32


@dataclass(frozen=True)
class CausalWork(Work):
    """The build of a language model: an adapter is trained, merged, quantized and proven."""

    libraries = (*SHARED_LIBRARIES, "torch", "transformers", "peft", "safetensors", "llama_cpp")
    suffix = ".gguf"

    @staticmethod
    def find_base(recipe: Recipe, folder: Path) -> Path:
        from converters.causal.base import resolve_base

        return resolve_base(recipe.base)

    @property
    def runs(self) -> dict[Step, Run]:
        return {
            "data": partial(data, self),
            "train": partial(train, self),
            "merge": partial(merge, self),
            "export": partial(export, self),
            "quantize": partial(quantize, self),
            "verify": partial(verify, self),
            "pack": partial(pack, self),
        }

    def results(self, step: Step) -> list[Path]:
        match step:
            case "train":
                return [self.peft]
            case "merge":
                return [self.merged_hf, self.draft, self.merged]
            case "pack":
                return [self.model, self.adapter]
            case _:
                return super().results(step)

    @property
    def peft(self) -> Path:
        return self.training / "adapter"

    @property
    def merged_hf(self) -> Path:
        return self.folder / "merged-hf"

    @property
    def draft(self) -> Path:
        """The adapter as GGUF, with the importance matrix once that is known, without proof."""
        return self.folder / "draft.gguf"

    @property
    def merged(self) -> Path:
        """Base and adapter as float weights, made as a device makes them."""
        return self.folder / "merged.F32.gguf"

    @property
    def exported(self) -> Path:
        """The merged transformers model through the converter, to compare with ``merged``."""
        return self.folder / "exported.F32.gguf"

    @property
    def adapter(self) -> Path:
        """The proven adapter, for devices that have the base."""
        return self.folder / f"{self.recipe.name}.adapter.gguf"


def train(work: CausalWork, progress: Progress) -> Trained:
    """Train the adapter; a killed run of the same inputs is continued."""
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
    curve = work.training / "loss.png"
    draw_curve(curve, history)
    return Trained.of(history, curve)


def merge(work: CausalWork, progress: Progress) -> Written:
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
    return Written((work.merged_hf, work.merged))


def export(work: CausalWork, progress: Progress) -> Exported:
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
    exported = Exported(parity, furthest, tokens, prompts)
    work.write_report("export", exported.to_dict())
    return exported


def quantize(work: CausalWork, progress: Progress) -> QuantizeReport:
    """The fastest quantization that loses no more than the gates allow, as ``candidate``.

    Raises:
        GateError: none of the recipe's types does.
    """
    from converters.causal.adapter import read_peft
    from converters.causal.base import load_base, runtime_gguf
    from converters.causal.imatrix import importance_matrix
    from converters.causal.quantize import quantize_best
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
    return report


def verify(work: CausalWork, progress: Progress) -> Verdict:
    """Judge the candidate by the gates; the verdict is written, whatever it is."""
    quantized = work.read_report("quantize")
    exported = work.read_report("export")
    chosen = next(c for c in quantized["candidates"] if c["file_type"] == quantized["chosen"])
    return judge(
        work,
        progress,
        prompt_parity=ParityReport(**exported["prompts"], first=()),
        token_parity=ParityReport(**exported["tokens"], first=()),
        float_parity=FloatParity(**exported["float_parity"]),
        divergence=Divergence(**chosen["divergence"]),
        beside=_beside_base(work, progress) if "adapter" in work.recipe.serve_as else None,
    )


def _beside_base(work: CausalWork, progress: Progress) -> Beside:
    """What the adapter answers beside its base, on the path of a device that has both."""
    from converters.causal.adapter import read_peft
    from converters.causal.base import runtime_gguf
    from converters.steps.predict import predictions
    from edgeslm.evaluation.selftest import self_test
    from edgeslm.formats.gguf.adapter import write_adapter
    from edgeslm.formats.gguf.info import read_gguf
    from edgeslm.models.gguf import open_gguf

    base = runtime_gguf(work.base, work.folder, progress=progress)
    card = draft_card(work, written_calibration(work.read_report("quantize")))
    adapter = work.folder / ".beside.part.gguf"
    write_adapter(adapter, read_peft(work.peft, read_gguf(base)), card=card)
    try:
        with open_gguf(base, None) as loaded:
            model = loaded.without_prefix_cache().adapter(adapter, unproven=True)
            said = predictions(
                model,
                work.judged_rows,
                lambda _said, done, of: progress("answers beside the base", done, of),
            )
            return Beside(said, self_test(model))
    finally:
        adapter.unlink(missing_ok=True)


def pack(work: CausalWork, progress: Progress) -> Written:
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
    return Written((work.model, work.adapter))


def encoded(work: CausalWork, part: Any) -> list[Encoded]:
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


def _gold_predictions(
    gguf: Path, work: CausalWork, progress: Progress, *, what: str, calibration: Calibration | None
) -> list[Prediction]:
    from converters.steps.predict import predict

    card = draft_card(work, calibration)
    return predict(gguf, card, work.judged_rows, lambda _said, done, of: progress(what, done, of))


def _calibration(work: CausalWork, candidate: Path, progress: Progress) -> Calibration | None:
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
        return calibrate_fields(model.extractor(), rows, fold=work.recipe.gates.fold)


def _trainable_base(work: CausalWork) -> PreTrainedModel:
    from converters.causal.base import load_base, save_hf
    from converters.causal.train.qlora import check_qlora, load_4bit

    if not work.recipe.train.qlora:
        return load_base(work.base)
    check_qlora()
    folder = work.base
    if not folder.is_dir():
        folder = save_hf(load_base(work.base), work.base, work.folder / "base-hf")
    return load_4bit(folder)
