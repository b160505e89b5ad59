"""Everything edgeslm raises on purpose: one tree, one table of exit codes.

Every message says what is wrong, where, and what to do next. An error that
belongs to no class here is a bug in edgeslm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError


class EdgeslmError(Exception):
    """Base of all errors that edgeslm raises on purpose.

    ``exit_code`` is what the command line exits with. 0 is success, 2 is
    click's usage error, 3 is an invalid benchmark run, 4 means that some
    inputs of a stream failed, 130 is Ctrl-C.
    """

    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever arguments its class takes, so that a child process can hand it on."""
        return _again, (type(self), self.args), self.__dict__

    def to_dict(self) -> dict[str, object]:
        """The error as the ``{"error": ...}`` object of a JSON line."""
        return {"type": type(self).__name__, "message": str(self)}


def _again(kind: type[EdgeslmError], args: tuple[object, ...]) -> EdgeslmError:
    """An error of this class without its ``__init__``; what that would set comes afterwards."""
    return kind.__new__(kind, *args)


# --- the model file and what it promises -------------------------------------


class ModelFileError(EdgeslmError):
    """The file is not a model this build can read: damaged, truncated, foreign or too new."""

    exit_code = 5


class CardError(EdgeslmError):
    """The card of a specialist is missing, malformed, or promises what the file does not hold."""

    exit_code = 6


# --- the request --------------------------------------------------------------


class ArgumentError(EdgeslmError, ValueError):
    """An argument that has no meaning, such as a negative deadline; nothing was done."""

    exit_code = 2


class SchemaError(EdgeslmError):
    """A schema that cannot be enforced in full; nothing was inferred.

    ``path`` is the JSON pointer of the offending place in the schema (``""`` is
    the root) and ``keyword`` the keyword there, if one is to blame.
    """

    exit_code = 7

    def __init__(self, message: str, *, path: str = "", keyword: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.keyword = keyword

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "path": self.path, "keyword": self.keyword}


class EmptySchemaError(SchemaError):
    """A schema that no value satisfies, such as ``false`` or bounds that exclude each other."""


class LabelError(EdgeslmError):
    """A label set that cannot be classified into: empty, doubled, or too long."""

    exit_code = 7


class InputError(EdgeslmError):
    """An input text that cannot be answered: empty, not text, not UTF-8, not JSON."""

    exit_code = 4


class InputTooLongError(InputError):
    """The prompt does not fit the context: it needs at least ``tokens``, ``limit`` are there."""

    def __init__(self, message: str, *, tokens: int, limit: int) -> None:
        super().__init__(message)
        self.tokens = tokens
        self.limit = limit

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "tokens": self.tokens, "limit": self.limit}


class DocumentError(InputError):
    """A document that cannot be read: damaged, encrypted, empty, too large, of no known kind.

    ``reason`` is one of "damaged", "encrypted", "empty", "limit", "unsupported" and "unreadable"
    (the file could not be opened).
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "reason": self.reason}


# --- the answer ---------------------------------------------------------------


class OutputError(EdgeslmError):
    """An answer that could not be given in the promised form."""

    exit_code = 4


class OutputTruncatedError(OutputError):
    """The budget ended before the answer did. ``prefix`` is the text so far."""

    def __init__(self, message: str, *, prefix: str) -> None:
        super().__init__(message)
        self.prefix = prefix

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "prefix": self.prefix}


class OutputInvalidError(OutputError):
    """The finished value breaks a rule that no grammar can hold. ``json`` is its text."""

    def __init__(self, message: str, *, json: str) -> None:
        super().__init__(message)
        self.json = json

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "json": self.json}


class OutputUncheckedError(OutputError):
    """The finished value cannot be held to the schema in time. ``json`` is its text."""

    def __init__(self, message: str, *, json: str) -> None:
        super().__init__(message)
        self.json = json

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "json": self.json}


class CalibrationError(EdgeslmError):
    """A sample that nothing can be fitted on: too small, wrong shapes, numbers out of range."""


class DeadlineError(OutputError):
    """The deadline passed before there was an answer."""


class CancelledError(OutputError):
    """``cancel()`` was called while the request ran."""


# --- the machine --------------------------------------------------------------


class ResourceError(EdgeslmError):
    """Not enough memory; the message has the numbers."""

    exit_code = 8


class MachineError(EdgeslmError):
    """This processor or installation cannot run the engine."""

    exit_code = 9


class MissingExtraError(MachineError):
    """A part of edgeslm is not installed; ``extra`` is the extra of edgeslm-core that brings it."""

    def __init__(self, message: str, *, extra: str) -> None:
        super().__init__(message)
        self.extra = extra

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "extra": self.extra}


class EngineError(EdgeslmError):
    """The inference library refused a call that should have worked, or is closed."""

    exit_code = 10


class ForkError(EngineError):
    """The model was loaded before this process was forked from the one that did."""


# --- the registry and the network ---------------------------------------------


class RegistryError(EdgeslmError):
    """A models.toml that cannot be read: the message names file and entry."""

    exit_code = 11


class ModelNotFoundError(RegistryError):
    """No registry has this name, and no such file exists."""

    exit_code = 12


class ModelNotPulledError(RegistryError):
    """The registry knows the name, but its file is not on this device yet."""

    exit_code = 12


class PullError(EdgeslmError):
    """A download that did not arrive; what was there before is untouched."""

    exit_code = 13


class HashMismatchError(PullError):
    """What arrived is not what the registry or the card names; it was discarded."""


#: name, exit code and meaning, for the CLI reference and ``edgeslm doctor``
EXIT_CODES: dict[int, str] = {
    0: "success",
    1: "an error of another kind",
    2: "wrong usage of the command line",
    3: "a benchmark run whose answers were wrong",
    4: "an input could not be answered; in a stream, its place holds the error",
    5: "the model file is damaged, foreign or too new",
    6: "the specialist's card is missing, malformed or not kept",
    7: "the schema or label set is refused",
    8: "not enough memory",
    9: "this processor or installation cannot run the engine",
    10: "the inference library failed",
    11: "a models.toml cannot be read",
    12: "the model is unknown or not pulled yet",
    13: "a pull failed; what was there before is untouched",
    14: "reserved: an action is needed (drift, a gate that refuses)",
    15: "reserved: a signature is refused",
    16: "reserved: a budget is used up",
    17: "reserved: a remote model is not reachable",
    130: "interrupted with Ctrl-C",
}

#: a place in a message is cut behind so many characters: keys come from files, too
_MAX_PLACE = 200
#: what Python says of a number of thousands of digits
_ADVICE = "set_int_max_str_digits"


def unreadable(error: ValueError | RecursionError) -> str:
    """Why JSON or TOML cannot be read, without the advice that Python gives to programmers."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said = str(error)
    return "it has a number of too many digits" if _ADVICE in said else said


def first_fault(error: ValidationError, *, whole: str) -> str:
    """What pydantic found first, as "PLACE: what is wrong (and 2 more)".

    ``whole`` names the place where it is the value itself, and no part of it, that is wrong.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))[:_MAX_PLACE] or whole
    more = error.error_count() - 1
    tail = f" (and {more} more)" if more else ""
    return f"{place}: {first['msg'].removeprefix('Value error, ')}{tail}"
