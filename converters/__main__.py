"""`python -m converters`: the command line of the training side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from converters.work import STEPS, Step, Work
from edgeslm.cli.console import Console
from edgeslm.cli.main import show_usage
from edgeslm.cli.output import fail, for_people, print_line, tell
from edgeslm.cli.progress import bars
from edgeslm.errors import EdgeslmError

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
                help="Folder of the recipe's data files.  [default: $EDGESLM_DATA, or here]",
            ),
            click.option(
                "--work",
                type=click.Path(path_type=Path),
                default=Path("build"),
                show_default=True,
                help="Folder that builds lie in.",
            ),
            click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal."),
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
@click.option("--until", type=click.Choice(STEPS), default="pack", help="Stop after this step.")
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

    opened = open_work(recipe, data, work)
    if dry_run:
        _show_plan(opened, as_json)
        return
    with bars("  ", unit="rows", lines=True) as progress:
        ran = run(opened, progress, until=until, told=_teller(opened, as_json))
    if not ran:
        tell(f"{opened.recipe.name}: nothing to do, all holds in {opened.folder}")


def _step_command(step: Step) -> click.Command:
    def command(*, recipe: Path, data: Path, work: Path, as_json: bool) -> None:
        from converters.build import open_work, run_step

        opened = open_work(recipe, data, work)
        with bars("  ", unit="rows", lines=True) as progress:
            run_step(opened, step, progress, _teller(opened, as_json))

    example = f"\b\npython -m converters {step} recipe.toml --data FOLDER"
    return click.command(name=step, help=f"{_HELP[step]}\n\n{example}")(_arguments(command))


for _step in STEPS:
    cli.add_command(_step_command(_step))


def _teller(work: Work, as_json: bool) -> Callable[[Step, Any], None]:
    people = for_people(as_json)

    def told(step: Step, found: Any) -> None:
        if found is None:
            tell(f"{work.recipe.name}: {step}")
        elif not people:
            print_line({"step": step, **_values(work, step, found)})
        else:
            for shown in _for_reading(work, step, found):
                Console().print(shown)

    return told


def _values(work: Work, step: Step, found: Any) -> dict[str, Any]:
    """A step's result as JSON values."""
    match step:
        case "data":
            values: dict[str, Any] = found.model_dump(mode="json")
            return values
        case "train" | "export" if isinstance(found, dict):
            return found
        case "train":
            return {
                "steps": found.steps,
                "tokens": found.tokens,
                "tokens_per_second": round(found.tokens / max(found.seconds, 1e-9), 1),
                "best": None if found.best is None else _fields(found.best),
            }
        case "quantize":
            report = work.read_report("quantize")
            return {key: report[key] for key in ("chosen", "candidates")}
        case "verify":
            verdict: dict[str, Any] = found.to_dict()
            return verdict
        case _:
            return {"files": [str(path) for path in found]}


def _for_reading(work: Work, step: Step, found: Any) -> Iterator[Any]:
    match step:
        case "data":
            yield f"{found.kept:,} of {found.read:,} rows kept; see {work.data / 'report.md'}"
        case "train" if work.recipe.kind == "linear":
            yield f"{found['features']:,} features; {found['accuracy']:.1%} of development rows"
        case "train":
            best = found.best
            yield f"{found.tokens / max(found.seconds, 1e-9):.0f} tokens/s; loss curve: " + str(
                work.training / "loss.png"
            )
            if best is not None:
                yield f"kept step {best.step}: {best.answers:.1%} of development answers right"
        case "export":
            if "furthest_weight" in found:
                yield f"weights within {found['furthest_weight']:.1g}"
            yield f"logits: {found['float_parity']}"
        case "quantize":
            yield found
        case "verify":
            yield found.table()
        case "pack":
            for path in found:
                yield f"{path}  {path.stat().st_size / 1e6:.1f} MB"


def _fields(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)


def _show_plan(work: Work, as_json: bool) -> None:
    from converters.plan import plan

    found = plan(work)
    if not for_people(as_json):
        print_line(_fields(found))
        return
    table = Table("step", "", box=None, pad_edge=False)
    for step, why in found.steps.items():
        table.add_row(step, "holds" if why is None else f"would run: {why}")
    console = Console()
    console.print(table)
    if found.rows is None:
        console.print("rows, tokens and time are known after the data step")
        return
    console.print(", ".join(f"{count:,} {part}" for part, count in found.rows.items()) + " rows")
    if found.seconds is None or found.memory is None:
        return
    console.print(
        f"training: {found.tokens:,} tokens an epoch, {work.recipe.train.epochs:g} epochs, "
        f"about {found.seconds / 60:.0f} minutes and {found.memory / 1e9:.1f} GB here"
    )


def main() -> None:
    """Run the command line; errors become a message and their exit code."""
    try:
        cli.main(standalone_mode=False)
    except EdgeslmError as error:
        fail(error)
    except (click.exceptions.Abort, KeyboardInterrupt):
        tell("interrupted; the finished steps hold, training goes on next time")
        sys.exit(130)
    except click.ClickException as error:
        show_usage(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
