"""The libraries that the extra ``documents`` brings, imported where they are first needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

from edgeslm.errors import MachineError, MissingExtraError

_INSTALL: Final = 'pip install "edgeslm-core[documents]"'
#: module -> distribution
_BROUGHT_BY: Final = {"pypdfium2": "pypdfium2", "PIL.Image": "Pillow", "rapidocr": "rapidocr"}


def pdfium() -> Any:
    """The module pypdfium2; raises MissingExtraError, MachineError."""
    return _load("pypdfium2")


def pillow() -> Any:
    """The module PIL.Image; raises MissingExtraError, MachineError."""
    return _load("PIL.Image")


def rapidocr() -> Any:
    """The module rapidocr; raises MissingExtraError, MachineError."""
    return _load("rapidocr")


def require(module: str) -> None:
    """Raises MissingExtraError where a library is not installed; loads nothing."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise _missing(module)


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise _broken(module, error) from error
        raise _missing(module) from error
    except (ImportError, OSError) as error:  # such as a library of the system that is not there
        raise _broken(module, error) from error


def _missing(module: str) -> MissingExtraError:
    return MissingExtraError(
        f"this document needs {_BROUGHT_BY[module]}, which is not installed; install it: "
        f"{_INSTALL}",
        extra="documents",
    )


def _broken(module: str, error: Exception) -> MachineError:
    hint = ""
    if "libGL" in str(error):
        hint = "; replace opencv-python: pip install --force-reinstall opencv-python-headless"
    return MachineError(f"{_BROUGHT_BY[module]} cannot be loaded: {error}{hint}")
