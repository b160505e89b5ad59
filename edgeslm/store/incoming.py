"""A version on its way into the store: fetched aside, verified, assembled, tried, then named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslm.errors import (
    EdgeslmError,
    HashMismatchError,
    MachineError,
    PullError,
    ResourceError,
)
from edgeslm.formats.files import Progress, file_sha256, publish
from edgeslm.store.versions import INCOMING, Parts, Version

if TYPE_CHECKING:
    from edgeslm.store.entry import Entry


@dataclass(frozen=True, slots=True)
class Assembler:
    """How an adapter becomes a whole model.

    ``make(adapter, target)`` writes the model that the adapter and the file of
    ``base_sha256`` are together, or raises an EdgeslmError.
    """

    base_sha256: str
    make: Callable[[Path, Path], None]

    def parts(self, entry: Entry) -> Parts:
        """What the entry's assembled file is made from."""
        return Parts(adapter_sha256=entry.sha256, base_sha256=self.base_sha256)


def bring(
    folder: Path,
    entry: Entry,
    *,
    wanted: str | None,
    from_file: Path | None,
    assembler: Assembler | None,
    progress: Progress,
    verify_hook: Callable[[Path], None] | None,
) -> Version:
    """Fetch, verify, assemble where the entry is an adapter, and only then name a version file.

    ``wanted`` is the sha256 of what is fetched, None where any is taken.

    Raises:
        HashMismatchError: what arrived is not what the registry names or was pinned.
        PullError: it did not arrive, could not be assembled, or ``verify_hook`` refused it.
    """
    from edgeslm.store.fetch import discard  # so that inference loads no network library

    incoming = folder / INCOMING
    incoming.mkdir(exist_ok=True)
    part = incoming / f"part{entry.suffix}"
    whole = part if assembler is None else incoming / f"assembled{entry.suffix}"
    sha256 = _fetch_verified(part, entry, wanted=wanted, from_file=from_file, progress=progress)
    try:
        if assembler is not None:
            assembler.make(part, whole)
            sha256 = file_sha256(whole, progress)
        if verify_hook is not None:
            verify_hook(whole)
        version = Version(
            sha256=sha256,
            size=whole.stat().st_size,
            suffix=entry.suffix,
            source=entry.source,
            parts=None if assembler is None else assembler.parts(entry),
        )
        publish(whole, folder / version.file_name)
        return version
    except PullError:
        raise  # no room, or no base: what arrived is good, and a later pull goes on from it
    except (MachineError, ResourceError) as error:
        raise PullError(f"what arrived cannot be tried on this device: {error}") from error
    except EdgeslmError as error:
        discard(part)
        raise PullError(f"what arrived is refused and was discarded: {error}") from error
    finally:
        if assembler is not None:
            whole.unlink(missing_ok=True)


def _fetch_verified(
    part: Path, entry: Entry, *, wanted: str | None, from_file: Path | None, progress: Progress
) -> str:
    """Bring the entry's file to ``part``; returns its sha256, which is what it should be."""
    from edgeslm.store.entry import FileSource, parse_source
    from edgeslm.store.fetch import discard, fetch

    source = parse_source(entry.source) if from_file is None else FileSource(from_file)
    if from_file is not None:
        discard(part)
    announced = fetch(source, part, size=entry.size, progress=progress)
    try:
        size = part.stat().st_size
        if size == 0 or size != (entry.size or size):
            wrong = f"{size} bytes arrived, {entry.size or 'more'} were expected"
            if from_file is not None:
                raise PullError(f"{wrong}: {another_file(entry, from_file)}")
            raise PullError(f"{wrong}; pull again")
        sha256 = file_sha256(part, progress)
        if from_file is not None and wanted is not None and sha256 != wanted:
            raise wrong_file(entry, from_file, sha256, wanted)
        _require_hash(entry, sha256, wanted, announced)
    except PullError:
        discard(part)
        raise
    return sha256


def wrong_file(entry: Entry, file: Path, sha256: str, wanted: str) -> HashMismatchError:
    """A file to install from is not the one that the registry names, or that was pinned."""
    by = "which the registry names" if entry.verified else "which was pinned at the first pull"
    return HashMismatchError(
        f"{file} has sha256 {sha256}, not {wanted}, {by}; what was there stays: "
        f"{another_file(entry, file)}"
    )


def another_file(entry: Entry, file: Path) -> str:
    """What to do where a file is not the one that is wanted."""
    what = f"the adapter that makes {entry.name}" if entry.base is not None else entry.name
    ways = [f"give the file of {what}", f"leave out --from: `edgeslm pull {entry.name}`"]
    if entry.verified:
        ways.append(f"use it under its own path: `edgeslm show {file}`")
    else:
        ways.append(
            f"to trust it from now on: `edgeslm pull --accept-new {entry.name} --from {file}`"
        )
    return ", ".join(ways[:-1]) + f", or {ways[-1]}"


def _require_hash(entry: Entry, sha256: str, wanted: str | None, announced: str | None) -> None:
    if wanted is not None and sha256 != wanted:
        if entry.verified:
            reason = f"the registry names {wanted}; pull again, and if it stays so, do not trust it"
        else:
            reason = (
                f"{wanted} was pinned at the first pull; if the publisher is known to have "
                f"replaced it: `edgeslm pull --accept-new {entry.name}`"
            )
        raise HashMismatchError(f"what arrived has sha256 {sha256}, {reason}; it was discarded")
    if announced is not None and sha256 != announced:
        raise HashMismatchError(
            f"what arrived has sha256 {sha256}, the source announced {announced}; it was "
            "discarded: pull again"
        )
