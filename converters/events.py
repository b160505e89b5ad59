"""Events of a build as JSON lines: how another program follows `python -m converters … --json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from converters.work import Step, StepResult, Work
from edgeslm.errors import EdgeslmError

if TYPE_CHECKING:
    from converters.plan import Plan

#: the version of this format: a reader refuses a higher one
EVENTS_FORMAT: Final = 1
#: seconds between two progress events on one thing; its first and its last are always written
PROGRESS_EVERY: Final = 0.5

#: what is said after Ctrl-C
INTERRUPTED: Final = "interrupted; the finished steps hold, training goes on next time"


class Events:
    """Writes what happens in a build, one JSON object for each event.

    ``write`` takes an event's object. Every event has its name as ``event``; those of a
    step have its name as ``step``. docs/training.md describes all of them.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        self._write = write
        self._step: Step | None = None
        self._told: dict[str, float] = {}

    def start(self, work: Work, steps: Sequence[Step]) -> None:
        """A build is open: what it makes, where, and the steps that it goes through."""
        self._write(
            {
                "event": "start",
                "format": EVENTS_FORMAT,
                "name": work.recipe.name,
                "kind": work.recipe.kind,
                "folder": str(work.folder),
                "steps": [*steps],
            }
        )

    def plan(self, work: Work, plan: Plan) -> None:
        """What a dry run found."""
        self._write({"event": "plan", "name": work.recipe.name, **asdict(plan)})

    def begins(self, step: Step) -> None:
        """A step begins."""
        self._step = step
        self._told = {}
        self._write({"event": "begin", "step": step})

    def progress(self, what: str, done: int, of: int | None) -> None:
        """Something goes on within a step: ``done`` things ``of`` so many (None: unknown)."""
        now = time.monotonic()
        last = self._told.get(what)
        if last is not None and now - last < PROGRESS_EVERY and done != of:
            return
        self._told[what] = now
        self._write({"event": "progress", "step": self._step, "what": what, "done": done, "of": of})

    def ends(self, step: Step, result: StepResult) -> None:
        """A step has ended; that of verify is the verdict."""
        event = "verdict" if step == "verify" else "result"
        self._write({"event": event, "step": step, "result": result.to_dict()})
        self._step = step if step == "verify" else None  # a failed gate is an error of this step

    def end(self, work: Work, ran: Sequence[Step], last: Step) -> None:
        """The steps up to ``last`` hold; ``ran`` are those that had to run for it."""
        model = str(work.model) if last == "pack" else None
        self._write({"event": "end", "ran": [*ran], "model": model})

    def fail(self, error: EdgeslmError) -> None:
        """The build ends with an error, and with the exit code of its class."""
        self._fail(error.exit_code, error.to_dict())

    def interrupted(self) -> None:
        """The build was stopped with Ctrl-C."""
        self._fail(130, {"type": "Interrupted", "message": INTERRUPTED})

    def _fail(self, exit_code: int, error: dict[str, object]) -> None:
        self._write({"event": "error", "step": self._step, "exit_code": exit_code, "error": error})
