"""What a run of benchmarks.runs.classify found, as plain data that is kept as JSON."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.receipts import ROOT
from benchmarks.report.results.extraction import Setting
from benchmarks.report.results.kept import Frozen, read
from edgeslm.evaluation.intervals import Estimate

RESULTS = ROOT / "benchmarks" / "results" / "classify.json"


class LabelResult(Frozen):
    """edgeslm or a peer with one set of labels. Times are milliseconds, medians over the texts.

    ``ratio`` is the median of its time by edgeslm's; None for edgeslm. ``valid`` counts the
    answers that are a label, ``same`` those that are edgeslm's, ``accuracy`` is the share of
    right ones, and ``same_prompt`` counts the texts at which the model was given the very
    tokens that edgeslm gave it. ``decodes`` is None where a peer does not tell it.
    """

    name: str
    about: str
    ms: float
    ratio: Estimate | None
    decodes: float | None
    accuracy: Estimate
    valid: int
    same: int
    same_prompt: int
    prepare_ms: float


class LabelComparison(Frozen):
    """The same texts through all, taking turns; edgeslm is the first."""

    labels: int
    inputs: str
    n: int
    peers: list[LabelResult]
    unavailable: dict[str, str]


class StartResult(Frozen):
    """Starts of edgeslm or a peer: milliseconds from making the process to its first answer.

    ``ratio`` is by edgeslm's in the same round; None for edgeslm.
    """

    name: str
    ms: float
    ratio: Estimate | None


class ColdStarts(Frozen):
    """Fresh processes of all, taking turns, ``n`` of each; edgeslm is the first."""

    task: str
    n: int
    results: list[StartResult]
    unavailable: dict[str, str]


class ClassifyRun(Frozen):
    """A run; a part that was left out is empty. ``skipped`` says what could not be measured."""

    setting: Setting
    comparisons: list[LabelComparison]
    starts: ColdStarts | None
    skipped: list[str]
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether every answer of edgeslm is a label."""
        return all(c.peers[0].valid == c.n for c in self.comparisons)


def kept(path: Path = RESULTS) -> ClassifyRun | None:
    """The run that the repository keeps, if there is one."""
    return read(ClassifyRun, path)
