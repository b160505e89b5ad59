"""A folder that stands in for pip's index."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def only_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder, and let pip look nowhere else, whatever is configured on this machine."""
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    return folder
