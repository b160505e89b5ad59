"""Asks a model about every input and shows what it answers, one line or table for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from edgeslm.cli.inputs import Input, Source
from edgeslm.cli.output import for_people, print_line, tell_error
from edgeslm.cli.progress import bars
from edgeslm.errors import EdgeslmError, InputError, OutputError, ResourceError
from edgeslm.formats.files import Progress, silent
from edgeslm.models.ask import Result

if TYPE_CHECKING:
    from edgeslm.models.model import Model

A = TypeVar("A")
Q = TypeVar("Q")
#: answers one input, and is told of each input and its answer
Answer: TypeAlias = Callable[[Input], Result]
See: TypeAlias = Callable[[Input, Result | EdgeslmError], None]

#: what can go wrong with one input while the next may well be answered
_IN_PLACE = (InputError, OutputError, ResourceError)
#: seconds after which a Ctrl-C is heard at the latest
_HEARS_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Shape:
    """How answers are shown: as JSON also on a terminal, and with so many probabilities only."""

    as_json: bool = False
    top: int | None = None


def answer_all(
    model: Model, answer: Answer, source: Source, shape: Shape, see: See | None = None
) -> int:
    """Answer every input and show it; the exit code. ``see`` is told of each answer, too."""
    people = for_people(shape.as_json)
    asked = failed = done = 0
    total = source.total_bytes()
    first = ""
    with answering_thread(model) as answered, _bars(source) as progress:
        for item in source.read():
            asked += 1
            try:
                result: Result | EdgeslmError = answered(answer, item)
            except _IN_PLACE as error:
                result = error
                failed += 1
                first = first or f"{item.place}: {error}"
            _show(item, result, shape, people)
            if see is not None:
                see(item, result)
            done += item.size
            failures = f", {failed:,} failed" if failed else ""
            progress(f"{asked - failed:,} answered{failures}", done, total)
    if failed and (asked > 1 or not people):  # the one table has said it
        of = f"{failed:,} of {asked:,} inputs could not be answered; the first, " * (asked > 1)
        tell_error(f"{of}{first}")
    return InputError.exit_code if failed else 0


@contextmanager
def answering_thread(model: Model) -> Iterator[Callable[[Callable[[Q], A], Q], A]]:
    """A thread to answer on, so that Ctrl-C does not wait for llama.cpp to come back.

    What it gives calls a function there, with what is asked, and returns what that returns.
    """
    with ThreadPoolExecutor(1) as worker:

        def answered(answer: Callable[[Q], A], asked: Q) -> A:
            future = worker.submit(answer, asked)
            # A Ctrl-C that comes just before a wait is not heard before its end
            while wait([future], timeout=_HEARS_EVERY).not_done:
                pass
            return future.result()

        try:
            yield answered
        except KeyboardInterrupt:
            idle = worker.submit(int)  # done when the answer at work is
            while wait([idle], timeout=0.05).not_done:  # again: one that begins forgets a cancel
                model.cancel()
            raise


def _bars(source: Source) -> AbstractContextManager[Progress]:
    """A bar over the bytes of the inputs, where a person sees stderr but not the answers."""
    return bars(one=True) if source.several and not sys.stdout.isatty() else nullcontext(silent)


def _show(item: Input, result: Result | EdgeslmError, shape: Shape, people: bool) -> None:
    if people:
        from edgeslm.cli import answer_tables

        answer_tables.show(item, result, shape.top)
    elif isinstance(result, EdgeslmError):
        error = result.to_dict()
        message = f"{item.place}: {error['message']}"
        print_line({**item.row, "error": {**error, "message": message}})
    else:
        print_line({**item.row, **_likeliest(result.to_dict(), shape.top)})


def _likeliest(answer: Any, top: int | None) -> Any:
    """An answer with ``top`` of each set of probabilities, which keep their order: of the labels
    that are said, and of the likeliest others."""
    if top is None or not isinstance(answer, dict):
        return answer
    several = answer.get("labels")
    said = frozenset(several if isinstance(several, list) else [str(answer.get("label"))])
    return {
        key: _shortened(value, said, top)
        if key == "probabilities" and isinstance(value, dict)
        else value
        if key == "value"  # what was read out of the text, whatever its names
        else _likeliest(value, top)
        for key, value in answer.items()
    }


def _shortened(ranked: dict[str, float], said: frozenset[str], top: int) -> dict[str, float]:
    """The labels that are said and the first others, ``top`` or as many as are said."""
    chosen = [label for label in ranked if label in said]
    others = [label for label in ranked if label not in said]
    shown = {*chosen, *others[: max(0, top - len(chosen))]}
    return {label: probability for label, probability in ranked.items() if label in shown}
