"""Runs of benchmarks.runs.decode in words and tables: a section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report.figures import circumstances, estimate, number, seconds, times, versions
from benchmarks.report.results.decode import Comparison, DecodeRun, Drafts, Overhead, PeerResult
from benchmarks.report.results.extraction import TUNED

#: how many times edgeslm's time a peer's is aimed at, where answers are long
LONG_AIMS = {
    TUNED: 5.0,
    "outlines": 2.0,
    "outlines on llguidance": 2.0,
    "guidance": 2.0,
    "llama-server, json_schema": 2.0,
    "llama-server, no spaces": 2.0,
}
#: the most that a whole request may take of its bare prefill, where answers are short
PREFILL_AIM = 1.35
#: the most that drafts may cost where nothing is copied
OVERHEAD_AIM = 1.03


def section(runs: Sequence[DecodeRun]) -> str:
    """The section, to be put behind report.page; nothing without runs."""
    if not runs:
        return ""
    return "\n" + "\n\n".join([_HEAD, *(part for run in runs for part in _parts(run))]) + "\n"


def _parts(run: DecodeRun) -> list[str]:
    s = run.setting
    parts = [f"### {s.model}\n\n{circumstances(s, run.seconds)} {versions(s)}."]
    parts += [_comparison(comparison) for comparison in run.comparisons]
    parts += [_right(run.right)] if run.right else []
    parts += [_drafts(run.drafts)] if run.drafts else []
    parts += [_overheads(run.overheads)] if run.overheads else []
    return parts


_HEAD = "\n".join(
    [
        "## Decoding beside other libraries",
        "",
        "Written by `python -m benchmarks.runs.decode`, a run of its own for each model.",
        "",
        "The same file, JSON Schema, prompt, threads and token budget, greedy, flash attention",
        "on; all take turns, and their order turns around from input to input. Before",
        "a timed call each answers another text, so that it may hold the fixed",
        "part of the prompt (outlines clears its model after every call and so does not).",
        "All but edgeslm and `Llama` run in processes and environments of their own, and are",
        "timed there; compiling the schema is not counted in “median time”.",
        "Tokens are those of the answer's text, by the model's tokenizer; where the",
        "answers have other lengths, the time for each says more than that of the whole.",
        "“Same prompt” counts the inputs at which the model was given the very tokens that",
        "edgeslm gave it, “agreement” is the share of all leaves with edgeslm's value.",
        "All write JSON without spaces, but for outlines on llguidance and llama-server's",
        "`json_schema`, which have no setting for it: there the model chooses. “No spaces” is",
        "the same server with the grammar of llama.cpp's own converter, its spaces taken out.",
        "transformers runs the same weights dequantized to float32, its prompt cached; alone",
        "it has nothing that holds a schema, so its valid answers are those of the prompt.",
        "The server's wheel brings a llama.cpp of its own, compiled for any processor of its",
        "kind; what it uses of this one stands below its table.",
        "A trained model answers with its card's schema and prompt, but without its grounding,",
        "which no peer has.",
    ]
)


def _comparison(c: Comparison) -> str:
    is_long = c.prefill is None
    rows = [_row(peer, c.n, is_long) for peer in c.peers]
    lines = [
        f"#### {c.task}",
        "",
        f"Inputs: {c.inputs}.",
        "",
        "| | median time | by edgeslm's | tokens | for each | decodes | valid | agreement "
        "| same prompt | schema compiled in |" + (" aim |" if is_long else ""),
        "| --- " * (11 if is_long else 10) + "|",
        *rows,
    ]
    if c.prefill is not None and c.prefill_ms is not None:
        lines += [
            "",
            f"The whole request takes {times(c.prefill)} the bare evaluation of the same prompt "
            f"tokens ({seconds(c.prefill_ms)}). Aim: at most {PREFILL_AIM:g}; "
            f"{_verdict(c.prefill.value <= PREFILL_AIM)}.",
        ]
    lines += ["", *(f"- {peer.name}: {peer.about}" for peer in c.peers)]
    lines += [f"- {name}: not available: {why}" for name, why in c.unavailable.items()]
    return "\n".join(lines)


def _row(peer: PeerResult, n: int, is_long: bool) -> str:
    cells = [
        peer.name,
        seconds(peer.ms),
        "1" if peer.ratio is None else times(peer.ratio),
        f"{peer.output_tokens:.0f}",
        f"{peer.ms_per_token:.1f} ms",
        number(peer.decodes),
        f"{peer.valid} of {n}",
        f"{peer.agreement:.0%}",
        f"{peer.same_prompt} of {n}",
        seconds(peer.prepare_ms),
    ]
    if is_long:
        aim = LONG_AIMS.get(peer.name)
        reached = peer.ratio is not None and aim is not None and peer.ratio.value >= aim
        cells.append("" if aim is None else f"{aim:g}: {_verdict(reached)}")
    return f"| {' | '.join(cells)} |"


def _drafts(drafts: list[Drafts]) -> str:
    longest = max(drafts, key=lambda d: d.identical.n)
    rows = [
        f"| {d.kind} | {d.identical.n} | {'yes' if d.steady else 'no'} | "
        f"{estimate(d.identical)} | {times(d.ratio)} | {d.decodes:.0f} | {d.decodes_exact:.0f} | "
        f"{'' if d.scores is None else estimate(d.scores.overall)} | "
        f"{'' if d.scores_exact is None else estimate(d.scores_exact.overall)} |"
        for d in drafts
    ]
    return "\n".join(
        [
            "#### Copy drafts: the same answers?",
            "",
            f"{longest.inputs}, or the first n of them, each with drafts and with `drafts=False`.",
            "Where llama.cpp gives the same bits whatever the batch (“steady”), every answer has",
            "to be the same bytes.",
            "",
            "| | n | steady | identical | time without / with | decodes with | without | F1 with "
            "| without |",
            "| --- " * 9 + "|",
            *rows,
        ]
    )


def _right(overheads: list[Overhead]) -> str:
    return "\n".join(
        [
            "#### Copy drafts: where every answer is right",
            "",
            "What the comparisons cannot show: the base model answers long tasks by repeating",
            "itself. Here the same model evaluates every batch, but the right answer is put in its",
            "mouth, as a model that was trained for the task would give it.",
            "",
            "| | n | time with / without | tokens | decodes with | without |",
            "| --- | --- | --- | --- | --- | --- |",
            *(f"| {_cost(o)} |" for o in overheads),
        ]
    )


def _cost(o: Overhead) -> str:
    return (
        f"{o.task} | {o.n} | {times(o.ratio)} | {o.output_tokens:.0f} | {o.decodes:.0f} | "
        f"{o.decodes_exact:.0f}"
    )


def _overheads(overheads: list[Overhead]) -> str:
    rows = [f"| {_cost(o)} | {_verdict(o.ratio.value <= OVERHEAD_AIM)} |" for o in overheads]
    return "\n".join(
        [
            "#### Copy drafts: what they cost where nothing is copied",
            "",
            f"Aim: at most {OVERHEAD_AIM:g} times the time without them.",
            "",
            "| | n | time with / without | tokens | decodes with | without | aim |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"
