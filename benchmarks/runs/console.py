"""What the commands of the benchmarks share: progress bars, and the choice of parts."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Tick = Callable[[], None]


def bars(console: Console) -> Progress:
    """Bars with a name, how many of how many, and the time so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console)


def bar(progress: Progress, what: str, total: int) -> Tick:
    """A new bar, and what moves it on by one; off a terminal, a line for each tenth."""
    task = progress.add_task(what, total=total)
    console = progress.console

    def tick() -> None:
        progress.advance(task)
        done = int(progress.tasks[task].completed)
        if not console.is_terminal and 10 * done // total > 10 * (done - 1) // total:
            console.print(f"{what}: {done} of {total}")

    return tick


def parts_of(
    known: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Reads an option that names parts, with commas between them."""

    def read(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
        chosen = tuple(part.strip() for part in value.split(","))
        unknown = [part for part in chosen if part not in known]
        if unknown:
            raise click.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(known)}")
        return chosen

    return read
