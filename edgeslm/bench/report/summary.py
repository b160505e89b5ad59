"""What a run found in a few lines: the same words for the terminal, the page and the card"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from edgeslm.bench.report.figures import amount, between, figures, plain
from edgeslm.bench.report.roofline import Limit, roofline
from edgeslm.bench.report.schema import BenchReport, MachineFacts, Start, TaskRun

NOT_AVAILABLE = "not available"
#: where the answers of random weights might be taken for a result
SYNTHETIC = "SYNTHETIC: random weights, for latency only; the answers mean nothing"


def lines(report: BenchReport) -> list[tuple[str, str]]:
    """What was found beside the latencies, as (name, words); only what was measured."""
    lines = [("answers", answers(report))]
    task = main_task(report)
    if task is not None:
        lines.append(("speed", _speed(task)))
    if report.raw:
        tests = [f"{t.test} {t.avg_ts:,.0f} ± {t.stddev_ts:,.0f}" for t in report.raw]
        lines.append(("engine alone", f"{', '.join(tests)} tokens/s"))
    lines += [("of the limit", limit_line(limit)) for limit in roofline(report)]
    if report.start is not None:
        lines.append(("start", _start(report.start)))
    lines += [("memory", _memory(report)), ("energy", _energy(report))]
    return lines


def card_text(report: BenchReport) -> str:
    """Five lines that stand for a run in a README or an issue."""
    machine = report.machine
    by_name = figures(report)
    task = main_task(report)
    parts = [f"{name} {by_name[name]}" for name in ("cold start", "peak memory") if name in by_name]
    return "\n".join(
        [
            f"{model_line(report)}: {machine_line(machine)}",
            "no requests were measured" if task is None else latency_line(task),
            ", ".join([*([] if task is None else [_speed(task)]), *parts]) or "no other figures",
            "; ".join([f"answers: {answers(report)}", *marks(report)]),
            f"edgeslm {plain(machine.edgeslm)}, {plain(machine.library)}, {report.created[:10]}, "
            f"machine {plain(machine.fingerprint)[:12]}",
        ]
    )


def main_task(report: BenchReport) -> TaskRun | None:
    """The requests that speak for a run: with the prefix cache, as an application has it."""
    return next((t for t in report.tasks if t.prefix_cache), next(iter(report.tasks), None))


def model_line(report: BenchReport) -> str:
    """Which model ran, and how large it is."""
    model = report.model
    version = "" if model.card_version is None else f" {plain(model.card_version, 20)}"
    bits = model.bits_per_weight
    weight = "" if bits is None else f", {bits:.2f} bits per weight"
    size = amount(model.size, "bytes")
    return f"{plain(model.name, 60)}{version} ({plain(model.file_type, 20)}, {size}{weight})"


def machine_line(machine: MachineFacts) -> str:
    """What it ran on: processor, threads, GPUs, memory."""
    gpus = [plain(gpu.name, 60) for gpu in machine.gpus]
    return ", ".join(
        [
            plain(machine.processor, 60),
            f"{machine.threads} thread{'s' if machine.threads != 1 else ''}",
            *gpus,
            f"{amount(machine.memory, 'bytes')} memory",
        ]
    )


def latency_line(task: TaskRun) -> str:
    """A whole request's percentiles, the median with its interval."""
    parts = []
    for name in sorted(task.latency):
        stated = task.latency[name]
        interval = f" {between(stated, 'ms')}" if name == "p50" else ""
        parts.append(f"{name} {amount(stated.value, 'ms')}{interval}")
    cache = "on" if task.prefix_cache else "off"
    return f"request {', '.join(parts)}; n = {len(task.milliseconds):,}, prefix cache {cache}"


def answers(report: BenchReport) -> str:
    """Whether the answers were right, in words."""
    if report.model.synthetic:
        return "not judged, the weights are random"
    judged = report.correctness
    if judged is None:
        return "not judged, the inputs have no expected answers"
    bar = "no bar" if judged.bar is None else f"bar {judged.bar:.1%}"
    reason = "" if judged.reason is None else f" ({plain(judged.reason)})"
    verdict = "INVALID" if not judged.valid else "not judged" if judged.bar is None else "VALID"
    counts = f"{judged.right} of {judged.checked} right, {judged.invalid} invalid"
    return f"{counts}, {bar}: {verdict}{reason}"


def limit_line(limit: Limit) -> str:
    """One measured speed beside what the machine allows at most, and how that was computed."""
    return (
        f"{limit.test}: {limit.measured:,.0f} of at most {limit.limit:,.0f} tokens/s, "
        f"{limit.share:.0%} ({limit.formula})"
    )


def marks(report: BenchReport) -> list[str]:
    """What a reader has to know before any number: invalid, synthetic, partial, quick."""
    marks = []
    if report.correctness is not None and not report.correctness.valid:
        marks.append("INVALID: the answers were not right, so the times do not count")
    if report.model.synthetic:
        marks.append(SYNTHETIC)
    if report.partial:
        marks.append("PARTIAL: interrupted, some parts were not measured")
    if report.quick:
        marks.append("QUICK: few repetitions, wide intervals")
    return marks


def remarks(report: BenchReport) -> list[str]:
    """What the run itself says about the machine, as warnings, and about the measurement."""
    return [
        *(f"warning: {plain(text, 300)}" for text in report.machine.warnings),
        *(f"note: {plain(text, 300)}" for text in report.notes),
    ]


def start_parts(starts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each part over several starts, in milliseconds."""
    names = dict.fromkeys(name for parts in starts for name in parts)
    return {name: median(parts.get(name, 0.0) for parts in starts) for name in names}


def _speed(task: TaskRun) -> str:
    rate = amount(task.prefill_tokens_per_second.value, "tokens/s")
    parts = [f"first token {amount(task.first_token.value, 'ms')}", f"prefill {rate}"]
    if task.decode_tokens_per_second is not None:
        parts.append(f"decode {amount(task.decode_tokens_per_second.value, 'tokens/s')}")
    if task.tokens_per_answer:
        decodes = f"{task.decodes_per_answer:.1f} decodes"
        parts.append(f"{task.tokens_per_answer:.1f} tokens in {decodes} a request")
    return ", ".join(parts)


def _start(start: Start) -> str:
    parts = []
    for words, starts in (("cold", start.cold), ("file not in memory", start.dropped or ())):
        if starts:
            whole = median(sum(each.values()) for each in starts)
            shares = [
                f"{plain(name, 20)} {amount(ms, 'ms')}" for name, ms in start_parts(starts).items()
            ]
            parts.append(f"{words} {amount(whole, 'ms')} ({', '.join(shares)})")
    if start.warm_load:
        parts.append(f"warm load {amount(median(start.warm_load), 'ms')}")
    if start.restored_prefix:
        parts.append(f"with saved prefix {amount(median(start.restored_prefix), 'ms')}")
    return ", ".join(parts) or NOT_AVAILABLE


def _memory(report: BenchReport) -> str:
    file = f"file {amount(report.model.size, 'bytes')}"
    footprint = report.footprint
    if footprint is None:
        return file
    gpu = "" if footprint.vram is None else f"{amount(footprint.vram, 'bytes')} on the GPU, "
    return f"peak {amount(footprint.rss, 'bytes')}, {gpu}{file}"


def _energy(report: BenchReport) -> str:
    energy = report.energy
    if energy is None:
        return NOT_AVAILABLE
    return f"{amount(energy.joules.value, 'J')} per request ({energy.source})"
