"""What the training side raises on purpose, under edgeslm's own tree and exit codes."""

from __future__ import annotations

from edgeslm.errors import EdgeslmError, InputError, MissingExtraError, ModelFileError


class RecipeError(EdgeslmError):
    """A recipe cannot be read, or asks for what cannot be."""

    exit_code = 2


class DataError(InputError):
    """Examples cannot be used as they are; names the file and the row."""


class BaseModelError(ModelFileError):
    """The base model cannot be trained, merged or exported."""


class GateError(EdgeslmError):
    """The specialist does not pass its gates, so it is not packed."""

    exit_code = 1


#: how the training side and its libraries are installed
_INSTALL = "pip install 'edgeslm[train]'"


def cannot_import(error: ImportError) -> MissingExtraError:
    """The error for a library that is installed, and yet cannot be imported."""
    name = (error.name or "a library").partition(".")[0]
    return MissingExtraError(
        f"{name} cannot be imported: {error}; install it again: {_INSTALL} --force-reinstall",
        extra="train",
    )


def require(*modules: str) -> None:
    """Raise MissingExtraError unless these modules can be imported; imports none of them."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} not installed; run: {_INSTALL}", extra="train"
        )
