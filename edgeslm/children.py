"""Child processes: the one way in which edgeslm starts another Python, in a frozen app too.

An app that is frozen into one executable (PyInstaller, Nuitka, cx_Freeze) has no `python`:
`sys.executable` is the app itself. Its main program calls `edgeslm.children.freeze_support()` in
its first line, as with `multiprocessing`; a child is then the app once more, which that call turns
into the module that is wanted. Without it no child is started, since that would open the app again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgeslm.errors import MachineError

# subprocess takes longer to import than all of this, and a cold start needs none of it
if TYPE_CHECKING:
    from subprocess import CompletedProcess, Popen

#: the first argument of a frozen app that is to be a child; the module follows
FLAG = "--edgeslm-child"
#: what a frozen app may be turned into
MODULES = frozenset(
    {
        "edgeslm.bench.parts.busy_child",
        "edgeslm.bench.parts.memory",
        "edgeslm.bench.parts.start_child",
        "edgeslm.documents.child",
        "edgeslm.engines.llama.probe",
        "edgeslm.models.onnx_trial",
        "edgeslm.schema.verdict",
    }
)
#: what is said where a frozen app does not dispatch
NO_START = (
    "this app cannot start a child process: its main program must call "
    "edgeslm.children.freeze_support() in its first line"
)
#: packages of ours: a child finds them, and what they need, where this process does
_OURS = ("edgeslm", "converters")
#: holds an entry once the main program has called `freeze_support`
_dispatches: set[int] = set()


def freeze_support() -> None:
    """In a frozen app, become the child that edgeslm started; else return at once.

    To be called first in the main program of an app that is frozen into one executable.
    """
    _dispatches.add(os.getpid())
    if not _is_frozen() or sys.argv[1:2] != [FLAG]:
        return
    module = sys.argv[2] if len(sys.argv) > 2 else ""
    if module not in MODULES:
        sys.exit(f"{FLAG} takes the name of a module that edgeslm starts, not {module!r}")
    import runpy

    sys.argv[1:3] = []
    runpy.run_module(module, run_name="__main__")
    sys.exit(0)


def can_start() -> bool:
    """Whether a child can be started: always, but in a frozen app without `freeze_support`."""
    return not _is_frozen() or bool(_dispatches)


def child_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module in another process.

    A module of edgeslm is run as a file, so that nothing of edgeslm is imported before its own
    first line. -P keeps files of the working folder from standing in for modules.

    Raises:
        MachineError: this is a frozen app that does not call `freeze_support`, or not the module
            of a child that it can become.
    """
    if _is_frozen():
        if module not in MODULES:
            raise MachineError(f"an app in one file cannot run {module}; use an installed edgeslm")
        if not can_start():
            raise MachineError(NO_START)
        return [sys.executable, FLAG, module, *arguments]
    if module in MODULES:
        file = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
        return [sys.executable, "-P", str(file), *arguments]
    return [sys.executable, "-P", "-m", module, *arguments]


def launch_child(
    module: str,
    *arguments: str,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Popen[bytes]:
    """Start a module in another process. Streams are those of ``subprocess.Popen``.

    Args:
        env: environment variables beside those of this process.

    Raises:
        MachineError: no process can be started.
    """
    import subprocess

    command = child_command(module, *arguments)
    path = {}
    if module.partition(".")[0] in _OURS:
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **path, **(env or {})},
        )
    except OSError as error:
        raise MachineError(f"a child of {sys.executable} could not be started: {error}") from error


def run_child(
    module: str,
    *arguments: str,
    input: bytes = b"",
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> CompletedProcess[bytes]:
    """Run a module in another process until it ends, and give its exit code and what it said.

    Args:
        timeout: seconds.

    Raises:
        MachineError: no process can be started.
        TimeoutError: it was killed, since it took longer.
    """
    import subprocess

    pipe = subprocess.PIPE
    child = launch_child(module, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
    return _ended(child, module, input, timeout)


def run_program(
    program: str,
    *arguments: str,
    input: bytes,
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> CompletedProcess[bytes]:
    """Run another program until it ends, and give its exit code and what it said.

    Args:
        timeout: seconds.
        env: environment variables beside those of this process.

    Raises:
        MachineError: it cannot be started.
        TimeoutError: it was killed, since it took longer.
    """
    import subprocess

    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(
            [program, *arguments],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**os.environ, **(env or {})},
        )
    except OSError as error:
        raise MachineError(f"{program} could not be started: {error}") from error
    return _ended(child, Path(program).name, input, timeout)


def _ended(child: Popen[bytes], name: str, input: bytes, timeout: float) -> CompletedProcess[bytes]:
    import subprocess

    with child:
        try:
            output, errors = child.communicate(input, timeout)
        except BaseException as error:
            child.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"{name} took more than {timeout:g} seconds") from error
            raise
    return subprocess.CompletedProcess(child.args, child.returncode, output, errors)


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more and no others; on Linux, where that is counted.

    A fault of it leaves no file of its memory.
    """
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _is_frozen() -> bool:
    return bool(getattr(sys, "frozen", False))
