"""The door through which all words for people and all JSON lines leave the command line.

Texts, names and errors come from files that nobody vouches for, so what could steer a terminal
(escape sequences, carriage returns, marks that turn the direction of writing) is written out.
`console.py` is the same door for tables and bars.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from edgeslm.errors import EdgeslmError


def printable(text: str) -> str:
    """A text without what could steer a terminal; line breaks and spaces of all widths stay."""
    if text.isprintable():
        return text
    return "".join(c if _is_harmless(c) or c == "\n" else _escaped(c) for c in text)


class StdoutError(OSError):
    """Standard output cannot be written, as on a full disk."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """What fails in the block is the writing of stdout: raises StdoutError for an OSError."""
    try:
        yield
    except OSError as error:
        raise StdoutError(error.errno, error.strerror or str(error)) from error


def say(text: str = "", *, colour: str | None = None) -> None:
    """A line for people on stdout."""
    with writing():
        click.echo(_styled(printable(text), colour), file=sys.stdout, color=_colour())


def tell(text: str, *, mark: str = "", colour: str | None = None) -> None:
    """A line for people on stderr, behind a coloured mark; where nobody reads it, it is lost."""
    shown = printable(text)
    line = f"{_styled(mark, colour, bold=True)}: {shown}" if mark else _styled(shown, colour)
    with contextlib.suppress(OSError):
        click.echo(line, file=sys.stderr, color=_colour())


def tell_error(message: object) -> None:
    """What went wrong, as one message on stderr."""
    tell(str(message), mark="error", colour="red")


def fail(error: EdgeslmError) -> NoReturn:
    """Show an error the way the command line does, and exit with its code."""
    tell_error(error)
    sys.exit(error.exit_code)


def print_line(value: dict[str, Any]) -> None:
    """One JSON line on stdout: plain characters as they are, all others as \\u escapes."""
    line = json.dumps(value, ensure_ascii=False)
    if not line.isprintable():
        line = "".join(c if _is_harmless(c) else json.dumps(c)[1:-1] for c in line)
    with writing():
        click.echo(line)


def for_people(as_json: bool = False) -> bool:
    """Whether stdout is a terminal that a person reads, so that a table serves better than JSON."""
    return not as_json and sys.stdout.isatty()


def wants_colour() -> bool:
    """Whether a terminal may be sent colours: not with NO_COLOR, nor where it knows none."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _colour() -> bool | None:
    """For click: False takes all codes out, None leaves them where a terminal reads."""
    return None if wants_colour() else False


def _styled(text: str, colour: str | None, *, bold: bool = False) -> str:
    return click.style(text, fg=colour, bold=bold or None) if colour else text


def _is_harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return repr(character)[1:-1]
