"""The store: resolved without network, verified before named, replaced, one version kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from edgeslm.errors import (
    ArgumentError,
    HashMismatchError,
    ModelFileError,
    ModelNotFoundError,
    ModelNotPulledError,
    PullError,
)
from edgeslm.store import fetch
from edgeslm.store.entry import UNVERIFIED, Entry
from edgeslm.store.places import default_home
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store

OLD = b"old" * 100_000
NEW = b"newer" * 300_000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry_for(path: Path, *, pinned: bool = False, **changes) -> Entry:
    """An entry `m` whose source is this file, verified unless `pinned`."""
    data = path.read_bytes()
    values = {
        "name": "m",
        "source": f"file:{path}",
        "sha256": UNVERIFIED if pinned else sha256(data),
        "size": None if pinned else len(data),
        "licence": "MIT",
    }
    return Entry(**{**values, **changes})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.gguf"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "new.gguf"
    path.write_bytes(NEW)
    return path


#: what lies beside the versions of a model
RECORDS = ("state.json", "verified.json", "lock")


def folder_names(store: Store) -> set[str]:
    return {path.name for path in (store.root / "models" / "m").iterdir()}


def version_name(data: bytes) -> str:
    return f"{sha256(data)}.gguf"


# --- resolve -------------------------------------------------------------------


def test_a_path_is_taken_as_it_is(store, old):
    assert store.resolve(old) == old
    assert store.resolve(str(old)) == old


@pytest.mark.parametrize("name", ["no/such", "none.gguf", "none.ONNX"])
def test_a_path_that_is_not_there_is_not_taken_for_a_name(store, name):
    with pytest.raises(ModelNotFoundError, match="no such file"):
        store.resolve(name)


def test_a_folder_is_no_model(store, tmp_path, monkeypatch):
    with pytest.raises(ModelFileError, match="is a folder"):
        store.resolve(tmp_path)
    (tmp_path / "texts").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="texts is a folder"):
        store.resolve("texts", Registry({}))


@pytest.mark.parametrize("wrong", [3, None, b"m", ["m"]])
def test_what_is_neither_a_name_nor_a_path_is_refused(store, wrong):
    with pytest.raises(ArgumentError, match="a name or a path"):
        store.resolve(wrong)


def test_a_name_that_is_not_pulled_names_the_command(store, old):
    registry = Registry({"m": entry_for(old)})
    with pytest.raises(ModelNotPulledError, match="`edgeslm pull m`"):
        store.resolve("m", registry)
    with pytest.raises(ModelNotFoundError):
        store.resolve("..", registry)
    assert not store.root.exists()


def test_a_pulled_name_resolves_without_a_registry(store, old):
    path = store.pull(entry_for(old))
    assert store.resolve("m", Registry({})) == path
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(OLD[:-1])])
def test_a_lost_or_cut_file_is_said_and_the_next_pull_heals(store, old, damage):
    path = store.pull(entry_for(old))
    damage(path)
    with pytest.raises(ModelNotPulledError, match="edgeslm pull m"):
        store.resolve("m")
    assert store.pull(entry_for(old)).read_bytes() == OLD


def test_a_pull_finds_a_flipped_byte_of_an_installed_file(store, old):
    path = store.pull(entry_for(old))
    path.write_bytes(b"O" + OLD[1:])
    assert store.pull(entry_for(old)).read_bytes() == OLD


GOOD = f'"sha256": "{sha256(OLD)}", "size": {len(OLD)}, "suffix": ".gguf", "source": "s"'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "[" * 60_000, "\x00", '{"format": 2}', '{"format": 1, "x": 2}'),
        *('{"current": null}', '{"current": {}}', '{"current": [1]}', '{"current": "sha256"}'),
        f'{{"format": 2, "current": {{{GOOD}}}}}',
        f'{{"format": true, "current": {{{GOOD}}}}}',
        f'{{"x": 1, "current": {{{GOOD}}}}}',
        f'{{"current": {{{GOOD}, "x": 1}}}}',
        f'{{"current": {{{GOOD}, "parts": {{}}}}}}',
        f'{{"current": {{{GOOD}, "parts": {{"adapter_sha256": "0", "base_sha256": "0"}}}}}}',
        f'{{"current": {{{GOOD}}}, "previous": {{}}}}',
        f'{{"current": {{{GOOD.replace(".gguf", "/../x")}}}}}',
        f'{{"current": {{{GOOD.replace(str(len(OLD)), "true")}}}}}',
        f'{{"current": {{{GOOD.replace(str(len(OLD)), "0")}}}}}',
    ],
)
def test_a_damaged_record_is_said_and_healed_where_the_hash_is_known(store, old, text):
    path = store.pull(entry_for(old))
    path.with_name("state.json").write_text(text)
    with pytest.raises(ModelNotPulledError, match="edgeslm pull m"):
        store.resolve("m")
    assert store.installed() == ()
    assert store.pull(entry_for(old)) == path
    assert store.resolve("m") == path


def test_a_record_is_kept_in_this_form(store, old, new):
    path = store.pull(entry_for(old))
    state = path.with_name("state.json")
    first = json.loads(state.read_bytes())
    version = {"sha256": sha256(OLD), "size": len(OLD), "suffix": ".gguf", "source": f"file:{old}"}
    assert first == {"format": 1, "current": version}
    store.pull(entry_for(new))
    assert json.loads(state.read_bytes())["previous"] == version
    state.write_text(f'{{"current": {{{GOOD}}}}}')
    assert store.resolve("m") == path


def test_a_record_cannot_point_out_of_its_folder(store, old):
    path = store.pull(entry_for(old))
    state = path.with_name("state.json")
    state.write_text(state.read_text().replace(sha256(OLD), "../" * 20 + "0000"))
    with pytest.raises(ModelNotPulledError):
        store.resolve("m")


def test_resolving_loads_no_network_library():
    check = """
import sys
from edgeslm.errors import EdgeslmError
from edgeslm.store.store import Store
try:
    Store().resolve("smollm2-135m")
except EdgeslmError:
    pass
assert not {"httpx2", "huggingface_hub", "urllib.request", "edgeslm.store.fetch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_home_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "x"))
    assert default_home() == tmp_path / "x"
    assert Store().root == tmp_path / "x"
    monkeypatch.delenv("EDGESLM_HOME")
    assert default_home().name == "edgeslm"


# --- replace and roll back -----------------------------------------------------


def test_exactly_the_version_before_is_kept(store, old, new, tmp_path):
    third = tmp_path / "third.gguf"
    third.write_bytes(b"third")
    store.pull(entry_for(old))
    store.pull(entry_for(new))
    assert folder_names(store) == {*RECORDS, version_name(OLD), version_name(NEW)}
    store.pull(entry_for(third))
    assert folder_names(store) == {*RECORDS, version_name(NEW), version_name(b"third")}
    (installed,) = store.installed()
    assert (installed.name, installed.previous.sha256) == ("m", sha256(NEW))


def test_rollback_swaps_and_a_pull_goes_forward_without_fetching(store, old, new):
    store.pull(entry_for(old))
    forward = store.pull(entry_for(new))
    assert store.rollback("m").read_bytes() == OLD
    assert store.resolve("m").read_bytes() == OLD
    assert store.rollback("m") == forward
    store.rollback("m")
    wanted = entry_for(new)
    new.unlink()
    assert store.pull(wanted) == forward


def test_rollback_refuses_where_there_is_nothing_whole(store, old, new):
    with pytest.raises(ModelNotFoundError, match="'m'"):
        store.rollback("m")
    with pytest.raises(ModelNotFoundError):
        store.rollback("../m")
    store.pull(entry_for(old))
    with pytest.raises(PullError, match=r"^m: no version before the current one$"):
        store.rollback("m")
    store.pull(entry_for(new))
    (store.root / "models" / "m" / version_name(OLD)).write_bytes(b"x" + OLD[1:])
    with pytest.raises(PullError, match="damaged"):
        store.rollback("m")
    assert store.resolve("m").read_bytes() == NEW


# --- verified before it is named -----------------------------------------------


def test_another_hash_is_refused_and_what_was_there_stays(store, old, new):
    store.pull(entry_for(old))
    with pytest.raises(HashMismatchError, match=f"m: .*{sha256(NEW)}.*{'0' * 64}"):
        store.pull(entry_for(new, sha256="0" * 64))
    assert [path.name for path in store.root.rglob("*.gguf")] == [version_name(OLD)]
    assert store.resolve("m").read_bytes() == OLD


@pytest.mark.parametrize("size", [len(OLD) - 1, len(OLD) + 1])
def test_another_size_is_refused(store, old, size):
    with pytest.raises(PullError, match=str(size)):
        store.pull(entry_for(old, size=size))
    assert not list(store.root.rglob("*.gguf"))


def test_an_empty_file_is_refused(store, tmp_path):
    (tmp_path / "e.gguf").touch()
    with pytest.raises(PullError, match="0 bytes"):
        store.pull(entry_for(tmp_path / "e.gguf", pinned=True))


def test_a_hook_can_refuse_before_the_file_gets_its_name(store, old):
    def refuse(path: Path) -> None:
        assert path.read_bytes() == OLD
        raise ModelFileError("no GGUF")

    with pytest.raises(PullError, match="no GGUF"):
        store.pull(entry_for(old), verify_hook=refuse)
    assert not list(store.root.rglob("*.gguf"))


def test_a_missing_source_is_one_clear_error(store, old):
    wanted = entry_for(old)
    old.unlink()
    with pytest.raises(PullError, match=r"old\.gguf: no such file"):
        store.pull(wanted)


# --- from a stick ---------------------------------------------------------------


def test_from_file_needs_no_source_and_is_verified(store, old, new):
    absent = entry_for(old, source="hf:o/r/absent.gguf@main")
    with pytest.raises(HashMismatchError):
        store.pull(absent.model_copy(update={"size": None}), from_file=new)
    assert store.pull(absent, from_file=old).read_bytes() == OLD
    assert old.read_bytes() == OLD


def test_from_a_folder_is_refused(store, old, tmp_path):
    with pytest.raises(PullError, match="no such file"):
        store.pull(entry_for(old), from_file=tmp_path)


# --- trust on first use ---------------------------------------------------------


def test_the_first_file_is_pinned_and_another_needs_consent(store, old):
    pinned = entry_for(old, pinned=True)
    path = store.pull(pinned)
    old.write_bytes(NEW)
    assert store.pull(pinned) == path, "what is here and whole is not fetched again"
    path.unlink()
    with pytest.raises(HashMismatchError, match="--accept-new m"):
        store.pull(pinned)
    assert store.pull(pinned, accept_new=True).read_bytes() == NEW
    assert store.pull(pinned).read_bytes() == NEW


def test_a_file_from_a_stick_is_held_to_the_pin(store, old, new):
    pinned = entry_for(old, pinned=True)
    store.pull(pinned).unlink()
    with pytest.raises(HashMismatchError, match="pinned"):
        store.pull(pinned, from_file=new)


def test_a_rollback_of_a_pinned_model_stays(store, old):
    pinned = entry_for(old, pinned=True)
    store.pull(pinned)
    old.write_bytes(NEW)
    store.pull(pinned, accept_new=True)
    store.rollback("m")
    assert store.pull(pinned).read_bytes() == OLD


def test_another_source_is_pinned_anew(store, old, new):
    store.pull(entry_for(old, pinned=True))
    assert store.pull(entry_for(new, pinned=True)).read_bytes() == NEW


def test_a_lost_pin_is_not_replaced_silently(store, old):
    pinned = entry_for(old, pinned=True)
    store.pull(pinned).with_name("state.json").write_text("{")
    with pytest.raises(PullError, match="--accept-new m"):
        store.pull(pinned)
    assert store.pull(pinned, accept_new=True).read_bytes() == OLD


# --- the disk --------------------------------------------------------------------


def test_a_full_disk_is_refused_with_numbers_before_writing(store, old, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 12_300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PullError, match=r"0\.3 MB needed, 12\.3 MB free.*EDGESLM_HOME"):
        store.pull(entry_for(old))
    assert not list(store.root.rglob("*.gguf"))


def test_a_disk_that_fills_up_meanwhile_is_an_error_with_numbers(store, old, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "fetch", full)
    with pytest.raises(PullError, match=r"m: .*No space left.* free at "):
        store.pull(entry_for(old))


def test_a_home_that_cannot_be_made_is_an_error(old, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PullError, match="EDGESLM_HOME"):
        Store(tmp_path / "file" / "home").pull(entry_for(old))


def test_progress_tells_what_is_done_and_how_much(store, new):
    told = []
    store.pull(entry_for(new), progress=lambda *args: told.append(args))
    assert [what for what, *_ in told if what == "copying"][:1] == ["copying"]
    assert ("copying", len(NEW), len(NEW)) in told
    assert told[-1] == ("verifying", len(NEW), len(NEW))
