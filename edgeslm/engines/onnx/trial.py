"""An .onnx file is tried in a process of its own before this one loads it, once per content.

What bounds of shapes and operators do not see, such as a fault of the library that a file hits on
purpose, then ends a child that has little memory and time. That a content passed is kept beside
the cache: a later load looks for one file there and hashes nothing.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgeslm.children import NO_START, can_start, run_child
from edgeslm.engines.device.machine import cache_home
from edgeslm.errors import CardError, MachineError, ModelFileError
from edgeslm.formats.files import file_sha256

_log = logging.getLogger(__name__)

_CHILD: Final = "edgeslm.models.onnx_trial"
#: seconds of a trial, and how much longer for each megabyte of the file
_SECONDS: Final = 30.0
_SECONDS_PER_MB: Final = 0.1
#: marks of trials that are kept; beyond them all are forgotten
_MAX_MARKS: Final = 1000
#: numeric libraries of the child start no threads, for each would take memory
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_AGAIN: Final = "pull it again, or use another file"


def require_tried(path: Path, library: str) -> None:
    """Try a file, unless its content passed before with this version of the library.

    Raises:
        ModelFileError, CardError: it did not pass.
    """
    folder = cache_home() / "tried-models"
    status = path.stat()
    stamp = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
    here = folder / f"{library}-{'-'.join(format(part, 'x') for part in stamp)}"
    if here.exists():
        return
    content = folder / f"{library}-{file_sha256(path)}"
    if not content.exists() and not _try(path, status.st_size):
        return
    _mark(folder, content, here)


def _try(path: Path, size: int) -> bool:
    """Whether there was a trial, which the file passed; raises where it failed."""
    seconds = _SECONDS + _SECONDS_PER_MB * size / 1e6
    if not can_start():
        _log.warning("%s is not tried in another process: %s", path, NO_START)
        return False
    try:
        child = run_child(_CHILD, str(path.absolute()), timeout=seconds, env=_ONE_THREAD)
    except MachineError as error:  # no process to be had; the bounds that always hold are left
        _log.warning("%s is not tried: %s", path, error)
        return False
    except TimeoutError as error:
        raise ModelFileError(
            f"{path}: a trial in a process of its own took more than {seconds:.0f} s; {_AGAIN}"
        ) from error
    try:
        told = json.loads(child.stdout.splitlines()[-1])
        kind, message = told["error"], str(told["message"])
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: a trial in a process of its own ended with {child.returncode}: the library "
            f"does not survive this file; {_AGAIN}"
        ) from error
    if kind is not None:
        raise CardError(message) if kind == CardError.__name__ else ModelFileError(message)
    return True


def _mark(folder: Path, *marks: Path) -> None:
    with suppress(OSError):  # then it is tried again next time
        folder.mkdir(parents=True, exist_ok=True)
        kept = [*folder.iterdir()]
        for mark in kept if len(kept) > _MAX_MARKS else ():
            mark.unlink(missing_ok=True)
        for mark in marks:
            mark.touch()
