"""`edgeslm build`: runs the training side in a process of its own and shows what it tells."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from edgeslm.children import launch_child
from edgeslm.cli.arguments import Choice
from edgeslm.cli.output import for_people, print_line, say, tell, tell_error
from edgeslm.cli.progress import bars
from edgeslm.errors import EdgeslmError, MachineError

if TYPE_CHECKING:
    from edgeslm.formats.files import Progress

#: the steps of a build, in their order, as the training side names them
STEPS = ("data", "train", "merge", "export", "quantize", "verify", "pack")
#: the format of the events that this version reads
_FORMAT = 1
#: an event that is longer is none
_MAX_EVENT_BYTES = 16 * 1024 * 1024
_INSTALL = 'pip install "edgeslm[train]"'
_MISSING = f"no training side is installed, which edgeslm does not bring along: {_INSTALL}"

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), metavar="RECIPE.toml")
@click.option(
    "--data",
    type=_FOLDER,
    metavar="FOLDER",
    help="Folder of the recipe's data files. Default: $EDGESLM_DATA, or here.",
)
@click.option(
    "--work", type=_FOLDER, metavar="FOLDER", help="Folder that builds lie in. Default: build."
)
@click.option("--dry-run", is_flag=True, help="Only say what would run, and what it would take.")
@click.option("--until", type=Choice(STEPS), help="Stop after this step. Default: pack, the last.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, also on a terminal.")
def build(
    *,
    recipe: Path,
    data: Path | None,
    work: Path | None,
    dry_run: bool,
    until: str | None,
    as_json: bool,
) -> int:
    """Make a specialist from a recipe and its data.

    \b
    edgeslm build recipe.toml --data FOLDER --dry-run
    edgeslm build recipe.toml --data FOLDER

    Runs in a process of its own, and needs the training side: pip install "edgeslm[train]".
    Steps whose inputs have not changed are skipped; what was interrupted goes on. Off a terminal,
    each event is a JSON line; docs/training.md describes them.
    """
    if importlib.util.find_spec("converters") is None:
        raise MachineError(_MISSING)
    arguments = ["build", str(recipe), "--json"]
    for option, value in (("--data", data), ("--work", work), ("--until", until)):
        if value is not None:
            arguments += [option, str(value)]
    if dry_run:
        arguments.append("--dry-run")
    with tempfile.TemporaryFile() as errors:
        child = launch_child(
            "converters",
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        with child:
            assert child.stdout is not None
            try:
                with _first_ctrl_c_is_the_childs():
                    failed = _follow(child.stdout, for_people(as_json))
            except BaseException:
                child.kill()
                raise
        if child.returncode and not failed:
            raise _unexplained(child.returncode, errors)
    return child.returncode


@contextlib.contextmanager
def _first_ctrl_c_is_the_childs() -> Iterator[None]:
    """A terminal's Ctrl-C reaches both processes: the child ends by itself, and says how.

    A second one ends this process. It cannot be an exception here: an event would be lost.
    """
    usual = signal.default_int_handler
    if signal.getsignal(signal.SIGINT) is not usual:  # somebody else's, or nobody hears it
        yield
        return

    def first(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _follow(stream: IO[bytes], people: bool) -> bool:
    """Show each event until the last one; whether one of them was an error."""
    failed = False
    with bars("  ", unit="rows", lines=True) if people else contextlib.nullcontext() as progress:
        for event in _events(stream):
            failed = failed or event.get("event") == "error"
            if progress is None:
                print_line(event)
            else:
                _show(event, progress)
    return failed


def _events(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON lines of the child.

    Raises:
        EdgeslmError: it tells in a newer format.
    """
    while line := stream.readline(_MAX_EVENT_BYTES):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # what a library printed
            continue
        if not isinstance(event, dict) or "event" not in event:
            continue
        if event.get("format", _FORMAT) != _FORMAT:
            raise EdgeslmError(
                f"the training side tells its events in the format {event['format']!r}, and this "
                f"edgeslm reads {_FORMAT}: install versions that belong together, {_INSTALL}"
            )
        yield event


def _show(event: dict[str, Any], progress: Progress) -> None:
    match event:
        case {"event": "plan", "steps": dict(steps)}:
            _show_plan(event, steps)
        case {"event": "begin", "step": step}:
            tell(str(step))
        case {"event": "progress", "what": str(what), "done": int(done), "of": int() | None as of}:
            progress(what, done, of)
        case {"event": "verdict", "result": {"checks": list(checks)}}:
            for check in checks:
                _show_check(check)
        case {"event": "end", "ran": []}:
            say("nothing to do: all of it holds")
        case {"event": "end", "model": str(model)}:
            say(f"{model} is made; next: edgeslm show {model}")
        case {"event": "error", "error": {"message": message}}:
            tell_error(message)


def _show_plan(event: dict[str, Any], steps: dict[str, Any]) -> None:
    for step, why in steps.items():
        say(f"{step:<10}" + ("holds" if why is None else f"would run: {why}"))
    match event:
        case {"seconds": float() | int() as seconds, "memory": float() | int() as memory}:
            say(f"training: about {seconds / 60:.0f} minutes and {memory / 1e9:.1f} GB here")
        case _:
            say("time and memory are known after the data step")


def _show_check(check: Any) -> None:
    match check:
        case {"name": name, "passed": bool(passed), "words": words}:
            mark = "noted" if check.get("bound") is None else "passed" if passed else "FAILED"
            say(f"{mark:<7} {name}: {words}", colour=None if passed else "red")


def _unexplained(code: int, errors: IO[bytes]) -> EdgeslmError:
    """The error of a child that ended without telling one."""
    errors.seek(0)
    last = errors.read()[-100_000:].decode("utf-8", "replace").strip().rpartition("\n")[2]
    if last.startswith("ModuleNotFoundError"):
        return MachineError(f"the training side is not complete ({last}): {_INSTALL}")
    return EdgeslmError(f"the training side ended with {code}: {last or 'it gave no message'}")
