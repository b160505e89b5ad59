"""Installing: base and adapter become one file, tried before it is current, and remembered."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeslm.errors import (
    HashMismatchError,
    ModelFileError,
    ModelNotPulledError,
    PullError,
    RegistryError,
    ResourceError,
)
from edgeslm.evaluation import selftest
from edgeslm.formats.card import Card
from edgeslm.formats.files import require_room
from edgeslm.formats.gguf.adapter import Adapter, Factors, Quantization, write_adapter
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.formats.gguf.pack import write_card
from edgeslm.models.load import load
from edgeslm.store.assemble import seal
from edgeslm.store.entry import Entry
from edgeslm.store.install import install
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store
from tests.helpers.tiny_gguf import write_tiny_gguf

TEXT = "where is my money"


def card(version: str, expected: str | None = None) -> Card:
    shown = [] if expected is None else [{"input": TEXT, "expected": expected}]
    data = {
        "name": "sorter",
        "version": version,
        "licence": "MIT",
        "task": {"kind": "classify", "labels": ["billing", "refund"]},
        "examples": shown,
    }
    return Card.from_dict(data, where="card")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Place:
    """A folder with sources of a base and an adapter, their registry, and a store.

    The stand-in for assembling writes the base with the card of the adapter, and counts.
    """

    def __init__(self, folder: Path) -> None:
        self.base = write_tiny_gguf(folder / "base.gguf", seed=1)
        self.adapter = write_tiny_gguf(folder / "adapter.gguf", card=card("1"))
        self.store = Store(folder / "home")
        self.assembled = 0
        self.registry = Registry({})
        self.register()

    def register(self) -> None:
        """Let the registry name the sources as they are now."""
        entries = (("base", self.base, None), ("sorter", self.adapter, "base"))
        for name, path, base in entries:
            self.registry.entries[name] = Entry(
                name=name, base=base, source=f"file:{path}", sha256=sha256(path), licence="MIT"
            )

    def give(self, new: Card) -> None:
        """Another adapter, which the registry names."""
        write_tiny_gguf(self.adapter, card=new)
        self.register()

    def assemble(self, base: Path, adapter: Path, target: Path, *, progress: object) -> Path:
        self.assembled += 1
        card = read_gguf(adapter).card
        assert card is not None
        write_card(base, card, target)
        return target

    def install(self, name: str = "sorter", **options: object) -> Path:
        options = {"assemble": self.assemble, "prove": selftest.prove, **options}
        return install(name, store=self.store, registry=self.registry, **options)

    def version(self) -> str:
        """The version of the card of what is current."""
        card = read_gguf(self.store.resolve("sorter", self.registry)).card
        assert card is not None
        return card.version

    def left_over(self) -> list[Path]:
        """Whatever lies in the store beside versions, records and locks."""
        known = {"state.json", "lock", "verified.json"}
        files = (path for path in self.store.root.rglob("*") if path.is_file())
        return [path for path in files if path.name not in known and len(path.stem) != 64]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def right_label(place: Place) -> str:
    with load(place.install()) as model:
        return model.classifier()(TEXT).label


def wrong_label(place: Place) -> str:
    return {"billing": "refund", "refund": "billing"}[right_label(place)]


def test_base_and_adapter_become_one_file(place):
    path = place.install()
    assert path == place.store.resolve("sorter")
    assert path.stem == sha256(path) == place.store.sha256_of(path)
    assert read_gguf(path).tensors == read_gguf(place.base).tensors
    assert place.version() == "1"
    assert sha256(place.store.resolve("base")) == sha256(place.base)
    (parts,) = [
        installed.current.parts
        for installed in place.store.installed()
        if installed.name == "sorter"
    ]
    assert parts.adapter_sha256 == sha256(place.adapter)
    assert parts.base_sha256 == sha256(place.base)
    assert place.left_over() == []


def test_a_second_pull_does_nothing_and_needs_no_source_and_no_base(place):
    path = place.install()
    place.base.unlink()
    place.adapter.unlink()
    shutil.rmtree(place.store.root / "models" / "base")
    assert place.install() == path
    assert place.assembled == 1


def test_a_pulled_base_is_used_though_its_source_is_gone(place):
    place.install("base")
    place.base.unlink()
    assert place.install().is_file()


def test_another_adapter_is_assembled_anew_and_rolled_back(place):
    first = place.install()
    place.give(card("2"))
    second = place.install()
    assert (place.version(), place.assembled) == ("2", 2)
    assert place.store.rollback("sorter") == first
    assert place.version() == "1"
    place.adapter.unlink()
    assert place.install() == second, "forward again, of what is here"
    assert place.assembled == 2


def test_another_base_is_assembled_anew(place):
    place.install()
    write_tiny_gguf(place.base, seed=2)
    place.register()
    path = place.install()
    assert place.assembled == 2
    with path.open("rb") as made, place.base.open("rb") as base:
        made.seek(read_gguf(path).layout.data)
        base.seek(read_gguf(place.base).layout.data)
        assert made.read() == base.read()


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_assembled_file_is_assembled_again(place, damage):
    path = place.install()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    if damage == "gone":
        path.unlink()
    if damage != "flipped":
        with pytest.raises(ModelNotPulledError, match="edgeslm pull sorter"):
            place.store.resolve("sorter")
    assert place.install().read_bytes() == whole


def test_an_adapter_of_another_hash_is_refused_before_it_is_assembled(place):
    place.install()
    write_tiny_gguf(place.adapter, card=card("2"))
    place.registry.entries["sorter"] = place.registry.entries["sorter"].model_copy(
        update={"sha256": "0" * 64}
    )
    with pytest.raises(HashMismatchError, match=f"sorter: .*{'0' * 64}"):
        place.install()
    assert (place.version(), place.assembled) == ("1", 1)


def test_an_adapter_comes_from_a_stick(place, tmp_path):
    stick = Path(shutil.copy(place.adapter, tmp_path / "stick.gguf"))
    place.adapter.unlink()
    with pytest.raises(PullError, match="no such file"):
        place.install()
    assert place.install(from_file=stick) == place.store.resolve("sorter")


def test_a_base_that_cannot_be_pulled_is_named(place):
    place.base.unlink()
    with pytest.raises(PullError, match=r"sorter: .*base\.gguf: no such file.*edgeslm pull base"):
        place.install()
    with pytest.raises(ModelNotPulledError):
        place.store.resolve("sorter", place.registry)


def test_a_base_that_no_registry_has_is_refused_before_anything_is_fetched(place):
    del place.registry.entries["base"]
    with pytest.raises(RegistryError, match="'base'"):
        place.install()
    assert not place.store.root.exists()


def test_an_adapter_is_never_taken_for_a_model(place):
    with pytest.raises(ValueError, match="sorter"):
        place.store.pull(place.registry.get("sorter"))
    assert not place.store.root.exists()


# --- what goes wrong while it is assembled --------------------------------------


def test_what_cannot_be_assembled_leaves_what_was_there(place):
    place.install()
    place.give(card("2"))

    def refuse(base, adapter, target, *, progress):
        raise ModelFileError("the adapter is for another base")

    with pytest.raises(PullError, match=r"sorter: .*another base"):
        place.install(assemble=refuse)
    assert place.version() == "1"
    assert place.left_over() == []


def test_a_full_disk_keeps_what_was_there(place):
    place.install()
    place.give(card("2"))

    def full(base, adapter, target, *, progress):
        require_room(target.parent, 10**15)

    with pytest.raises(PullError, match=r"sorter: .*needed.*EDGESLM_HOME"):
        place.install(assemble=full)
    assert place.version() == "1"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_no_part_of_an_assembled_file_stays(place, error):
    def stop(base, adapter, target, *, progress):
        target.write_bytes(b"half")
        raise error

    with pytest.raises((PullError, KeyboardInterrupt)):
        place.install(assemble=stop)
    assert not list(place.store.root.rglob("assembled*"))
    place.install()
    assert place.left_over() == []


# --- with what really assembles --------------------------------------------------


@pytest.fixture
def sealed(place, tmp_path):
    """The place with a real adapter for its base, which has a self-test; the file they make."""
    write_tiny_gguf(place.base, quant="Q8_0")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((4, 64), (64, 4)))
    draft, made = tmp_path / "draft.gguf", tmp_path / "made.gguf"
    write_adapter(draft, Adapter("llama", 4.0, {"blk.0.attn_q.weight": Factors(a, b)}, {}))
    labels: tuple[str | None, ...] = (None,)
    for version in ("1", "2"):  # the label is known once it was made without an example
        seal(
            place.base,
            draft,
            place.adapter,
            made,
            quantization=Quantization(file_type="Q4_0"),
            card=card(version, labels[-1]),
        )
        with load(made) as model:
            labels += (model.classifier()(TEXT).label,)
    place.register()
    return made


def test_a_real_adapter_makes_the_file_that_was_proven(place, sealed):
    told = []
    path = install(
        "sorter",
        prove=selftest.prove,
        store=place.store,
        registry=place.registry,
        progress=lambda what, *_: told.append(what),
    )
    assert path.read_bytes() == sealed.read_bytes()
    assert "trying it" in told
    assert place.left_over() == []


def test_a_real_adapter_refuses_another_base(place, sealed):
    write_tiny_gguf(place.base, quant="Q8_0", seed=5)
    place.register()
    with pytest.raises(PullError, match=r"sorter: .*another base"):
        install("sorter", prove=selftest.prove, store=place.store, registry=place.registry)
    assert place.left_over() == []


# --- tried before it is current --------------------------------------------------


def test_a_model_that_answers_as_its_card_says_becomes_current(place):
    place.give(card("2", right_label(place)))
    told = []
    place.install(progress=lambda what, *_: told.append(what))
    assert place.version() == "2"
    assert "trying it" in told


def test_a_model_that_answers_otherwise_is_refused_and_what_was_there_stays(place):
    wrong = wrong_label(place)
    place.give(card("2", wrong))
    with pytest.raises(PullError, match=f"sorter: .*1 of 1 .*example 1: expected '{wrong}'"):
        place.install()
    assert place.version() == "1"
    assert place.left_over() == []


def test_a_whole_model_with_a_card_is_tried_too(place):
    wrong = wrong_label(place)
    place.install("base")
    write_card(place.base, card("1", wrong), place.base)
    place.register()
    with pytest.raises(PullError, match=r"base: .*example 1"):
        place.install("base")
    assert read_gguf(place.store.resolve("base")).card is None


def test_what_is_here_is_not_tried_again(place, monkeypatch):
    place.give(card("2", right_label(place)))
    path = place.install()
    monkeypatch.setattr(selftest, "self_test_of", lambda _: pytest.fail("tried again"))
    assert place.install() == path


def test_a_device_that_cannot_try_it_keeps_what_arrived(place, monkeypatch):
    place.give(card("2", "refund"))

    def too_small(_path: Path) -> None:
        raise ResourceError("12 MB needed, 3 MB free")

    monkeypatch.setattr(selftest, "self_test_of", too_small)
    with pytest.raises(PullError, match=r"sorter: .*this device: 12 MB needed"):
        place.install()
    assert [path.name for path in place.left_over()] == ["part.gguf"]
