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


def require(*modules: str) -> None:
    """Raise MissingExtraError unless these modules can be imported; imports none of them."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} not installed; run: pip install 'edgeslm[train]'", extra="train"
        )
