"""Progress for people: a bar for each thing that takes long; lines where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from edgeslm.cli.output import printable, tell
from edgeslm.formats.files import Progress, megabytes, silent

#: what is counted, and shown as "12 of 40" or "3.1 of 7.5 MB"
Unit = Literal["rows", "bytes"]
#: seconds between two lines on one thing, where no terminal shows bars
_LINE_EVERY = 10.0


@contextmanager
def bars(
    prefix: str = "", *, unit: Unit | None = None, one: bool = False, lines: bool = False
) -> Iterator[Progress]:
    """Show on stderr what the callback that this gives is told.

    Args:
        prefix: stands before what is being done.
        unit: what is counted; None shows the bar alone.
        one: one bar whose words change, instead of a bar for each thing.
        lines: where stderr is no terminal, a line for each thing; else nothing.
    """
    if not sys.stderr.isatty():
        yield _lines(prefix, unit) if lines else silent
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    from edgeslm.cli.console import Console

    amount: dict[Unit | None, tuple[ProgressColumn, ...]] = {
        None: (),
        "rows": (MofNCompleteColumn(),),
        "bytes": (DownloadColumn(), TransferSpeedColumn()),
    }
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *amount[unit])
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    shown = Bars(
        *columns,
        *times,
        console=Console(stderr=True),
        # what is printed meanwhile stands above the bars; answers that go elsewhere go there
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
    tasks: dict[str, Any] = {}

    def show(what: str, done: int, total: int | None) -> None:
        words, key = printable(prefix + what), "" if one else what
        if not tasks:
            shown.start()
        if key not in tasks:
            tasks[key] = shown.add_task(words, total=total or None)
        shown.update(tasks[key], description=words, completed=done, total=total or None)

    try:
        yield show
    finally:
        shown.stop()


def _lines(prefix: str, unit: Unit | None) -> Progress:
    """A line for each thing that begins, and then for each tenth of what takes long."""
    told: dict[str, tuple[int, float]] = {}

    def say(what: str, done: int, total: int | None) -> None:
        tenth, now = 10 * done // total if total else 0, time.monotonic()
        last = told.get(what)
        if last is None:
            size = f" {megabytes(total)}" if total and unit == "bytes" else ""
            tell(f"{prefix}{what}{size}")
        elif not total or tenth <= last[0] or now - last[1] < _LINE_EVERY:
            return
        elif unit == "bytes":
            tell(f"{prefix}{what}: {megabytes(done)} of {megabytes(total)}")
        else:
            tell(f"{prefix}{what}: {done:,} of {total:,}")
        told[what] = tenth, now

    return say
