"""Makes a Python package of model files: a wheel of data alone, the same bytes for the same files.

A wheel is a zip archive of a known form. It is written here and not by a build tool, so that a
device that makes one needs none, and uncompressed, since how a library compresses is no promise.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from edgeslm.errors import (
    ArgumentError,
    CardError,
    EdgeslmError,
    ModelFileError,
    ModelNotFoundError,
    RegistryError,
    first_fault,
)
from edgeslm.formats.files import Progress, chunks_of, file_sha256, publish, require_room, silent
from edgeslm.formats.info import format_of
from edgeslm.store.announced import GROUP, Announced, announced, canonical
from edgeslm.store.entry import Entry, PypiSource, is_name, parse_source
from edgeslm.store.packages import RECORD, find_all
from edgeslm.store.packages import read as read_packaged
from edgeslm.store.registry import Registry

if TYPE_CHECKING:
    from edgeslm.formats.card import Card

#: what installs the engine of a format; the first version that looks for models in packages
_ENGINES: Final = {"gguf": "edgeslm-core[llama]>=0.1.0", "onnx": "edgeslm-core[onnx]>=0.1.0"}
#: versions as package indexes sort them, without epochs
_VERSION: Final = re.compile(
    r"\d{1,9}(\.\d{1,9})*((a|b|rc)\d{1,9})?(\.post\d{1,9})?(\.dev\d{1,9})?(\+[a-z0-9]+(\.[a-z0-9]+)*)?",
    re.ASCII,
)
#: packages of edgeslm that bring no models
_OURS: Final = frozenset({"edgeslm", "edgeslm-core", "edgeslm-train", "edgeslm-specialists"})
_REQUIRED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: the time that every file of the archive bears
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as its header is, and its name in the package; of an adapter, its base's sha256."""

    path: Path
    name: str
    card: Card | None
    base_sha256: str | None


@dataclass(frozen=True, slots=True)
class _Model:
    """A file that goes into the package: its entry, card, and what it requires."""

    path: Path
    entry: Entry
    card: Card | None
    requirements: tuple[str, ...]


def package(
    files: Sequence[Path],
    name: str,
    *,
    version: str | None = None,
    licence: str | None = None,
    out: Path = Path(),
    registry: Registry | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the package ``name`` with these model files into the folder ``out``; returns the wheel.

    One file is known by ``name`` once the package is installed; of several, each by its card's
    name. An adapter requires the package of its base, or stands beside it in ``files``.

    Args:
        version: of the package; None takes the card's, where there is one file.
        licence: of files without a card.

    Raises:
        ArgumentError: no file, a name or a version that cannot be, a name that is taken, or a
            licence where no file needs one and a card says another.
        ModelNotFoundError: there is no such file.
        ModelFileError, CardError: a file is no model, or an adapter that does not name its base.
        EdgeslmError: the base has no package, or the wheel cannot be written.
    """
    _require_name(name)
    _require_files(files, version)
    _require_folder(out)
    registry = Registry.load() if registry is None else registry
    read = _read(files, name, licence, registry)
    version = _version(version, [one.card for one in read])
    _require_free(name, {one.name: (one.path.stat().st_size, None) for one in read})
    models = _models(name, read, licence, registry, progress)
    normal = re.sub(r"[-_.]+", "_", name)
    folder, info = f"edgeslm_model_{normal}", f"{normal}-{version}.dist-info"
    texts = {
        f"{folder}/{RECORD}": "\n".join(_table(model.entry) for model in models),
        f"{info}/METADATA": _metadata(name, version, models),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: edgeslm\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{GROUP}]\n"
        + "".join(f"{model.entry.name} = {folder}\n" for model in models),
    }
    weights = {f"{folder}/{_file_name(model.entry)}": model.path for model in models}
    target = out / f"{normal}-{version}-py3-none-any.whl"
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        out.mkdir(parents=True, exist_ok=True)
        require_room(out, sum(path.stat().st_size for path in weights.values()))
        _write_wheel(aside, texts, weights, f"{info}/RECORD", progress)
        publish(aside, target)
    except OSError as error:
        raise EdgeslmError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


# --- what is refused before a file is read ------------------------------------


def _require_name(name: str) -> None:
    if not is_name(name):
        raise ArgumentError(
            f"{name[:200]!r} is no name of a package of models: use up to 100 of a-z, 0-9, '.', "
            "'_' and '-', with a letter or a digit first and last, like acme-router"
        )
    if canonical(name) in {*_OURS, *_required()}:
        raise ArgumentError(
            f"{name!r} is the name of a package that edgeslm is made of or requires; installed, "
            "yours would replace it: give another name"
        )


def _required() -> frozenset[str]:
    """The packages that edgeslm-core requires, with all of its extras."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = requires("edgeslm-core") or ()
    except PackageNotFoundError:  # a checkout that is not installed
        return frozenset()
    names = (_REQUIRED.match(one) for one in requirements)
    return frozenset(canonical(match[0]) for match in names if match)


def _require_files(files: Sequence[Path], version: str | None) -> None:
    if not files:
        raise ArgumentError("a package must have one model file or more")
    for path in files:
        if not path.exists():
            raise ModelNotFoundError(f"{path}: no such file")
        if not path.is_file():
            raise ModelFileError(f"{path}: no file; name a .gguf or .onnx file")
    if version is None and len(files) > 1:
        raise ArgumentError("a package of several files must come with --version, like 1.2.0")


def _require_folder(out: Path) -> None:
    """Refuse a folder that cannot be written; one that is not there is made later."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise EdgeslmError(f"{out}: {there} is not a folder; name another with --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise EdgeslmError(f"{out}: {there} cannot be written; name another folder with --out")


def _require_free(name: str, contents: Mapping[str, tuple[int, str | None]]) -> None:
    """Refuse a package or a model whose name an installed package of other models has.

    A newer version of a package has its name and may hold other files under the names in it.

    Args:
        contents: size and sha256 of each model; where None stands for it, the size alone tells.
    """
    here = tuple(announced())
    own = {one.name for one in here if canonical(one.package) == canonical(name)}
    if own and own.isdisjoint(contents):
        raise ArgumentError(
            f"{name!r} is the name of an installed package, which brings "
            f"{', '.join(sorted(own))}; installed, yours would replace it: give another name"
        )
    for one in here:
        other = canonical(one.package) != canonical(name)
        if other and one.name in contents and not _has(one, *contents[one.name]):
            raise ArgumentError(
                f"{one.name!r} is a model of the installed package {one.package}, with another "
                f"content; give another name, or first: pip uninstall {one.package}"
            )


def _has(one: Announced, size: int, sha256: str | None) -> bool:
    """Whether an installed package has this content, as far as it is known."""
    try:
        entry = read_packaged(one).entry
    except RegistryError:
        return False
    return entry.size in (size, None) and sha256 in (entry.sha256, None)


# --- what goes in -------------------------------------------------------------


def _read(files: Sequence[Path], name: str, licence: str | None, registry: Registry) -> list[_Read]:
    """The headers of the files, which are hashed later: what cannot be is refused at once."""
    headers = [_header(path) for path in files]
    cards = [card for card, _ in headers]
    _require_same_licence(files, cards, licence)
    names = [name if len(files) == 1 else "" if card is None else card.name for card in cards]
    taken = [other for other in (name, *names) if other in registry.entries]
    if taken or len(set(names)) < len(names) or "" in names:
        wrong = f"{taken[0]!r} is a name of models.toml" if taken else "two files have one name"
        wrong = "a file among several must have a card" if "" in names else wrong
        raise ArgumentError(f"{wrong}; packages are asked only for other names: give another one")
    for path, card in zip(files, cards, strict=True):
        _licence(path, card, licence)
    return [
        _Read(path, other, *header)
        for path, other, header in zip(files, names, headers, strict=True)
    ]


def _models(
    name: str, read: Sequence[_Read], licence: str | None, registry: Registry, progress: Progress
) -> list[_Model]:
    hashes = [file_sha256(one.path, progress) for one in read]
    hashed = list(zip(read, hashes, strict=True))
    _require_free(name, {one.name: (one.path.stat().st_size, sha256) for one, sha256 in hashed})
    by_hash = {sha256: one.name for one, sha256 in hashed}
    models = []
    for one, sha256 in hashed:
        path, card = one.path, one.card
        base, requirement = _base(path, one.base_sha256, by_hash, registry)
        entry = _entry(path, one.name, sha256=sha256, card=card, base=base, licence=licence)
        needs = [_ENGINES[format_of(path)], *([requirement] if requirement else [])]
        models.append(_Model(path, entry, card, tuple(needs)))
    return models


def _require_same_licence(
    files: Sequence[Path], cards: Sequence[Card | None], licence: str | None
) -> None:
    """Refuse a licence that no file would get, for each has a card, and one of them another."""
    if licence is None or None in cards:
        return
    for path, card in zip(files, cards, strict=True):
        if card is not None and card.licence != licence:
            raise ArgumentError(
                f"{path}: the licence in its card is {card.licence}, not {licence}; leave out "
                "--licence, or write the other into the card"
            )


def _header(path: Path) -> tuple[Card | None, str | None]:
    """The file's card, and of an adapter the sha256 of its base."""
    from edgeslm.formats.gguf.adapter import is_adapter, read_adapter
    from edgeslm.formats.gguf.info import read_gguf
    from edgeslm.formats.onnx.info import read_onnx

    if format_of(path) == "onnx":
        return read_onnx(path).card, None
    if not is_adapter(path):
        return read_gguf(path).card, None
    adapter = read_adapter(path)
    if adapter.card is None or adapter.assembly is None:
        raise CardError(f"{path}: the adapter must have a card and say how it is assembled")
    return adapter.card, adapter.assembly.base_sha256


def _base(
    path: Path, wanted: str | None, by_hash: Mapping[str, str], registry: Registry
) -> tuple[str | None, str | None]:
    """The name of an adapter's base, and the package that brings it, if that is another one."""
    if wanted is None:
        return None, None
    if wanted in by_hash:
        return by_hash[wanted], None
    for packaged in find_all():
        if packaged.entry.sha256 == wanted:
            return packaged.entry.name, f"{packaged.package}=={packaged.version}"
    for entry in registry:
        source = parse_source(entry.source)
        if entry.sha256 == wanted and isinstance(source, PypiSource):
            return entry.name, f"{source.package}=={source.version}"
    raise EdgeslmError(
        f"{path}: an adapter, and no package is known that brings its base (sha256 {wanted}); "
        "name the base's file too, or package it first and install that: "
        "edgeslm model package BASE.gguf --name BASE"
    )


def _entry(
    path: Path,
    name: str,
    *,
    sha256: str,
    card: Card | None,
    base: str | None,
    licence: str | None,
) -> Entry:
    description = " ".join((card.description if card else "").split())
    try:
        return Entry(
            name=name,
            base=base,
            source=f"file:{name}.{format_of(path)}",
            sha256=sha256,
            size=path.stat().st_size,
            licence=_licence(path, card, licence),
            description=description[:2000],
        )
    except ValidationError as error:
        raise ArgumentError(f"{path}: {first_fault(error, whole='the entry')}") from error


def _licence(path: Path, card: Card | None, licence: str | None) -> str:
    licence = licence if card is None else card.licence
    if licence is None:
        raise ArgumentError(f"{path}: has no card, so its licence must be said: --licence MIT")
    return licence


def _version(version: str | None, cards: Sequence[Card | None]) -> str:
    card = cards[0] if len(cards) == 1 else None
    version = version or (card.version if card is not None else None)
    if version is None:
        raise ArgumentError(
            "a package of a file whose card has no version must come with --version, like 1.2.0"
        )
    if _VERSION.fullmatch(version) is None:
        raise ArgumentError(f"a package cannot have the version {version!r}; use one like 1.2.0")
    return version


# --- how it is written --------------------------------------------------------


def _file_name(entry: Entry) -> str:
    return f"{entry.name}{entry.suffix}"


def _table(entry: Entry) -> str:
    """The entry as a table of a models.toml; JSON's strings and integers are TOML's too."""
    values = entry.model_dump(exclude_none=True)
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "[[model]]\n" + "".join(lines)


def _metadata(name: str, version: str, models: Sequence[_Model]) -> str:
    licences = dict.fromkeys(model.entry.licence for model in models)
    requirements = dict.fromkeys(need for model in models for need in model.requirements)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        f"Summary: Models for edgeslm: {', '.join(model.entry.name for model in models)}"[:500],
        f"License: {', '.join(licences)}",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {need}" for need in requirements),
        "Description-Content-Type: text/plain",
        "",
        *(f"{model.entry.name}: {model.entry.description}" for model in models),
    ]
    return "\n".join(lines) + "\n"


def _write_wheel(
    target: Path,
    texts: Mapping[str, str],
    weights: Mapping[str, Path],
    record: str,
    progress: Progress,
) -> None:
    listed = io.StringIO()
    rows = csv.writer(listed, lineterminator="\n")
    with zipfile.ZipFile(target, "w") as archive:
        for member, path in sorted(weights.items()):
            with path.open("rb") as file:
                size = path.stat().st_size
                rows.writerow(_add(archive, member, size, chunks_of(file), progress))
        for member, text in sorted(texts.items()):
            data = text.encode()
            rows.writerow(_add(archive, member, len(data), [data], silent))
        rows.writerow((record, "", ""))
        data = listed.getvalue().encode()
        _add(archive, record, len(data), [data], silent)


def _add(
    archive: zipfile.ZipFile, member: str, size: int, chunks: Iterable[bytes], progress: Progress
) -> tuple[str, str, int]:
    """Add one file; returns its row in the list of files."""
    info = zipfile.ZipInfo(member, _TIME)
    info.create_system, info.external_attr, info.file_size = 3, _MODE, size
    digest, done = hashlib.sha256(), 0
    with archive.open(info, "w") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress("packing", done, size)
    value = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    return member, f"sha256={value}", done
