"""Quantizations that compete: the fastest one that the gates have nothing against is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from converters.errors import GateError
from converters.gates.reports import Divergence
from edgeslm.formats.files import Progress, publish

#: what the candidates are told apart by
N = TypeVar("N", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a candidate of any kind. ``size`` is in bytes. ``passed`` is None where
    the gates were not asked, since a faster one had passed."""

    size: int
    milliseconds: float
    divergence: Divergence
    passed: bool | None = None


M = TypeVar("M", bound=Measured)


@contextmanager
def candidate_files(names: tuple[N, ...], out: Path) -> Iterator[dict[N, Path]]:
    """A place beside ``out`` for each candidate; those still there at the end are removed."""
    files = {
        name: out.with_name(f".{out.stem}.{name.replace(' ', '-')}.part{out.suffix}")
        for name in names
    }
    try:
        yield files
    finally:
        for path in files.values():
            path.unlink(missing_ok=True)


def take_fastest(
    candidates: Mapping[N, M],
    files: Mapping[N, Path],
    out: Path,
    *,
    refuses: Callable[[Path], str | None],
    remedy: str,
    progress: Progress,
) -> tuple[tuple[M, ...], N]:
    """Move the fastest file that ``refuses`` gives no reason against to ``out``.

    It is asked from the fastest on, until one passes.

    Returns:
        All candidates, fastest first, with what the gates said, and the name of the one taken.

    Raises:
        GateError: no candidate passes, with the ``remedy``; ``out`` is as it was.
    """
    judged = dict(sorted(candidates.items(), key=lambda item: item[1].milliseconds))
    refused: list[str] = []
    for done, name in enumerate(judged):
        progress("testing", done, len(judged))
        reason = refuses(files[name])
        judged[name] = replace(judged[name], passed=reason is None)
        if reason is None:
            publish(files[name], out)
            return tuple(judged.values()), name
        refused.append(f"{name} ({reason})")
    raise GateError(
        f"no quantization passes the gates: {'; '.join(refused)}; train longer, or {remedy}"
    )
