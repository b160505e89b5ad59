"""A run of the benchmarks in words and tables: docs/benchmarks.md and entries of LOG.md."""

from __future__ import annotations

from benchmarks.data.receipts import FIELDS
from benchmarks.report.figures import estimate, load, seconds, times, versions
from benchmarks.report.results.extraction import (
    INVOICE,
    RECEIPT,
    TUNED,
    Comparison,
    Receipts,
    Run,
    Setting,
    StartUp,
)

#: how many times the tuned peer's time is aimed at, by task; milliseconds for the import
AIMS = {RECEIPT: 1.5, INVOICE: 3.0}
IMPORT_AIM_MS = 50


def page(run: Run) -> str:
    """docs/benchmarks.md, whole."""
    parts = [_head(run)]
    if run.receipts is not None:
        parts.append(_receipts(run.receipts))
    parts += [_comparisons(run.comparisons, run.setting), _start_up(run.start_up)]
    return "\n\n".join(parts) + "\n"


def log_entry(run: Run, note: str) -> str:
    """One entry of LOG.md: when, what was changed, and the headline numbers."""
    lines = [f"## {run.setting.date} · {run.setting.commit}", "", note, ""]
    if run.receipts is not None:
        r = run.receipts
        lines.append(
            f"- {r.n} receipts: {r.valid} valid, median {seconds(r.ms_median)}, F1 "
            f"{estimate(r.model.overall)}, whole records {estimate(r.model.records)}"
        )
    for comparison in run.comparisons:
        ratios = ", ".join(f"{x} {times(e)}" for x, e in comparison.ratios.items())
        lines.append(f"- {comparison.task}, time by edgeslm's: {ratios}")
    start = run.start_up
    lines.append(
        f"- import {start.import_edgeslm.value:.0f} ms, "
        f"cold start to the first answer {seconds(start.cold_start.value)}"
    )
    return "\n".join(lines) + "\n"


# --- the parts ------------------------------------------------------------------


def _head(run: Run) -> str:
    s = run.setting
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. Speed is only claimed as a ratio of times that were",
        "taken side by side in this run. Square brackets are 95 % confidence intervals.",
        "",
        "| | |",
        "| --- | --- |",
        f"| Date, commit | {s.date}, {s.commit} |",
        f"| Processor | {s.processor}, {s.threads} threads used, {s.memory_gb:.0f} GB memory |",
        f"| System | {s.system}; load average before the run {load(s)} |",
        f"| Model | {s.model} |",
        f"| Versions | {versions(s)} |",
        f"| The whole run | {run.seconds / 60:.0f} minutes |",
    ]
    lines += ["", *(f"Not measured: {reason}." for reason in run.skipped)] if run.skipped else []
    return "\n".join(lines)


def _receipts(r: Receipts) -> str:
    errors = ", ".join(f"{n} {name}" for name, n in r.errors.items()) or "none"
    cut = r.n - sum(r.errors.values()) - r.complete
    rows = [
        f"| {field} | {estimate(r.model.fields[field])} | {estimate(r.rules.fields[field])} |"
        for field in FIELDS
    ]
    return "\n".join(
        [
            f"## {r.n} scanned receipts, four fields",
            "",
            f"Valid answers: **{r.valid} of {r.n}**, {cut} of them closed at the token budget. "
            f"Errors: {errors}; tracebacks: {r.tracebacks}.",
            "",
            "Valid is not true. The model is a general one of 135M parameters that was never",
            "trained for this; the regular expressions were written on other receipts, many from",
            "the same shops. A field is right if it equals the label: dates and amounts after",
            "normalising (day first), words without case and white space. F1 is 2 × right /",
            "(found + labelled).",
            "",
            "| | edgeslm, base model | regular expressions |",
            "| --- | --- | --- |",
            *rows,
            f"| all fields, F1 | {estimate(r.model.overall)} | {estimate(r.rules.overall)} |",
            f"| whole record right | {estimate(r.model.records)} | {estimate(r.rules.records)} |",
            "",
            f"Time for each receipt: median {seconds(r.ms_median)}, p95 {seconds(r.ms_p95)}; "
            f"{r.prefill_share:.0%} of all time is prefill.",
            f"Medians: {r.prompt_tokens:.0f} tokens of prompt ({r.cached_tokens:.0f} of them "
            f"cached), {r.output_tokens:.0f} of answer, in {r.decodes:.0f} decodes.",
        ]
    )


def _comparisons(comparisons: list[Comparison], setting: Setting) -> str:
    return "\n".join(
        [
            "## Beside llama-cpp-python's `Llama` with `LlamaGrammar`",
            "",
            "The same file, prompt tokens, JSON Schema and token budget, greedy; all take",
            "turns, and their order turns around from input to input. Each holds the fixed part of",
            f"the prompt before the clock starts. “{TUNED}” has edgeslm's threads, flash",
            "attention, and JSON without spaces, as edgeslm writes it, since with other spaces the",
            "model says other things at other length. Its defaults here:",
            f"{setting.peer_defaults}. “Same” counts the answers with the value of edgeslm's; they",
            "can differ, as edgeslm feeds keys and signs as the tokens its tokenizer makes",
            "of them, the peer as those that the model likes.",
            *(line for comparison in comparisons for line in ("", *_comparison(comparison))),
        ]
    )


def _comparison(c: Comparison) -> list[str]:
    aim = AIMS[c.task]
    ratio = c.ratios[TUNED].value
    verdict = "reached" if ratio >= aim else "missed"
    rows = [
        f"| {peer.name} | {seconds(peer.ms)} | "
        f"{times(c.ratios[peer.name]) if peer.name in c.ratios else '1'} | "
        f"{peer.output_tokens:.0f} | {peer.ms_per_token:.1f} ms | {peer.decodes:.0f} | "
        f"{peer.valid} of {c.n} | {peer.same} of {c.n} |"
        for peer in c.peers
    ]
    return [
        f"### {c.task[0].upper()}{c.task[1:]}",
        "",
        f"Inputs: {c.inputs}; at most {c.max_tokens} tokens.",
        "",
        "| | median time | by edgeslm's | tokens | for each | decodes | valid | same |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Aim: {aim:g} times faster than the tuned peer; {verdict} with {ratio:.2f}.",
    ]


def _start_up(s: StartUp) -> str:
    parts = ", ".join(f"{name} {seconds(ms)}" for name, ms in s.cold_start_parts.items())
    value = s.import_edgeslm
    verdict = "reached" if value.value <= IMPORT_AIM_MS else "missed"
    return "\n".join(
        [
            "## Start-up, in fresh processes",
            "",
            f"`import edgeslm`: {value.value:.1f} ms [{value.low:.1f}, {value.high:.1f}] over a "
            f"bare interpreter, median of {value.n}. Aim: {IMPORT_AIM_MS} ms; {verdict}.",
            "",
            "Cold start to the first answer on a short text, with the interpreter's own, the model "
            "in the file cache and no prompt saved: "
            f"{seconds(s.cold_start.value)}, median of {s.cold_start.n}.",
            f"Of it: {parts}.",
        ]
    )
