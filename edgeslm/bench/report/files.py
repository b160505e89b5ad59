"""Bench runs as files, read back bounded and checked"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from edgeslm.bench.report.schema import BENCH_FORMAT, BenchReport
from edgeslm.errors import InputError, first_fault
from edgeslm.formats.files import read_small

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
