"""The command line: each command calls one library function and shows its result."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
from typing import Any

import click

from edgeslm.errors import EdgeslmError

#: command name -> "module:function"; imported when the command is used, so that `--help` is quick
_COMMANDS = {
    "models": "edgeslm.cli.models:models",
    "pull": "edgeslm.cli.models:pull",
    "show": "edgeslm.cli.show:show",
    "pack": "edgeslm.cli.show:pack",
    "extract": "edgeslm.cli.ask:extract",
    "classify": "edgeslm.cli.ask:classify",
    "eval": "edgeslm.cli.eval:evaluate",
    "bench": "edgeslm.cli.bench:bench",
    "schema": "edgeslm.cli.schema:schema",
    "doctor": "edgeslm.cli.doctor:doctor",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:  # of stdout: commands make their own errors of files
            _discard_stdout()
            if error.errno in _READER_GONE:
                return 0
            raise EdgeslmError(f"cannot go on: {error}") from error


#: how writing to a pipe fails after its reader left, as with `| head`; Windows says EINVAL
_READER_GONE = {errno.EPIPE, errno.EINVAL} if os.name == "nt" else {errno.EPIPE}


def _discard_stdout() -> None:
    """Let Python flush what could not be written somewhere at exit, instead of complaining."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeslm")
def cli() -> None:
    """Specialist small language models on this device.

    \b
    edgeslm pull smollm2-135m
    edgeslm extract smollm2-135m receipt.txt --schema receipt.schema.json
    edgeslm classify smollm2-135m mail.txt --labels billing,refund,shipping
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors of edgeslm become a message and their exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a Windows console may not be UTF-8
            reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = cli.main(args=arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except EdgeslmError as error:
        fail(error)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def fail(error: EdgeslmError) -> None:
    """Show an error the way the command line does, and exit with its code."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {error}", err=True)
    sys.exit(error.exit_code)


def print_line(value: dict[str, Any]) -> None:
    """One JSON line on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))


def for_people(as_json: bool = False) -> bool:
    """Whether stdout is a terminal that a person reads, so that a table serves better than JSON."""
    return not as_json and sys.stdout.isatty()


def printable(text: str) -> str:
    """Without what could steer a terminal; the text may come from an untrusted file."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
