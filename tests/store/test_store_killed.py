"""The store when a pull is killed at any point, and when two pulls of one name run at once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeslm.store.entry import UNVERIFIED, Entry
from edgeslm.store.incoming import Assembler
from edgeslm.store.store import Store
from tests.helpers.killed import dies_at
from tests.helpers.tiny_gguf import write_tiny_gguf

OLD = b"old" * 100_000
NEW = b"newer" * 300_000


def write_entry(folder: Path, data: bytes, *, pinned: bool = False) -> Entry:
    """An entry `m` whose source is a new file with these bytes."""
    path = folder / f"{len(data)}.gguf"
    path.write_bytes(data)
    sha256 = UNVERIFIED if pinned else hashlib.sha256(data).hexdigest()
    return Entry(name="m", source=f"file:{path}", sha256=sha256, licence="MIT")


#: what lies beside the versions of a model
RECORDS = ("state.json", "verified.json", "lock")


def folder_names(store: Store) -> set[str]:
    return {path.name for path in (store.root / "models" / "m").iterdir()}


def version_name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}.gguf"


_FILE_CALLS = {
    *("open", "write", "truncate", "fsync", "close"),
    *("replace", "mkdir", "unlink", "rmdir", "flock"),
}


def _pull_and_die(store: Store, wanted: Entry, step: int, **how: Any) -> bool:
    return dies_at(step, _FILE_CALLS, lambda: store.pull(wanted, **how))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_before_any_change_of_a_file_the_store_is_old_or_new(tmp_path):
    old, new = write_entry(tmp_path, OLD), write_entry(tmp_path, NEW)
    contents = set()
    step = 0
    while True:
        step += 1
        store = Store(tmp_path / f"home{step}")
        store.pull(old)  # this also imports what the child would spend steps on
        if not _pull_and_die(store, new, step):
            break
        contents.add(store.resolve("m").read_bytes())
        assert store.resolve("m").read_bytes() in (OLD, NEW)
        assert store.pull(new).read_bytes() == NEW
        assert folder_names(store) == {*RECORDS, version_name(OLD), version_name(NEW)}
        assert store.rollback("m").read_bytes() == OLD
        shutil.rmtree(store.root)
    assert step > 20, "fewer calls than a pull makes: the hook does not see them"
    assert contents == {OLD, NEW}


def _on_base(adapter: Path, target: Path) -> None:
    target.write_bytes(OLD + adapter.read_bytes())


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_while_base_and_adapter_become_one_the_store_is_old_or_new(tmp_path):
    assembler = Assembler("0" * 64, _on_base)
    first, second = (
        write_entry(tmp_path, data).model_copy(update={"base": "b"}) for data in (b"a1", b"a22")
    )
    contents = set()
    step = 0
    while True:
        step += 1
        store = Store(tmp_path / f"home{step}")
        store.pull(first, assembler=assembler)
        if not _pull_and_die(store, second, step, assembler=assembler):
            break
        contents.add(store.resolve("m").read_bytes())
        assert store.pull(second, assembler=assembler).read_bytes() == OLD + b"a22"
        names = {version_name(OLD + b"a1"), version_name(OLD + b"a22")}
        assert folder_names(store) == {*RECORDS, *names}
        assert store.rollback("m").read_bytes() == OLD + b"a1"
        shutil.rmtree(store.root)
    assert step > 20, "fewer calls than a pull makes: the hook does not see them"
    assert contents == {OLD + b"a1", OLD + b"a22"}


_TWO = """
import sys
from pathlib import Path
from edgeslm.store.entry import Entry
from edgeslm.store.store import Store
entry = Entry.model_validate_json(sys.argv[2])
for _ in range(5):
    print(Store(Path(sys.argv[1])).pull(entry, accept_new=True))
"""


def test_two_pulls_at_once_do_not_harm_each_other(tmp_path):
    store = Store(tmp_path / "home")
    pinned = write_entry(tmp_path, OLD, pinned=True)
    command = [sys.executable, "-c", _TWO, str(store.root), pinned.model_dump_json()]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
        assert out.split() == [str(store.resolve("m")).encode()] * 5
    assert store.resolve("m").read_bytes() == OLD
    assert folder_names(store) == {*RECORDS, version_name(OLD)}


_TWO_INSTALLS = """
import sys, time
from pathlib import Path
from edgeslm.store.install import install
from edgeslm.store.entry import read_registry
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store

def assemble(base, adapter, target, *, progress):
    with Path(sys.argv[3]).open("a") as counted:
        counted.write("x")
    time.sleep(0.5)
    target.write_bytes(base.read_bytes())
    return target

registry = Registry({entry.name: entry for entry in read_registry(Path(sys.argv[2]))})
store = Store(Path(sys.argv[1]))
print(install("m", prove=lambda _: None, store=store, registry=registry, assemble=assemble))
"""


def test_two_pulls_at_once_pull_the_base_once_and_assemble_once(tmp_path):
    base = write_tiny_gguf(tmp_path / "base.gguf")
    adapter = write_entry(tmp_path, b"adapter")
    toml = tmp_path / "models.toml"
    hashed = hashlib.sha256(base.read_bytes()).hexdigest()
    toml.write_text(
        f'[[model]]\nname = "b"\nsource = "base.gguf"\nsha256 = "{hashed}"\nlicence = "MIT"\n'
        f'[[model]]\nname = "m"\nbase = "b"\nsource = "{len(b"adapter")}.gguf"\n'
        f'sha256 = "{adapter.sha256}"\nlicence = "MIT"\n'
    )
    counted = tmp_path / "counted"
    store = Store(tmp_path / "home")
    command = [sys.executable, "-c", _TWO_INSTALLS, str(store.root), str(toml), str(counted)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
        assert out.split() == [str(store.resolve("m")).encode()]
    assert counted.read_text() == "x"
    assert store.resolve("m").read_bytes() == base.read_bytes()
