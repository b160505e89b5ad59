"""What runs of benchmarks.runs.decode found, as plain data; one of each model is kept as JSON."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from benchmarks.data.receipts import ROOT, Scores
from benchmarks.report.results.extraction import Setting
from benchmarks.report.results.kept import Frozen
from edgeslm.evaluation.intervals import Estimate

FOLDER = ROOT / "benchmarks" / "results" / "decode"


class PeerResult(Frozen):
    """edgeslm or a peer at one task. Times are milliseconds, medians over the inputs.

    ``ratio`` is the median of its time by edgeslm's; None for edgeslm. ``output_tokens`` are
    counted in the answer's text by one tokenizer for all; ``decodes`` is None where a peer does
    not tell it. ``agreement`` is the share of all
    leaves that have edgeslm's value; ``same_prompt`` counts the inputs at which the model was
    given the very tokens that edgeslm gave it.
    """

    name: str
    about: str
    ms: float
    ratio: Estimate | None
    output_tokens: float
    ms_per_token: float
    decodes: float | None
    valid: int
    agreement: float
    same_prompt: int
    prepare_ms: float


class Comparison(Frozen):
    """The same inputs through all, taking turns; edgeslm is the first.

    ``unavailable`` says of each peer that is missing why. ``prefill`` is edgeslm's whole
    request by the bare evaluation of the same prompt tokens, and ``prefill_ms`` the median
    of the latter; None where it was not measured.
    """

    task: str
    inputs: str
    n: int
    peers: list[PeerResult]
    unavailable: dict[str, str]
    prefill: Estimate | None
    prefill_ms: float | None


class Drafts(Frozen):
    """One quantization with copy drafts and without, on the same receipts.

    ``identical`` is the share of answers with the same bytes, ``steady`` whether llama.cpp
    gives the same bits whatever the batch, so that it has to be all of them. ``ratio`` is the
    time without drafts by that with them. Scores are None without true values.
    """

    kind: str
    steady: bool
    inputs: str
    identical: Estimate
    ratio: Estimate
    decodes: float
    decodes_exact: float
    scores: Scores | None
    scores_exact: Scores | None


class Overhead(Frozen):
    """What drafts cost or save at a task: time with them by time without."""

    task: str
    n: int
    ratio: Estimate
    output_tokens: float
    decodes: float
    decodes_exact: float


class DecodeRun(Frozen):
    """A run; a part that was left out is empty. ``overheads`` are of tasks with nothing to copy,
    ``right`` of a model that answers right."""

    setting: Setting
    comparisons: list[Comparison]
    drafts: list[Drafts]
    overheads: list[Overhead]
    right: list[Overhead] = Field(default_factory=list)
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether edgeslm kept its promises, so that its times mean something.

        Every answer is valid, and a steady quantization answers the same with drafts.
        """
        valid = all(c.peers[0].valid == c.n for c in self.comparisons)
        return valid and all(d.identical.value == 1 for d in self.drafts if d.steady)


def file_of(run: DecodeRun, folder: Path = FOLDER) -> Path:
    """Where the run of a model is kept, however it was requantized."""
    name, _, _ = run.setting.model.partition(",")
    return folder / f"{name}.json"


def kept(folder: Path = FOLDER) -> list[DecodeRun]:
    """The runs that the repository keeps, in the order of their models' names."""
    return [kept_in(path) for path in sorted(folder.glob("*.json"))]


def kept_in(path: Path) -> DecodeRun:
    """The run that is kept in a file."""
    return DecodeRun.model_validate_json(path.read_text(encoding="utf-8"))
