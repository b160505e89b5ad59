"""Bench runs and pages as files: written whole, read back bounded and checked"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from edgeslm.bench.report.schema import BENCH_FORMAT, BenchReport
from edgeslm.errors import EdgeslmError, InputError, first_fault
from edgeslm.formats.files import publish, read_small

#: a hundred thousand requests take less
MAX_BYTES: Final = 16 * 1024 * 1024


def read(path: Path) -> BenchReport:
    """The run that a file written by `edgeslm bench --json` holds.

    Raises:
        InputError: the file cannot be read, is over 16 MiB, or is no run of this format.
    """
    try:
        data = read_small(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return BenchReport.model_validate_json(data)
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error)}") from error


def write(path: Path, text: str) -> None:
    """Write a run's JSON or a page, aside first: at any moment there is the old file or the new.

    Raises:
        EdgeslmError: the folder is not there or cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        publish(part, path)
    except OSError as error:
        raise EdgeslmError(
            f"{path}: cannot be written ({error.strerror or error}); nothing was changed. Close "
            "what uses the file, or name one in a folder that is there"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _explain(error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    foreign = [each["input"] for each in errors if each["loc"] == ("format",)]
    if foreign and isinstance(foreign[0], int) and foreign[0] > BENCH_FORMAT:
        return (
            f"the run has format {foreign[0]}, this edgeslm reads format {BENCH_FORMAT}; "
            "update edgeslm"
        )
    return (
        f"no bench run, at {first_fault(error, whole='the whole file')}; "
        "write one with `edgeslm bench NAME --json FILE`"
    )
