"""Packing: the card arrives, all else stays byte for byte, and a killed pack breaks nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeslm.formats.gguf.pack
from edgeslm.errors import CardError, EdgeslmError, ModelFileError, SchemaError
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.gguf.info import GGUFInfo, read_gguf
from edgeslm.formats.gguf.pack import check_card, read_card, write_card
from edgeslm.formats.text import fold
from tests.helpers.raw_gguf import ENTRIES, raw_gguf, text_entry
from tests.helpers.tiny_gguf import CHATML, write_tiny_gguf

TEMPLATE_SHA = hashlib.sha256(CHATML.encode()).hexdigest()
CLASSIFY = {"kind": "classify", "labels": ["billing", "refund"]}


def card(**changes: Any) -> Card:
    base = {"name": "router", "licence": "mit", "task": CLASSIFY}
    return Card.from_dict({**base, **changes}, where="card.toml")


def others(info: GGUFInfo) -> dict[str, bytes]:
    """The raw bytes of every metadata entry but the card."""
    raw = info.path.read_bytes()
    return {k: raw[slice(*place)] for k, place in info.layout.entries.items() if k != CARD_KEY}


def weights(info: GGUFInfo) -> bytes:
    return info.path.read_bytes()[info.layout.data :]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "model.gguf", quant="Q8_0")


def test_a_packed_file_carries_the_card_and_the_template_hash(model: Path, tmp_path: Path) -> None:
    before, source_sha = read_gguf(model), sha256(model)
    target = tmp_path / "out.gguf"
    write_card(model, card(), target)
    after = read_gguf(target)
    assert sha256(model) == source_sha
    assert after.card is not None
    assert after.card.prompt.chat_template_sha256 == TEMPLATE_SHA
    assert after.card.task == card().task
    assert others(after) == others(before)
    assert weights(after) == weights(before)
    assert after.layout.data % after.layout.alignment == 0
    check_card(after)


def test_other_readers_see_the_same_tensors(model: Path, tmp_path: Path) -> None:
    write_card(model, card(description="x" * 1000), tmp_path / "out.gguf")
    old, new = gguf.GGUFReader(model), gguf.GGUFReader(tmp_path / "out.gguf")
    assert CARD_KEY in new.fields
    for a, b in zip(old.tensors, new.tensors, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.data, b.data)


def test_packing_again_replaces_the_card_in_place(model: Path) -> None:
    before = others(read_gguf(model))
    write_card(model, card(description="long " * 100), model)
    once = model.stat().st_size
    write_card(model, card(name="second"), model)
    info = read_gguf(model)
    assert info.card is not None
    assert info.card.name == "second"
    assert model.stat().st_size < once
    assert others(info) == before
    assert [path.name for path in model.parent.iterdir()] == ["model.gguf"]


def test_a_broken_card_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(raw_gguf([*ENTRIES, text_entry(CARD_KEY, "{")]))
    write_card(path, card(), path)
    assert read_gguf(path).card == card()


def test_what_follows_the_weights_and_odd_tokens_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"  # its vocabulary holds a token that is not UTF-8
    path.write_bytes(raw_gguf(version=2) + b"trailing")
    before = others(read_gguf(path))
    write_card(path, card(), path)
    info = read_gguf(path)
    assert info.version == 2
    assert others(info) == before
    assert weights(info) == bytes(range(32)) + b"trailing"


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_names = st.text(min_size=1, max_size=30)
_cards = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
        "version": _names,
        "description": st.text(max_size=500),
        "task": st.lists(_names, min_size=2, max_size=20, unique_by=fold).map(
            lambda labels: {"kind": "classify", "labels": labels}
        ),
        "prompt": st.fixed_dictionaries({"system": st.none() | st.text(max_size=200)}),
        "examples": st.lists(
            st.fixed_dictionaries({"input": _names, "expected": _json}), max_size=3
        ),
    }
).map(lambda fields: card(**fields))


@settings(max_examples=60, deadline=None)
@given(made=_cards)
def test_any_card_comes_back_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, made: Card
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.gguf"
    path.write_bytes(raw_gguf())
    before = read_gguf(path)
    write_card(path, made, path)
    after = read_gguf(path)
    assert after.card == made
    assert weights(after) == bytes(range(32))
    assert after.layout.data % before.layout.alignment == 0


def test_llama_cpp_loads_the_packed_file(model: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    write_card(model, card(), model)
    loaded = llama_cpp.llama_model_load_from_file(
        os.fsencode(model), llama_cpp.llama_model_default_params()
    )
    assert loaded
    llama_cpp.llama_model_free(loaded)


# --- held to the file -------------------------------------------------------------


def test_a_card_for_another_chat_template_is_refused(model: Path) -> None:
    before = sha256(model)
    with pytest.raises(CardError) as caught:
        write_card(model, card(prompt={"chat_template_sha256": "0" * 64}), model)
    assert "0" * 64 in str(caught.value)
    assert TEMPLATE_SHA in str(caught.value)
    assert sha256(model) == before


def test_a_named_template_hash_that_fits_is_kept(model: Path) -> None:
    write_card(model, card(prompt={"chat_template_sha256": TEMPLATE_SHA}), model)
    check_card(read_gguf(model))


def test_a_file_whose_template_changed_is_refused_on_reading(tmp_path: Path) -> None:
    promised = card(prompt={"chat_template_sha256": TEMPLATE_SHA})
    for template, says in (
        ("{{ other }}", hashlib.sha256(b"{{ other }}").hexdigest()),
        (None, "no chat"),
    ):
        path = write_tiny_gguf(tmp_path / "m.gguf", card=promised, chat_template=template)
        with pytest.raises(CardError, match=says):
            check_card(read_gguf(path))


def test_a_file_without_a_card_has_nothing_to_keep(model: Path) -> None:
    check_card(read_gguf(model))


def test_a_file_without_a_template_takes_a_card(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", chat_template=None)
    write_card(path, card(), path)
    assert read_gguf(path).card == card()


@pytest.mark.parametrize("kind", ["extract", "generate"])
def test_a_schema_that_cannot_be_enforced_is_refused(model: Path, kind: str) -> None:
    before = sha256(model)
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}
    with pytest.raises(SchemaError) as caught:
        write_card(model, card(task={"kind": kind, "json_schema": schema}), model)
    assert caught.value.path == "/properties/a"
    assert sha256(model) == before


def test_values_that_json_would_change_are_refused(model: Path) -> None:
    score = {"metric": "m", "value": 1, "n": 1, "gold": "g", "baselines": {"x": float("nan")}}
    with pytest.raises(CardError):
        write_card(model, card(scores=[score]), model)


@pytest.mark.parametrize("toml", ["expected = 2024-01-01", "expected = nan"])
def test_toml_values_that_json_would_change_are_refused(
    model: Path, tmp_path: Path, toml: str
) -> None:
    path = tmp_path / "card.toml"
    path.write_text(
        'name = "n"\nlicence = "l"\n[task]\nkind = "classify"\nlabels = ["a", "b"]\n'
        f'[[examples]]\ninput = "x"\n{toml}\n'
    )
    with pytest.raises(CardError, match="JSON"):
        write_card(model, read_card(path), model)


def test_what_is_no_model_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<html>")
    with pytest.raises(ModelFileError):
        write_card(path, card(), path)
    assert path.read_bytes() == b"<html>"


# --- when writing fails -------------------------------------------------------------


def test_no_room_is_said_with_numbers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000)
    )
    before = sha256(model)
    with pytest.raises(EdgeslmError, match=r"needs 0\.2 MB of disk, 0\.0 MB are free"):
        write_card(model, card(), model)
    assert sha256(model) == before
    assert list(model.parent.iterdir()) == [model]


def test_a_failing_disk_leaves_the_file_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    before = sha256(model)
    with pytest.raises(EdgeslmError, match="cannot be written"):
        write_card(model, card(), model)
    assert sha256(model) == before
    assert list(model.parent.iterdir()) == [model]


def test_weights_that_arrive_changed_are_not_accepted(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = edgeslm.formats.gguf.pack._copy

    def flipping(reader: Any, writer: Any) -> str:
        digest = copy(reader, writer)
        writer.seek(-1, os.SEEK_END)
        writer.write(b"\xa5")
        return digest

    monkeypatch.setattr(edgeslm.formats.gguf.pack, "_copy", flipping)
    before = sha256(model)
    with pytest.raises(EdgeslmError, match="reads back otherwise"):
        write_card(model, card(), model)
    assert sha256(model) == before
    assert list(model.parent.iterdir()) == [model]


def test_a_missing_folder_is_said(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeslmError, match=r"No such file|cannot find"):
        write_card(model, card(), tmp_path / "none" / "out.gguf")


@pytest.mark.skipif(os.name != "posix", reason="permission bits and links as POSIX has them")
def test_permissions_are_kept_and_a_link_is_replaced(model: Path, tmp_path: Path) -> None:
    model.chmod(0o640)
    before = sha256(model)
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    write_card(link, card(), link)
    assert not link.is_symlink()
    assert link.stat().st_mode & 0o777 == 0o640
    assert sha256(model) == before


_CHILD = """
import sys, time
from pathlib import Path
import edgeslm.formats.gguf.pack as pack
from edgeslm.formats.card import Card
stage, source = sys.argv[1], Path(sys.argv[2])
def stop(*_):
    print("there", flush=True)
    time.sleep(60)
setattr(pack, stage, stop)
made = Card.from_dict({"name": "new", "licence": "l", "task": {"kind": "classify",
    "labels": ["a", "b"]}}, where="x")
pack.write_card(source, made, source)
"""


@pytest.mark.parametrize(
    ("stage", "written"), [("_copy", False), ("_verify", False), ("_sync_folder", True)]
)
def test_a_killed_pack_leaves_the_old_file_or_the_new(
    model: Path, stage: str, written: bool
) -> None:
    before = sha256(model)
    command = [sys.executable, "-c", _CHILD, stage, str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        child.kill()
    if written:
        assert read_gguf(model).card is not None
    else:
        assert sha256(model) == before
    assert (len(list(model.parent.iterdir())) == 1) is written
    write_card(model, card(name="after"), model)
    after = read_gguf(model).card
    assert after is not None
    assert after.name == "after"
    assert list(model.parent.iterdir()) == [model]


# --- the card as TOML ------------------------------------------------------------

TOML = 'name = "n"\nlicence = "l"\n[task]\nkind = "extract"\n'


def test_the_schema_may_lie_beside_the_card(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"type": "object", "title": "é"}', encoding="utf-8")
    path = tmp_path / "card.toml"
    path.write_text(TOML + 'json_schema = "a.json"\n')
    task = read_card(path).task
    assert task.kind == "extract"
    assert task.json_schema == {"type": "object", "title": "é"}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"name = ", "card.toml: cannot be read"),
        (b"\xff", "card.toml: cannot be read"),
        (b"a = " + b"[" * 100_000, "card.toml: cannot be read"),
        (b"#" * 5_000_000, "larger than"),
        (TOML.encode() + b'json_schema = "none.json"\n', "none.json: cannot be read"),
        (TOML.encode() + b'json_schema = "list.json"\n', "list.json: not an object"),
        (TOML.encode() + b"json_schema = 3\n", "json_schema"),
        (b'name = "n"\n', "licence"),
    ],
)
def test_what_is_no_card_file_is_refused_with_its_name(
    tmp_path: Path, raw: bytes, says: str
) -> None:
    (tmp_path / "list.json").write_text("[]")
    path = tmp_path / "card.toml"
    path.write_bytes(raw)
    started = time.monotonic()
    with pytest.raises(CardError, match=says):
        read_card(path)
    assert time.monotonic() - started < 2
