"""Damage that keeps a file's size, files that are not the right ones, and folders with links."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from edgeslm.errors import HashMismatchError, ModelFileError, PullError
from edgeslm.evaluation import doctor
from edgeslm.evaluation.selftest import self_test_of
from edgeslm.store import remembered
from edgeslm.store.entry import UNVERIFIED, Entry
from edgeslm.store.store import Store
from tests.helpers.tiny_gguf import write_tiny_gguf


@pytest.fixture
def source(tmp_path) -> Path:
    return write_tiny_gguf(tmp_path / "source.gguf")


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    return Store()


def entry_of(source: Path, *, pinned: bool = False) -> Entry:
    sha256 = UNVERIFIED if pinned else hashlib.sha256(source.read_bytes()).hexdigest()
    return Entry(name="m", source=f"file:{source}", sha256=sha256, licence="MIT")


def zero_a_part(path: Path, *, keep_time: bool = False) -> None:
    """Damage that keeps the size; with ``keep_time`` as a disk does it, without a trace."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# --- verified once, and remembered ------------------------------------------------


def test_a_pulled_file_is_not_hashed_again_until_it_changes(store, source, monkeypatch):
    path = store.pull(entry_of(source))
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "file_sha256", lambda *_: pytest.fail("hashed"))
        assert store.resolve("m") == store.resolve(path) == path
    os.utime(path)
    assert store.resolve("m") == path
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "file_sha256", lambda *_: pytest.fail("hashed twice"))
        assert store.resolve("m") == path


@pytest.mark.parametrize("by", ["name", "path"])
def test_damage_that_keeps_the_size_is_found_at_the_next_load(store, source, by):
    path = store.pull(entry_of(source))
    zero_a_part(path)
    with pytest.raises(ModelFileError, match=r"damaged.*edgeslm pull m"):
        store.resolve("m" if by == "name" else path)
    store.pull(entry_of(source))
    assert store.resolve("m").read_bytes() == source.read_bytes()


def test_a_file_put_in_its_place_is_found(store, source, tmp_path):
    path = store.pull(entry_of(source))
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=5)
    assert other.stat().st_size == path.stat().st_size
    shutil.copystat(path, other)
    other.replace(path)
    with pytest.raises(ModelFileError, match="damaged"):
        store.resolve("m")


def test_the_doctor_finds_what_left_no_trace(store, source):
    path = store.pull(entry_of(source))
    zero_a_part(path, keep_time=True)
    assert store.resolve("m") == path, "a load trusts the stamp"
    with pytest.raises(ModelFileError, match="damaged"):
        store.verify("m")
    with pytest.raises(ModelFileError, match="damaged"):
        self_test_of("m")
    models = (doctor.StoredModel("m", path, path.stat().st_size),)
    (finding,) = doctor.judge_files(store, models)
    assert (finding.level, finding.about, finding.exit_code) == ("problem", "m", 5)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"files": 3}', '{"files": {"x": 1}}', "[" * 9999]
)
def test_a_damaged_memory_costs_a_hash_and_no_error(store, source, text):
    path = store.pull(entry_of(source))
    path.with_name("verified.json").write_text(text)
    assert store.resolve("m") == path
    assert json.loads(path.with_name("verified.json").read_text())["files"]


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_error(store, source):
    path = store.pull(entry_of(source))
    path.with_name("verified.json").unlink()
    path.parent.chmod(0o500)
    try:
        assert store.resolve("m") == path
    finally:
        path.parent.chmod(0o700)


# --- --from a file ----------------------------------------------------------------


def test_from_a_file_that_is_not_there_is_an_error_though_the_model_is_here(
    store, source, tmp_path
):
    path = store.pull(entry_of(source))
    with pytest.raises(PullError, match="no such file"):
        store.pull(entry_of(source), from_file=tmp_path / "none.gguf")
    assert store.resolve("m") == path


@pytest.mark.parametrize("pinned", [False, True])
def test_from_another_model_is_an_error_though_the_model_is_here(store, source, tmp_path, pinned):
    entry = entry_of(source, pinned=pinned)
    path = store.pull(entry)
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=5)
    with pytest.raises(
        HashMismatchError, match=r"has sha256 .*stays: .*give the file of m"
    ) as caught:
        store.pull(entry, from_file=other)
    next_step = "--accept-new m --from" if pinned else "edgeslm show"
    assert next_step in str(caught.value)
    assert "leave out --from: `edgeslm pull m`" in str(caught.value)
    assert store.resolve("m") == path
    assert store.pull(entry, from_file=source) == path
    if pinned:
        assert store.pull(entry, from_file=other, accept_new=True) != path


@pytest.mark.parametrize("sized", [True, False])
def test_from_another_model_before_any_pull_says_what_to_do(store, source, tmp_path, sized):
    entry = entry_of(source)
    entry = entry if sized else entry.model_copy(update={"size": None})
    other = tmp_path / "other.gguf"
    other.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(PullError, match=r"give the file of m, leave out --from.*edgeslm show"):
        store.pull(entry, from_file=other)


# --- folders and links ------------------------------------------------------------


def test_a_pull_deletes_nothing_that_edgeslm_did_not_write(store, source):
    path = store.pull(entry_of(source))
    folder = path.parent
    foreign = [folder / "notes.txt", folder / "mine" / "thesis.tex", folder / "backup.gguf"]
    foreign += [folder / "incoming" / "holiday.jpg", folder / f"{'0' * 63}.gguf"]
    for file in foreign:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    left = [folder / f"{'0' * 64}.gguf", folder / "state.json.new", folder / "verified.json.7.new"]
    left += [
        folder / "incoming" / name for name in ("part.gguf", "part.gguf.json", "pip-x7_z/w.whl")
    ]
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_text("of a pull that was killed")
    store.pull(entry_of(source))
    assert [file for file in foreign if not file.is_file()] == []
    assert [file for file in left if file.exists()] == []


LINKS = ("incoming", "state.json", "state.json.new", "lock", "verified.json")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
@pytest.mark.parametrize("name", [*LINKS, "", "incoming/part.gguf", "incoming/part.gguf.json"])
def test_no_link_is_followed(store, source, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "part.gguf").write_text("mine")
    target = elsewhere if name in ("", "incoming") else elsewhere / "part.gguf"
    link = store.root / "models" / "m" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target, target_is_directory=target.is_dir())
    for _ in range(2):
        with pytest.raises(PullError, match=r"is a link; .* remove it"):
            store.pull(entry_of(source))
    assert [file.name for file in elsewhere.iterdir()] == ["part.gguf"]
    assert (elsewhere / "part.gguf").read_text() == "mine"
    link.unlink()
    assert store.pull(entry_of(source)).is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_among_old_versions_is_refused_and_its_file_stays(store, source, tmp_path):
    folder = store.pull(entry_of(source)).parent
    (tmp_path / "mine.gguf").write_text("mine")
    (folder / f"{'0' * 64}.gguf").symlink_to(tmp_path / "mine.gguf")
    with pytest.raises(PullError, match="is a link"):
        store.pull(entry_of(source))
    assert (tmp_path / "mine.gguf").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_the_folder_of_all_models_may_be_a_link(store, source, tmp_path):
    disk = tmp_path / "larger-disk"
    disk.mkdir()
    store.root.mkdir()
    (store.root / "models").symlink_to(disk, target_is_directory=True)
    assert store.pull(entry_of(source)).is_file()
    assert store.resolve("m").read_bytes() == source.read_bytes()
