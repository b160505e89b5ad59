"""The command `edgeslm`: runs one command of the tree; errors become a message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgeslm.cli.output import StdoutError, fail, tell, writing
from edgeslm.cli.tree import Branch
from edgeslm.errors import EdgeslmError

#: how writing to a pipe fails after its reader left, as with `| head`; Windows says EINVAL
_READER_GONE = {errno.EPIPE, errno.EINVAL} if os.name == "nt" else {errno.EPIPE}


class _Program(Branch):
    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _reader_may_leave(), writing():  # --help and --version write here
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_may_leave():
            return super().invoke(ctx)


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End quietly when who reads stdout leaves; commands make their own errors of files."""
    try:
        yield
    except OSError as error:
        _discard_stdout()
        if error.errno in _READER_GONE:
            raise click.exceptions.Exit(0) from error
        if isinstance(error, StdoutError):
            raise EdgeslmError(
                f"standard output cannot be written: {error.strerror or error}; the answer is not "
                "all there: make room, or write elsewhere"
            ) from error
        raise EdgeslmError(f"cannot go on: {error}") from error


def _discard_stdout() -> None:
    """Let Python flush what could not be written somewhere at exit, instead of complaining."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeslm-core")
def cli() -> None:
    """Specialist small language models on this device.

    NAME in these commands is a name from `edgeslm models`, or the path of a model file.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors of edgeslm become a message and their exit code."""
    try:
        _prepare_streams()
        code = cli.main(args=arguments, prog_name="edgeslm", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except EdgeslmError as error:
        fail(error)
    except click.exceptions.Abort:
        tell("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        show_usage(error)
        sys.exit(error.exit_code)


def show_usage(error: click.ClickException) -> None:
    """A wrong use as click shows it, but for what could steer a terminal."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        # click sorts several by name, so that the nearest may stand last
        nearest = error.possibilities[:1]
        error = click.NoSuchOption(error.option_name, possibilities=nearest, ctx=error.ctx)
    shown = io.StringIO()
    error.show(file=shown)
    tell(shown.getvalue().rstrip("\n"))


def _prepare_streams() -> None:
    """Make a stream that its starter closed one that can be used, or say why nothing can be done.

    Raises:
        EdgeslmError: stdout is closed.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the end
    if sys.stdout is None:
        raise EdgeslmError("standard output is closed, so no answer can be written; open it")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a Windows console may not be UTF-8
            reconfigure(encoding="utf-8", errors="backslashreplace")
