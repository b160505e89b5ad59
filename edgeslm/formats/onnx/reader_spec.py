"""ReaderSpec: how a reader's scores become a record, as JSON in an .onnx file's metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from edgeslm.errors import CardError

#: the version of this format; a loader refuses another
READER_FORMAT: Final = 1
READER_KEY: Final = "edgeslm.reader"
MAX_FIELDS: Final = 200
#: what one text may have at most: units, features of a unit, and windows of an encoder
MAX_UNITS: Final = 4096
MAX_UNIT_FEATURES: Final = 256
MAX_WINDOWS: Final = 16
#: a score of two tags, at most
_MOST: Final = 1_000_000

#: how a field is read: text of whole pieces, a typed value, or one of listed values
Read = Literal["text", "date", "time", "number", "code", "listed"]
_KEYS: Final = {"format", "words", "fields", "transitions", "begin"}
_FIELD_KEYS: Final = {"path", "read", "places", "values", "nullable"}

_PATH = re.compile(r"\$(?:\.[^.\[\]]+|\['(?:[^'\\]|\\.)*'\])+")
_MEMBER = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")
#: what is escaped in a quoted member name, and what the letters among it stand for
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_LETTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

# Plain checks, for importing pydantic takes longer than loading an encoder.


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One leaf of the record.

    ``places`` are the decimals that a number is spelled with where its JSON value is a text, None
    where it is a JSON number. ``values`` are those that a listed field may have, as JSON texts.
    """

    path: str
    read: Read
    places: int | None = None
    values: tuple[str, ...] = ()
    nullable: bool = True

    @property
    def names(self) -> list[str]:
        """The member names of the path, such as those of ``$.seller.name`` or ``$['a b']``."""
        members = _MEMBER.findall(self.path)
        return [plain or _ESCAPE.sub(_meant, quoted) for plain, quoted in members]


@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """What a reader reads.

    ``words`` says that pieces are single words. Tags of pieces are 0 for none, then two for each
    text field, in their order: its first piece, and the others. ``transitions[a][b]`` is the score
    of tag b behind a, ``begin[b]`` of b at the first piece.

    Columns of scores: the tags; then for each typed field its candidates' score and, on the row of
    the whole text, the score of null; then, on that row, a score for each listed value.
    """

    words: bool
    fields: tuple[FieldSpec, ...]
    transitions: tuple[tuple[float, ...], ...]
    begin: tuple[float, ...]

    @property
    def texts(self) -> tuple[FieldSpec, ...]:
        return tuple(field for field in self.fields if field.read == "text")

    @property
    def typed(self) -> tuple[FieldSpec, ...]:
        return tuple(field for field in self.fields if field.read not in ("text", "listed"))

    @property
    def listed(self) -> tuple[FieldSpec, ...]:
        return tuple(field for field in self.fields if field.read == "listed")

    @property
    def tags(self) -> int:
        return 1 + 2 * len(self.texts)

    @property
    def columns(self) -> int:
        return max((own.stop for _, own in self.values_at()), default=self.tags)

    def values_at(self) -> Iterator[tuple[FieldSpec, slice]]:
        """The typed fields, then the listed ones, each with its columns: the score of candidates
        and that of null, or a score for each listed value."""
        at = self.tags
        for field in (*self.typed, *self.listed):
            own = slice(at, at + (len(field.values) or 2))
            yield field, own
            at = own.stop

    def to_json(self) -> str:
        """As `from_json` reads it."""
        fields = [
            {
                "path": field.path,
                "read": field.read,
                "places": field.places,
                "values": field.values,
                "nullable": field.nullable,
            }
            for field in self.fields
        ]
        spec = {
            "format": READER_FORMAT,
            "words": self.words,
            "fields": fields,
            "transitions": self.transitions,
            "begin": self.begin,
        }
        return json.dumps(spec, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, where: str) -> ReaderSpec:
        """Parse what a file says of its reader; ``where`` names it in errors.

        Raises:
            CardError: malformed, of another format, or with unknown keys.
        """
        try:
            return _spec(json.loads(text))
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else error
            raise CardError(
                f"{where}: {READER_KEY}: {reason}; make the file again with `python -m converters`"
            ) from error


def _spec(values: Any) -> ReaderSpec:
    if not isinstance(values, dict) or values.keys() != _KEYS:
        raise ValueError(f"its keys must be {', '.join(sorted(_KEYS))}")
    if values["format"] != READER_FORMAT:
        raise ValueError(f"format must be {READER_FORMAT}")
    if type(values["words"]) is not bool:
        raise ValueError("words must be true or false")
    listed = values["fields"]
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_FIELDS:
        raise ValueError(f"fields must be a list of 1 to {MAX_FIELDS}")
    fields = tuple(map(_field, listed))
    _check_paths(fields)
    tags = 1 + 2 * sum(field.read == "text" for field in fields)
    transitions = values["transitions"]
    if not isinstance(transitions, list) or len(transitions) != tags:
        raise ValueError(f"transitions must have {tags} rows")
    return ReaderSpec(
        values["words"],
        fields,
        tuple(_scores(row, tags) for row in transitions),
        _scores(values["begin"], tags),
    )


def _field(values: Any) -> FieldSpec:
    if not isinstance(values, dict) or values.keys() != _FIELD_KEYS:
        raise ValueError(f"the keys of a field must be {', '.join(sorted(_FIELD_KEYS))}")
    path, read, places = values["path"], values["read"], values["places"]
    if not isinstance(path, str) or not _PATH.fullmatch(path) or len(path) > 1000:
        raise ValueError("path must lead to a member, such as $.total, in 1000 characters")
    if read not in get_args(Read):
        raise ValueError(f"read must be one of {', '.join(get_args(Read))}")
    if places is not None and (type(places) is not int or not 0 <= places <= 9):
        raise ValueError("places must be null or 0 to 9")
    if type(values["nullable"]) is not bool:
        raise ValueError("nullable must be true or false")
    choices = values["values"]
    if not isinstance(choices, list) or {*map(type, choices)} - {str} or len(choices) > 4096:
        raise ValueError("values must be a list of texts")
    if not all(map(_is_plain, choices)):
        raise ValueError("values must be JSON texts of texts, numbers, true, false or null")
    if len({*choices}) != len(choices):
        raise ValueError("values must differ from each other")
    if (read == "listed") != bool(choices):
        raise ValueError("a listed field, and no other, must have values")
    return FieldSpec(path, read, places, tuple(choices), values["nullable"])


def _check_paths(fields: tuple[FieldSpec, ...]) -> None:
    """Each field is a leaf of its own."""
    paths = [tuple(field.names) for field in fields]
    if len({*paths}) != len(paths):
        raise ValueError("a field is given twice")
    above = {path[:end] for path in paths for end in range(1, len(path))}
    for field, path in zip(fields, paths, strict=True):
        if path in above:
            raise ValueError(f"{field.path[:100]} is a field, and others lie within it")


def _is_plain(text: str) -> bool:
    """Whether a text is JSON of a value without parts."""
    try:
        value = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, dict | list)


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _meant(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _LETTERS.get(code, code)


def _scores(values: Any, count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"a row of scores must have {count}")
    if {*map(type, values)} - {int, float} or not all(-_MOST <= value <= _MOST for value in values):
        raise ValueError(f"a score must be a number from {-_MOST:,} to {_MOST:,}")
    return tuple(map(float, values))
