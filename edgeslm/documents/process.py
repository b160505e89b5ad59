"""The parent of the child process that opens PDFs and pictures: its pages, as they come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from edgeslm.children import launch_child
from edgeslm.documents.raw import RawPage, Reading, read_page
from edgeslm.errors import DocumentError

if TYPE_CHECKING:
    from subprocess import Popen

_CHILD: Final = "edgeslm.documents.child"
#: seconds that a page may take; the time in which its reader waits for us does not count
SECONDS: Final = 60.0


def isolated_pages(data: bytes, reading: Reading) -> Iterator[RawPage]:
    """The pages of a PDF or picture, which a process of its own reads.

    Raises:
        DocumentError: it cannot be read, or the process did not survive it.
        MachineError: no process can be started, or it lacks a library.
    """
    import subprocess

    pipe = subprocess.PIPE
    child = launch_child(_CHILD, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    with child:
        try:
            with _limited(child):
                _send(child, reading.to_json(), data)
                page = _next(child)
            while page is not None:
                yield page
                with _limited(child):
                    page = _next(child)
        finally:
            child.kill()


@contextmanager
def _limited(child: Popen[bytes]) -> Iterator[None]:
    """End the child where this takes too long."""
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except DocumentError as error:
        if late.is_set():
            raise DocumentError(
                f"a page took more than {SECONDS:g} seconds to read", reason="limit"
            ) from error
        raise
    finally:
        timer.cancel()


def _send(child: Popen[bytes], *parts: bytes) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError, OSError):  # what it said, or that it ended, comes next
        for part in parts:
            child.stdin.write(part)
        child.stdin.close()


def _next(child: Popen[bytes]) -> RawPage | None:
    assert child.stdout is not None
    try:
        return read_page(child.stdout)  # type: ignore[arg-type]
    except (ValueError, LookupError, TypeError) as error:
        child.kill()
        raise DocumentError(
            f"is damaged, or needs too much: the process that read it ended with "
            f"{_ending(child.wait())}",
            reason="damaged",
        ) from error


def _ending(code: int) -> str:
    """How a process ended: the name of a signal, or a code."""
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"code {code}"
