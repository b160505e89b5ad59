"""Where edgeslm keeps what it has on a device, and which models.toml files it reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

#: the folder that holds everything edgeslm keeps on a device
HOME_VARIABLE = "EDGESLM_HOME"
#: further models.toml files, separated as in PATH; the last one that has a name wins
REGISTRY_VARIABLE = "EDGESLM_MODELS"
_PACKAGE = Path(__file__).resolve().parents[1]


def default_home() -> Path:
    """``EDGESLM_HOME``, or the platform's folder for an application's data."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("edgeslm", appauthor=False)


def user_registry() -> Path:
    """The models.toml in the platform's configuration folder, whether it exists or not."""
    return platformdirs.user_config_path("edgeslm", appauthor=False) / "models.toml"


def registry_files() -> Iterator[Path]:
    """The models.toml files in use; a later one wins."""
    yield own_registry()
    if user_registry().is_file():
        yield user_registry()
    for name in os.environ.get(REGISTRY_VARIABLE, "").split(os.pathsep):
        if name:
            yield Path(name)


def own_registry() -> Path:
    """edgeslm's own models.toml: in the package in a wheel, beside it in a checkout."""
    inside = _PACKAGE / "models.toml"
    return inside if inside.is_file() else _PACKAGE.parent / "models.toml"


def checkout_specialists() -> Path | None:
    """The folder of the specialists in a checkout of edgeslm; None in an installation."""
    folder = _PACKAGE.parent / "specialists"
    return folder if (_PACKAGE.parent / "pyproject.toml").is_file() and folder.is_dir() else None
