"""Evaluated fixed prompts on disk: a later process restores in milliseconds what took seconds.

`<cache>/prefixes/` holds `<key>.prefix`, the state of one prompt, and `<key>.sha256`, the hash of
a model file. A state's key is the sha256 of all that decides its bits: weights, adapter, build,
settings, tokens. Only fixed prompts come here, never a text. What is damaged is deleted, and what
cannot be written is not kept; neither is an error, for the prompt can always be evaluated again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edgeslm.engines.device.machine import cache_home
from edgeslm.errors import EdgeslmError, ModelFileError, PullError
from edgeslm.formats.files import file_sha256, publish, require_room

#: megabytes that the folder may hold; 0 turns the cache off
LIMIT_VARIABLE = "EDGESLM_PREFIX_CACHE_MB"
DEFAULT_LIMIT_MB = 512
#: Shorter prompts are not kept. On two busy cores 32 tokens of a model of 135M parameters were
#: evaluated in 187 ms and restored in 2; once, they are written in 10 and its file hashed in 160.
MIN_TOKENS = 32

FORMAT = 1
_MAGIC = b"edgeslm prefix\r\n"
#: magic, format, and the sha256 of all that follows
_HEAD = struct.Struct("<16sI32s")
#: bytes of the key's parts and of the state, which follow
_LENGTHS = struct.Struct("<IQ")
_STATE, _HASH, _ASIDE = ".prefix", ".sha256", ".part"
_SHA256 = re.compile(rb"[0-9a-f]{64}\Z")
#: a file aside that is this old was left by a killed process
_ABANDONED_S = 3600
#: a file that changed so lately could change again without getting another time
_SETTLED_S = 2.0

_log = logging.getLogger("edgeslm.decoding.sequences.prefix_files")


class _DamagedError(Exception):
    """The file is not what was written under this key."""


def prefix_folder() -> Path:
    """Where states are kept; it need not exist."""
    return cache_home() / "prefixes"


def prefix_limit() -> int:
    """Bytes that the folder may hold, from ``EDGESLM_PREFIX_CACHE_MB``; raises EdgeslmError."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip() or str(DEFAULT_LIMIT_MB)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise EdgeslmError(
            f"{LIMIT_VARIABLE} is {text!r}; set it to a whole number of megabytes, 0 for no cache"
        )
    return int(text) * 1_000_000


def used_bytes(folder: Path) -> int:
    """What the folder holds."""
    return sum(size for _, size, _ in _entries(folder))


class Weights:
    """A model file and its sha256, which is found out when it is first needed.

    Make it before the file is loaded: a file that was replaced since has no hash here,
    so that a state of the old weights is never kept under the new ones' name.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        self.path = path.absolute()
        self._sha256 = sha256
        self._facts = self._look()
        self._failed = False

    def sha256(self, folder: Path) -> str | None:
        """64 hexadecimal digits, remembered in ``folder``; None where that cannot be written."""
        if self._sha256 is None and self._facts is not None and not self._failed:
            try:
                self._sha256 = self._remembered(folder)
            except OSError as error:
                _log.info("%s: no prefix is kept: %s", self.path, error)
            self._failed = self._sha256 is None  # not tried again with each request
        return self._sha256

    def verified(self) -> str:
        """64 hexadecimal digits, found out now if they are not known.

        Raises:
            ModelFileError: the file cannot be read, or changed since this was made.
        """
        if self._sha256 is not None:
            return self._sha256
        try:
            sha256 = file_sha256(self.path)
        except OSError as error:
            raise ModelFileError(f"{self.path}: cannot be read: {error}") from error
        if self._facts is None or self._look() != self._facts:
            raise ModelFileError(f"{self.path}: changed since it was opened; load it again")
        self._sha256 = sha256
        return sha256

    def _look(self) -> tuple[str, int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return str(self.path), stat.st_size, stat.st_mtime_ns, stat.st_ino

    def _remembered(self, folder: Path) -> str | None:
        facts = self._facts
        assert facts is not None
        memo = folder / (hashlib.sha256(json.dumps(facts).encode()).hexdigest() + _HASH)
        with suppress(FileNotFoundError), memo.open("rb") as file:
            digits = file.read(65)
            if _SHA256.match(digits):
                _touch(memo)
                return digits.decode()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written")
        sha256 = file_sha256(self.path)
        if self._look() != facts:
            return None
        if time.time() - facts[2] / 1e9 > _SETTLED_S:
            _write(memo, [sha256.encode()])
        return sha256


class PrefixCache:
    """The saved prefixes of one loaded model, in a folder that other processes share.

    ``identity`` is what decides a state's bits beside the weights and the tokens, as JSON
    values; ``limit`` the bytes that the folder may hold. A state belongs to one ``adapter``,
    the sha256 of its file, or to the model alone.
    """

    def __init__(
        self, folder: Path, limit: int, weights: Weights, identity: Mapping[str, object]
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._weights = weights
        self._identity = dict(identity)

    def get(self, tokens: Sequence[int], *, adapter: str | None = None) -> bytes | None:
        """The state of these tokens, byte for byte as it was put; None if it is not here."""
        parts = self._parts(tokens, adapter)
        if parts is None:
            return None
        path = self._path(parts)
        try:
            state = _unpack(_read(path, self._limit), parts)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.info("%s cannot be read: %s", path, error)
            return None
        except _DamagedError as error:
            _log.info("%s is evaluated again: %s", path, error)
            _remove(path)
            return None
        _touch(path)
        return state

    def put(
        self, tokens: Sequence[int], save: Callable[[], bytes], *, adapter: str | None = None
    ) -> None:
        """Keep the state that ``save`` gives, if it is worth keeping and not kept yet."""
        parts = self._parts(tokens, adapter)
        if parts is None or self._path(parts).is_file():
            return
        pieces = _pack(parts, save())
        size = sum(map(len, pieces))
        if size > self._limit:
            _log.info("a prefix of %d bytes is over the %d of the cache", size, self._limit)
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _evict(self._folder, self._limit - size)
            require_room(self._folder, size)
            _write(self._path(parts), pieces)
        except (OSError, PullError) as error:
            _log.info("a prefix is not kept in %s: %s", self._folder, error)

    def drop(self, tokens: Sequence[int], *, adapter: str | None = None) -> None:
        """Forget the state of these tokens."""
        parts = self._parts(tokens, adapter)
        if parts is not None:
            _remove(self._path(parts))

    def _parts(self, tokens: Sequence[int], adapter: str | None) -> bytes | None:
        """All that decides the bits of a state, as JSON; None where nothing is kept."""
        if len(tokens) < MIN_TOKENS:
            return None
        weights = self._weights.sha256(self._folder)
        if weights is None:
            return None
        decisive = {"weights": weights, "adapter": adapter, "tokens": list(tokens)}
        parts = {**self._identity, **decisive}
        return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()

    def _path(self, parts: bytes) -> Path:
        return self._folder / (hashlib.sha256(parts).hexdigest() + _STATE)


# --- the file ---------------------------------------------------------------------------------


def _pack(parts: bytes, state: bytes) -> list[bytes]:
    body = [_LENGTHS.pack(len(parts), len(state)), parts, state]
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    return [_HEAD.pack(_MAGIC, FORMAT, digest.digest()), *body]


def _unpack(data: bytes, parts: bytes) -> bytes:
    """The state in a file's bytes; raises _DamagedError unless all of it is as it was written."""
    if len(data) < _HEAD.size + _LENGTHS.size:
        raise _DamagedError("it is cut short")
    magic, form, digest = _HEAD.unpack_from(data)
    if magic != _MAGIC or form != FORMAT:
        raise _DamagedError("it is no file of this version")
    if hashlib.sha256(memoryview(data)[_HEAD.size :]).digest() != digest:
        raise _DamagedError("its checksum differs")
    n_parts, n_state = _LENGTHS.unpack_from(data, _HEAD.size)
    start = _HEAD.size + _LENGTHS.size
    if len(data) != start + n_parts + n_state or data[start : start + n_parts] != parts:
        raise _DamagedError("it holds another prefix")
    return data[start + n_parts :]


def _read(path: Path, limit: int) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise OSError("it is no file")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise _DamagedError("it is larger than the whole cache may be")
        return file.read(limit)


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file aside, and give it its name when it is whole and on the disk."""
    handle, name = tempfile.mkstemp(suffix=_ASIDE, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
        publish(Path(name), path)
    except BaseException:
        _remove(Path(name))
        raise


# --- the folder -------------------------------------------------------------------------------


def _entries(folder: Path) -> list[tuple[int, int, Path]]:
    """The files of the cache, the least recently used first: time in ns, bytes, path."""
    files = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((_STATE, _HASH, _ASIDE)):
                with suppress(OSError):  # another process removed it
                    stat = entry.stat()
                    files.append((stat.st_mtime_ns, stat.st_size, Path(entry.path)))
    return sorted(files)


def _evict(folder: Path, limit: int) -> None:
    """Remove what killed processes left, then the least recently used, down to ``limit`` bytes."""
    abandoned = time.time_ns() - _ABANDONED_S * 1_000_000_000
    entries = _entries(folder)
    total = sum(size for _, size, _ in entries)
    for used, size, path in entries:
        aside = path.suffix == _ASIDE
        if used <= abandoned if aside else total > limit:
            _remove(path)
            total -= size


def _touch(path: Path) -> None:
    """Make the file the most recently used; a folder that cannot be written stays as it is."""
    with suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # gone already, or open in another process on Windows
        path.unlink()
