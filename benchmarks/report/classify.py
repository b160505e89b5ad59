"""A run of benchmarks.runs.classify in words and tables: the last section of docs/benchmarks.md."""

from __future__ import annotations

from benchmarks.report.figures import circumstances, number, percent, seconds, times, versions
from benchmarks.report.plot import Group
from benchmarks.report.results.classify import ClassifyRun, ColdStarts, LabelComparison, LabelResult
from benchmarks.report.results.extraction import Setting
from edgeslm.evaluation.intervals import Estimate

#: load average for each thread, from which on times are marked
BUSY = 0.5


def section(run: ClassifyRun | None) -> str:
    """The section, to be put behind the others; nothing without a run."""
    if run is None:
        return ""
    parts = [_head(run)]
    parts += [_comparison(comparison) for comparison in run.comparisons]
    parts += [] if run.starts is None else [_starts(run.starts)]
    return "\n" + "\n\n".join(parts) + "\n"


def groups(run: ClassifyRun) -> list[Group]:
    """The run's medians for the plot."""
    labels: list[Group] = [
        (f"One of {c.labels} labels (n = {c.n})", [(peer.name, peer.ms) for peer in c.peers])
        for c in run.comparisons
    ]
    s = run.starts
    starts: list[Group] = (
        []
        if s is None
        else [(f"Cold start: {s.task} (n = {s.n})", [(peer.name, peer.ms) for peer in s.results])]
    )
    return labels + starts


# --- the parts ------------------------------------------------------------------


def _head(run: ClassifyRun) -> str:
    s = run.setting
    lines = [
        "## Classification and cold starts beside other libraries",
        "",
        "Written by `python -m benchmarks.runs.classify`, a run of its own: "
        f"{circumstances(s, run.seconds)} Model: {s.model}. {versions(s)}.",
        "",
        *([_BUSY, ""] if busy(s) else []),
        *(f"Not measured: {reason}.\n" for reason in run.skipped),
        "The same file, prompt and threads, flash attention on where one can choose; all",
        "take turns, and their order turns around from text to text. Before each timed call",
        "each answers another text, so that it may hold the fixed part of the prompt, where",
        "all labels stand (outlines on llama-cpp-python clears its model after every call and so",
        "does not). The methods differ: edgeslm scores every label to its end and takes the",
        "likeliest, so it also knows the probability of each; all others write one label token by",
        "token, the likeliest token that a label allows, and are done with fewer evaluated tokens.",
        "So their answers can differ. Accuracy is that of a general model of 135M parameters that",
        "was never trained for this: it shows that all do the same work, not what a specialist can",
        "do. transformers runs the weights of the same file dequantized to float32 and holds the",
        "labels by `prefix_allowed_tokens_fn`, its prompt cached as its documentation shows.",
    ]
    return "\n".join(lines)


_BUSY = (
    "**Busy machine**: other work ran beside this. Ratios come from turns and stand better than "
    "times; both may change on a quiet one."
)


def busy(setting: Setting) -> bool:
    """Whether other work took more than a little of this machine before the run."""
    return setting.load_average is not None and setting.load_average > BUSY * setting.threads


def _comparison(c: LabelComparison) -> str:
    rows = [
        f"| {peer.name} | {seconds(peer.ms)} | {_by_own(peer.ratio)} | {number(peer.decodes)} | "
        f"{percent(peer.accuracy)} | {peer.valid} of {c.n} | {peer.same} of {c.n} | "
        f"{peer.same_prompt} of {c.n} | {seconds(peer.prepare_ms)} |"
        for peer in c.peers
    ]
    return "\n".join(
        [
            f"### One of {c.labels} labels",
            "",
            f"Inputs: {c.inputs}.",
            "",
            "| | median time | by edgeslm's | decodes | right | a label | same as edgeslm "
            "| same prompt | labels compiled in |",
            "| --- " * 9 + "|",
            *rows,
            "",
            _faster({peer.name: peer.ratio for peer in c.peers}),
            _more_right(c.peers),
            "",
            *(f"- {peer.name}: {peer.about}" for peer in c.peers),
            *(f"- {name}: not available: {why}" for name, why in c.unavailable.items()),
        ]
    )


def _starts(s: ColdStarts) -> str:
    rows = [f"| {peer.name} | {seconds(peer.ms)} | {_by_own(peer.ratio)} |" for peer in s.results]
    return "\n".join(
        [
            "### Cold starts",
            "",
            f"From making a process to its first answer, {s.task}: interpreter, libraries, model,",
            "compiling the form of answers, the whole prompt. Each after one unmeasured start, so",
            "files are in the system's cache. edgeslm keeps an evaluated prompt on disk for later",
            "starts; it stands here without that and with it, as no peer does so by itself.",
            f"{s.n} starts of each.",
            "",
            "| | median time | by edgeslm's |",
            "| --- | --- | --- |",
            *rows,
            "",
            _faster({peer.name: peer.ratio for peer in s.results}),
            *(f"\n- {name}: not available: {why}" for name, why in s.unavailable.items()),
        ]
    )


# --- who wins -------------------------------------------------------------------


def _faster(ratios: dict[str, Estimate | None]) -> str:
    """Which peers need less time than edgeslm, and whether the interval says so too."""
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    ahead = [
        f"{name} ({times(ratio)}{'' if ratio.high < 1 else ', within the noise'})"
        for name, ratio in known.items()
        if ratio.value < 1
    ]
    if not ahead:
        return "None is faster than edgeslm."
    return f"**Faster than edgeslm: {', '.join(ahead)}.**"


def _more_right(peers: list[LabelResult]) -> str:
    own = peers[0].accuracy
    ahead = [
        f"{peer.name} ({peer.accuracy.value:.0%})"
        for peer in peers
        if peer.accuracy.value > own.value
    ]
    if not ahead:
        return "None is right more often than edgeslm."
    return (
        f"**Right more often than edgeslm ({own.value:.0%}): {', '.join(ahead)}**; "
        "the intervals say how sure that is."
    )


def _by_own(ratio: Estimate | None) -> str:
    return "1" if ratio is None else times(ratio)
