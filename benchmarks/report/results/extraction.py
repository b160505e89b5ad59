"""What a run of the benchmarks found, as plain data that is kept as JSON."""

from __future__ import annotations

from benchmarks.data.receipts import Scores
from benchmarks.report.results.kept import Frozen
from edgeslm.evaluation.intervals import Estimate

#: edgeslm, and the peer that has no process of its own, by settings
OWN = "edgeslm"
TUNED = "Llama, tuned alike"
DEFAULTS = "Llama, its defaults"
#: what they are compared on
RECEIPT = "receipt, four fields"
INVOICE = "invoice, six line items"


class Setting(Frozen):
    """Where and on what a run was made. ``load_average`` is over the minute before it."""

    date: str
    commit: str
    processor: str
    system: str
    threads: int
    memory_gb: float
    load_average: float | None
    model: str
    versions: dict[str, str]
    peer_defaults: str


class Receipts(Frozen):
    """All receipts through the extractor, and the same through regular expressions.

    ``valid`` answers were parsed and checked against the schema by another validator;
    ``complete`` ones were not cut by the budget; ``errors`` counts by type of exception
    and ``tracebacks`` those that are not edgeslm's own. Times are milliseconds.
    """

    n: int
    valid: int
    complete: int
    errors: dict[str, int]
    tracebacks: int
    ms_median: float
    ms_p95: float
    prefill_share: float
    prompt_tokens: float
    cached_tokens: float
    output_tokens: float
    decodes: float
    model: Scores
    rules: Scores


class PeerResult(Frozen):
    """edgeslm or a peer: medians over the inputs, and how many answers were valid.

    ``same`` counts the answers with the same value as edgeslm's.
    """

    name: str
    ms: float
    output_tokens: float
    ms_per_token: float
    decodes: float
    valid: int
    same: int


class Comparison(Frozen):
    """The same inputs through edgeslm and the peers, taking turns.

    ``ratios`` are medians over the inputs of the peer's time by edgeslm's, by peer.
    """

    task: str
    inputs: str
    n: int
    max_tokens: int
    peers: list[PeerResult]
    ratios: dict[str, Estimate]


class StartUp(Frozen):
    """Fresh processes, in milliseconds; the model file is in the system's file cache."""

    import_edgeslm: Estimate
    cold_start: Estimate
    cold_start_parts: dict[str, float]


class Run(Frozen):
    """A whole run; a part that could not be measured says why in ``skipped``."""

    setting: Setting
    receipts: Receipts | None
    comparisons: list[Comparison]
    start_up: StartUp
    skipped: list[str]
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether every answer of edgeslm was valid, so that its times mean something."""
        counted = self.receipts is None or self.receipts.valid == self.receipts.n
        return counted and all(c.peers[0].valid == c.n for c in self.comparisons)
