"""`edgeslm bench`: latency of whole tasks on this machine, and proof that the answers were right"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeslm.cli.arguments import Choice, check_output, model_name
from edgeslm.cli.bench_compare import compare
from edgeslm.cli.output import for_people, print_line, say, tell
from edgeslm.cli.progress import bars
from edgeslm.formats.files import Progress, write_text

if TYPE_CHECKING:
    from edgeslm.bench.report.compare import Verdict
    from edgeslm.bench.report.schema import BenchReport
    from edgeslm.bench.run import Target

_SLOWER, _INVALID, _INTERRUPTED = 1, 3, 130


class _Bench(click.Command):
    """`bench NAME…`, where `compare` in place of a name is the command of that name."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args[:1] == ["compare"]:
            return compare.make_context(f"{info_name} compare", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _threads(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    """``auto`` as (), else the numbers, rising."""
    if value == "auto":
        return ()
    words = value.split(",")
    if not all(word.strip().isdecimal() and 1 <= int(word) <= 256 for word in words):
        raise click.BadParameter("write auto, or numbers from 1 to 256 such as 1,2,4")
    return tuple(sorted({int(word) for word in words}))


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=_Bench)
@model_name("NAME...", nargs=-1)
@click.option("--quick", is_flag=True, help="Few repetitions: a minute or so, wide intervals.")
@click.option(
    "--synthetic",
    multiple=True,
    metavar="SHAPE",
    help="Also bench a model of this shape with random weights, written at the first use: "
    "llama-8b, qwen-7b, qwen-0.5b and others. For latency alone.",
)
@click.option("--inputs", type=_FILE, help='Lines {"text": …, "expected": …} to ask instead.')
@click.option(
    "--task",
    type=Choice(["extract", "classify"]),
    help="For a model without a card. Default: extract.",
)
@click.option("--requests", type=click.IntRange(1, 100_000), help="Default: 100; quick: 10.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the order and random tokens.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="The bar. Default: what the card promises."
)
@click.option(
    "--threads",
    callback=_threads,
    default="auto",
    metavar="auto|1,2,4",
    help="A number holds for everything; several are swept.",
)
@click.option("--gpu-layers", type=click.IntRange(0, 10_000), help="Default: all that fit.")
@click.option(
    "--busy",
    type=click.IntRange(0, 256),
    default=0,
    help="Measure again beside this many processes that keep one core busy each.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(0, 256),
    default=0,
    help="Measure again with 1, 2, 4 … up to this many callers at once.",
)
@click.option(
    "--sustained",
    type=click.FloatRange(0, 24 * 60),
    default=0.0,
    metavar="MIN",
    help="Run this many minutes without a pause, to see whether it slows down as it heats up.",
)
@click.option("--llama-bench", type=_FILE, help="A result of `llama-bench -o json` to agree with.")
@click.option(
    "--baseline", type=_FILE, help="A run saved by --json on this machine to compare with."
)
@click.option(
    "--max-regression",
    default="10%",
    show_default=True,
    metavar="PERCENT",
    help="How much slower than the baseline a median may be.",
)
@click.option("--force", is_flag=True, help="Compare with a baseline of another machine or model.")
@click.option(
    "--json",
    "json_file",
    type=_FILE,
    metavar="FILE",
    help="Save the run; of several, one file each.",
)
@click.option("--html", type=_FILE, metavar="FILE", help="Write a page with charts.")
@click.option("--card", is_flag=True, help="Print five lines to share instead of the table.")
def bench(
    *,
    names: tuple[str, ...],
    synthetic: tuple[str, ...],
    json_file: Path | None,
    html: Path | None,
    card: bool,
    baseline: Path | None,
    max_regression: str,
    force: bool,
    llama_bench: Path | None,
    **options: Any,
) -> int:
    """Measure models on this machine.

    \b
    edgeslm bench my-reader --json run.json --html run.html
    edgeslm bench my-reader --baseline run.json --max-regression 10%
    edgeslm bench --synthetic llama-8b --quick
    edgeslm bench compare before.json after.json

    Whole requests first, then the engine alone, starts, memory, and energy where the machine
    tells. Without a terminal stdout has one line of JSON for each model. Ctrl-C keeps what was
    measured. Exits with 3 if answers were wrong, else with 1 if it is slower than the baseline.
    """
    from edgeslm.bench.parts import engine as raw
    from edgeslm.bench.report import files as saved
    from edgeslm.bench.report.compare import parse_share, require_gated
    from edgeslm.bench.run import Options, run

    _check_usage(names, synthetic, baseline, [json_file, html])
    allowed = parse_share(max_regression)
    before = None if baseline is None else saved.read(baseline)
    if before is not None:
        require_gated(before)
    theirs = () if llama_bench is None else raw.read_llama_bench(llama_bench)
    reports: list[BenchReport] = []
    # reports are shared: not where the program lies on this machine
    command = ("edgeslm", *sys.argv[1:])
    with bars(one=True) as progress:
        targets = _targets(names, synthetic, progress)
        held_to = None if force else before
        chosen = Options(llama_bench=theirs, baseline=held_to, **options)
        try:
            for report in run(targets, chosen, command=command, progress=progress):
                reports.append(report)
                if json_file is not None:
                    target = _file_of(json_file, report, several=len(targets) > 1)
                    write_text(target, report.model_dump_json(indent=1) + "\n")
        except KeyboardInterrupt:  # before a later model had anything to report
            if not reports:
                raise
    if html is not None:
        from edgeslm.bench.report.html import page

        write_text(html, page(reports))
    _show(reports, card)
    if len(reports) < len(targets) or any(report.partial for report in reports):
        tell("interrupted: what was measured until then is kept")
        return _INTERRUPTED
    verdict = None if before is None else _compare(reports[0], before, allowed)
    return _exit_code(reports, verdict)


def _check_usage(
    names: Sequence[str],
    synthetic: Sequence[str],
    baseline: Path | None,
    outputs: Sequence[Path | None],
) -> None:
    """Refuse at once what would only fail after everything was measured."""
    if not names and not synthetic:
        raise click.UsageError("name a model, for example: edgeslm bench smollm2-135m --quick")
    if baseline is not None and len(names) + len(synthetic) > 1:
        raise click.UsageError("--baseline is one run: name one model to compare with it")
    for path in outputs:
        if path is not None:
            check_output(path)


def _targets(names: Sequence[str], synthetic: Sequence[str], progress: Progress) -> list[Target]:
    from edgeslm.bench.run import Target
    from edgeslm.bench.workload.synthetic import synthetic as write_synthetic
    from edgeslm.store.store import Store

    targets = [Target(name, Store().resolve(name)) for name in dict.fromkeys(names)]
    for shape in dict.fromkeys(synthetic):
        path = write_synthetic(shape, progress=progress)
        targets.append(Target(f"synthetic {shape}", path, synthetic=True))
    return targets


def _file_of(path: Path, report: BenchReport, *, several: bool) -> Path:
    """Of several models, each has a file of its own, with its name behind that of OUT."""
    if not several:
        return path
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(report.model.name).name)
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


# --- what is shown ------------------------------------------------------------


def _show(reports: Sequence[BenchReport], card: bool) -> None:
    if card:
        from edgeslm.bench.report.summary import card_text

        for report in reports:
            say(card_text(report))
    elif for_people():
        from edgeslm.bench.report.table import render
        from edgeslm.cli.console import Console

        Console().print(render(reports))
    else:
        for report in reports:
            print_line(report.model_dump(mode="json"))


def _compare(report: BenchReport, before: BenchReport, allowed: float) -> Verdict:
    """Hold a run to its baseline and say how, on stderr: stdout has the run."""
    from edgeslm.bench.report.compare import regression

    verdict = regression(report, before, allowed)
    for check in verdict.checks:
        tell(str(check), colour="red" if check.failed else None)
    return verdict


def _exit_code(reports: Sequence[BenchReport], verdict: Verdict | None) -> int:
    wrong = [r for r in reports if r.correctness is not None and not r.correctness.valid]
    for report in wrong:
        assert report.correctness is not None
        tell(f"{report.model.name}: {report.correctness.reason}", mark="INVALID", colour="red")
    if wrong:
        return _INVALID
    return _SLOWER if verdict is not None and verdict.failed else 0
