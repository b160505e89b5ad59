"""`python -m converters`: the command line of the training side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from rich.table import Table
from rich.text import Text

from converters.events import INTERRUPTED, Events
from converters.work import STEPS, Step, StepResult, Work
from edgeslm.cli.console import Console
from edgeslm.cli.main import show_usage
from edgeslm.cli.output import fail, for_people, print_line, tell
from edgeslm.cli.progress import bars
from edgeslm.errors import EdgeslmError
from edgeslm.formats.files import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

    from converters.causal import quantize as causal
    from converters.gates.verify import Verdict
    from converters.onnx import quantize as onnx
    from converters.plan import Plan

_HELP = {
    "data": "Read, filter, split and check the examples; writes a report.",
    "train": "Train adapter, encoder or linear model; a run that was killed goes on.",
    "merge": "Merge adapter and base, with torch and as a device does it.",
    "export": "Convert the trained model to GGUF or ONNX and compare it with torch.",
    "quantize": "Try quantizations; the fastest good one is kept.",
    "verify": "Judge the quantized model by the recipe's gates.",
    "pack": "Write the specialist (of a language model its adapter, too), with its card.",
}


def _arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.argument("recipe", type=click.Path(path_type=Path), metavar="RECIPE.toml"),
            click.option(
                "--data",
                type=click.Path(path_type=Path),
                default=lambda: os.environ.get("EDGESLM_DATA", "."),
                metavar="FOLDER",
                help="Folder of the recipe's data files. Default: $EDGESLM_DATA, or here.",
            ),
            click.option(
                "--work",
                type=click.Path(path_type=Path),
                default=Path("build"),
                metavar="FOLDER",
                help="Folder that builds lie in. Default: build.",
            ),
            click.option(
                "--json",
                "as_json",
                is_flag=True,
                help="Events as JSON lines, progress and errors too.",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Examples become one proven specialist file.

    \b
    python -m converters build converters/recipes/support-intents.toml --data FOLDER
    python -m converters build recipe.toml --dry-run
    python -m converters verify recipe.toml --json
    """


@cli.command()
@_arguments
@click.option("--dry-run", is_flag=True, help="Only say what would run, and what it would take.")
@click.option(
    "--until",
    type=click.Choice(STEPS),
    default="pack",
    help="Stop after this step. Default: pack, the last.",
)
def build(
    *, recipe: Path, data: Path, work: Path, as_json: bool, dry_run: bool, until: Step
) -> None:
    """Run all steps; those whose inputs have not changed are skipped.

    \b
    python -m converters build recipe.toml --data FOLDER --dry-run
    python -m converters build recipe.toml --data FOLDER --until train
    """
    from converters.build import build as run
    from converters.build import open_work
    from converters.plan import plan

    with _followed(as_json) as (follower, progress):
        opened = open_work(recipe, data, work)
        if dry_run:
            follower.plan(opened, plan(opened))
            return
        follower.start(opened, opened.steps_until(until))
        ran = run(opened, progress, until=until, begins=follower.begins, ends=follower.ends)
        follower.end(opened, ran, until)


def _step_command(step: Step) -> click.Command:
    def command(*, recipe: Path, data: Path, work: Path, as_json: bool) -> None:
        from converters.build import open_work, run_step

        with _followed(as_json) as (follower, progress):
            opened = open_work(recipe, data, work)
            follower.start(opened, [step])
            run_step(opened, step, progress, begins=follower.begins, ends=follower.ends)
            follower.end(opened, [step], step)

    example = f"\b\npython -m converters {step} recipe.toml --data FOLDER"
    return click.command(name=step, help=f"{_HELP[step]}\n\n{example}")(_arguments(command))


for _step in STEPS:
    cli.add_command(_step_command(_step))


# --- who follows a build --------------------------------------------------------


class _Follower(Protocol):
    """Told what happens in a build: `Events` writes it for programs, `_Shown` for people."""

    def start(self, work: Work, steps: Sequence[Step]) -> None:
        """A build is open, and goes through these steps."""

    def plan(self, work: Work, plan: Plan) -> None:
        """What a dry run found."""

    def begins(self, step: Step) -> None:
        """A step begins."""

    def ends(self, step: Step, result: StepResult) -> None:
        """A step has ended."""

    def end(self, work: Work, ran: Sequence[Step], last: Step) -> None:
        """The steps up to ``last`` hold, and these had to run for it."""


@contextmanager
def _followed(as_json: bool) -> Iterator[tuple[_Follower, Progress]]:
    """Who is told of a build: people on a terminal, else a program. Errors are events, too.

    With ``as_json`` everything is in the events; else progress goes to stderr.
    """
    if for_people(as_json):
        with bars("  ", unit="rows", lines=True) as progress:
            yield _Shown(), progress
        return
    events = Events(_write_event)
    try:
        if as_json:
            yield events, events.progress
        else:
            with bars("  ", unit="rows", lines=True) as progress:
                yield events, progress
    except EdgeslmError as error:
        events.fail(error)
        if as_json:
            sys.exit(error.exit_code)
        raise
    except KeyboardInterrupt:
        events.interrupted()
        if as_json:
            sys.exit(130)
        raise


def _write_event(event: dict[str, Any]) -> None:
    """Raises SystemExit where whoever read the events has left."""
    try:
        print_line(event)
    except OSError:
        with suppress(OSError, ValueError):  # what Python holds back is lost, without a complaint
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


class _Shown:
    """Shows a build to people: lines and tables on stdout, which step it is on stderr."""

    def __init__(self) -> None:
        self._name = ""
        self._console = Console()

    def start(self, work: Work, steps: Sequence[Step]) -> None:
        self._name = work.recipe.name

    def plan(self, work: Work, plan: Plan) -> None:
        table = Table("step", "", box=None, pad_edge=False)
        for step, why in plan.steps.items():
            table.add_row(step, "holds" if why is None else f"would run: {why}")
        self._console.print(table)
        if plan.rows is None:
            self._console.print("rows, tokens and time are known after the data step")
            return
        rows = ", ".join(f"{count:,} {part}" for part, count in plan.rows.items())
        self._console.print(f"{rows} rows")
        if plan.seconds is None or plan.memory is None:
            return
        self._console.print(
            f"training: {plan.tokens:,} tokens an epoch, {work.recipe.train.epochs:g} epochs, "
            f"about {plan.seconds / 60:.0f} minutes and {plan.memory / 1e9:.1f} GB here"
        )

    def begins(self, step: Step) -> None:
        tell(f"{self._name}: {step}")

    def ends(self, step: Step, result: StepResult) -> None:
        for shown in _drawn(result):
            self._console.print(shown)

    def end(self, work: Work, ran: Sequence[Step], last: Step) -> None:
        if not ran:
            tell(f"{work.recipe.name}: nothing to do, all holds in {work.folder}")


def _drawn(result: StepResult) -> Iterator[RenderableType]:
    """A step's result for people."""
    from converters.causal import quantize as causal
    from converters.data.summary import DataSummary
    from converters.gates.verify import Verdict
    from converters.onnx import quantize as onnx
    from converters.steps.results import Exported, LinearTrained, Trained, Written

    match result:
        case DataSummary():
            yield f"{result.kept:,} of {result.read:,} rows kept; report.md has the others"
        case LinearTrained():
            yield f"{result.features:,} features; {result.accuracy:.1%} of development rows right"
        case Trained():
            yield f"{result.tokens_per_second:.0f} tokens/s; loss curve: {result.curve}"
            if result.best is not None:
                best = result.best
                yield f"kept step {best.step}: {best.answers:.1%} of development answers right"
        case Exported():
            if result.furthest_weight is not None:
                yield f"weights within {result.furthest_weight:.1g}"
            logits = result.float_parity
            yield f"logits: KL {logits.mean_kl:.2g} nats, top-1 {logits.top1:.1%}, n = {logits.n:,}"
        case causal.QuantizeReport():
            yield _gguf_candidates(result)
        case onnx.QuantizeReport():
            yield _onnx_candidates(result)
        case Verdict():
            yield _checks(result)
        case Written():
            for path in result.files:
                size = f"  {path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
                yield f"{path}{size}"


_GATES = {True: "passed", False: "failed", None: "not asked"}


def _gguf_candidates(report: causal.QuantizeReport) -> Table:
    table = Table(title="Quantizations, fastest first")
    table.add_column("type")
    for column in ("MB", "bits/weight", "prefill tok/s", "decode tok/s", "ms/row"):
        table.add_column(column, justify="right")
    for column in ("KL", "top-1", "gates"):
        table.add_column(column, justify="right")
    for candidate in report.candidates:
        table.add_row(
            candidate.file_type,
            f"{candidate.size / 1e6:.1f}",
            f"{candidate.bits_per_weight:.2f}",
            f"{candidate.speed.prefill:.0f}",
            f"{candidate.speed.decode:.0f}",
            f"{candidate.milliseconds:.0f}",
            f"{candidate.divergence.kl:.4f}",
            f"{candidate.divergence.top1:.1%}",
            _GATES[candidate.passed],
            style="bold" if candidate.file_type == report.chosen else None,
        )
    return table


def _onnx_candidates(report: onnx.QuantizeReport) -> Table:
    floats = report.float_milliseconds
    beside = "" if floats is None else f" (float {floats:.1f} ms)"
    table = Table(title=f"Quantizations, fastest first{beside}")
    table.add_column("weights")
    for column in ("MB", "ms/text", "KL", "top-1", "gates"):
        table.add_column(column, justify="right")
    for candidate in report.candidates:
        table.add_row(
            candidate.scheme,
            f"{candidate.size / 1e6:.1f}",
            f"{candidate.milliseconds:.2f}",
            f"{candidate.divergence.kl:.4f}",
            f"{candidate.divergence.top1:.1%}",
            _GATES[candidate.passed],
            style="bold" if candidate.scheme == report.chosen else None,
        )
    return table


def _checks(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("check", "", "what was found"):
        table.add_column(column, overflow="fold")
    for check in verdict.checks:
        state = "passed" if check.passed else "FAILED"
        if check.bound is None:
            state = "noted"
        style = "" if check.passed else "bold red"
        table.add_row(Text(check.name), Text(state, style), Text(check.words))
    return table


def main() -> None:
    """Run the command line; errors become a message and their exit code."""
    try:
        cli.main(standalone_mode=False)
    except EdgeslmError as error:
        fail(error)
    except (click.exceptions.Abort, KeyboardInterrupt):
        tell(INTERRUPTED)
        sys.exit(130)
    except click.ClickException as error:
        show_usage(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
