"""Models of Python packages: found without running them, verified once, assembled offline."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import edgeslm
from edgeslm.cli.main import main
from edgeslm.errors import (
    ArgumentError,
    CardError,
    EdgeslmError,
    ModelFileError,
    ModelNotFoundError,
    ModelNotPulledError,
    RegistryError,
)
from edgeslm.evaluation.selftest import prove
from edgeslm.formats.card import Card
from edgeslm.formats.gguf.adapter import Adapter, Factors, Quantization, write_adapter
from edgeslm.store import packages, places
from edgeslm.store.announced import announcements_stamp
from edgeslm.store.assemble import seal
from edgeslm.store.entry import Entry
from edgeslm.store.install import install, locate
from edgeslm.store.package import package
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store
from tests.helpers.tiny_gguf import write_tiny_gguf

CARD = {
    "name": "sorter",
    "version": "1.2",
    "licence": "MIT",
    "description": "Sorts mail.",
    "task": {"kind": "classify", "labels": ["billing", "refund"]},
}


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder of packages on the path, an empty store, and no registry but edgeslm's own."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(places, "user_registry", lambda: tmp_path / "none.toml")
    monkeypatch.delenv("EDGESLM_MODELS", raising=False)
    return folder


@pytest.fixture
def sorter(tmp_path) -> Path:
    return write_tiny_gguf(tmp_path / "sorter.gguf", card=Card.from_dict(CARD, where="card"))


def unpack(wheel: Path, site: Path) -> None:
    """What pip does with a wheel of data."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def packed(site: Path, path: Path, name: str = "acme-sorter", **options: object) -> Path:
    """Package a file and install it; returns where it lies."""
    out = site.parent / f"wheels-{name}"
    unpack(package([path], name, out=out, **options), site)
    (placed,) = site.glob(f"*/{name}{path.suffix}")
    return placed


# --- finding --------------------------------------------------------------------


def test_a_packaged_model_is_loaded_by_its_name_and_from_its_place(site, sorter):
    with pytest.raises(ModelNotFoundError, match="acme-sorter"):
        Store().resolve("acme-sorter")
    placed = packed(site, sorter)
    assert Store().resolve("acme-sorter") == placed
    with edgeslm.load("acme-sorter") as model:
        assert model.classifier()("where is my money").label in CARD["task"]["labels"]


def test_no_code_of_a_package_runs(site, sorter):
    placed = packed(site, sorter)
    (placed.parent / "__init__.py").write_text("raise SystemExit('code of a stranger ran')")
    assert Store().resolve("acme-sorter") == placed
    assert not [name for name in sys.modules if name.startswith("edgeslm_model_")]


def test_a_known_name_does_not_look_at_packages(site, monkeypatch):
    monkeypatch.setattr(packages, "announced", lambda: pytest.fail("looked at packages"))
    assert Registry.load().get("smollm2-135m").base is None
    with pytest.raises(ModelNotPulledError):
        Store().resolve("smollm2-135m")


def test_two_packages_with_one_name_are_an_error(site, sorter):
    packed(site, sorter)
    bring_twice(site, site)
    with pytest.raises(RegistryError, match=r"two packages .*'acme-sorter'.*pip uninstall"):
        Store().resolve("acme-sorter")


def bring_twice(site: Path, folder: Path) -> None:
    """A second package with the name acme-sorter, in this folder of packages."""
    record = site / "acme_sorter-1.2.dist-info"
    other = folder / "other_sorter-1.dist-info"
    other.mkdir(parents=True)
    for name in ("entry_points.txt", "RECORD", "METADATA"):
        text = (record / name).read_text().replace("Name: acme-sorter", "Name: other-sorter")
        (other / name).write_text(text)


def test_a_name_of_a_package_is_suggested(site, sorter):
    packed(site, sorter)
    with pytest.raises(ModelNotFoundError, match="did you mean acme-sorter"):
        Store().resolve("acme-sort")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("file:acme-sorter.gguf", "file:../acme-sorter.gguf", "must be a file beside it"),
        ("file:acme-sorter.gguf", "https://h.example/acme-sorter.gguf", "must be a file beside it"),
        ('name = "acme-sorter"', 'name = "another"', "has no model 'acme-sorter'"),
        ("licence", "license", "licen"),
    ],
)
def test_a_record_that_points_elsewhere_is_refused(site, sorter, old, new, words):
    record = packed(site, sorter).with_name("models.toml")
    record.write_text(record.read_text().replace(old, new))
    with pytest.raises(RegistryError, match=words):
        Store().resolve("acme-sorter")


@pytest.mark.parametrize("value", ["..", "a/b", "os:system", "edgeslm", "edgeslm_model_x"])
def test_an_entry_point_that_names_no_folder_of_its_package_is_refused(site, sorter, value):
    packed(site, sorter)
    points = site / "acme_sorter-1.2.dist-info" / "entry_points.txt"
    points.write_text(f"[edgeslm.models]\nacme-sorter = {value}\n")
    with pytest.raises(RegistryError, match=r"acme-sorter: brings no .*pip install"):
        Store().resolve("acme-sorter")


# --- verified once --------------------------------------------------------------


def test_a_packaged_file_is_hashed_once_and_again_when_it_changes(site, sorter, monkeypatch):
    placed = packed(site, sorter)
    assert Store().resolve("acme-sorter") == placed
    with monkeypatch.context() as patch:
        patch.setattr("edgeslm.store.remembered.file_sha256", lambda *_: pytest.fail("hashed"))
        patch.setattr(packages, "read_registry", lambda _: pytest.fail("read a record"))
        assert Store().resolve("acme-sorter") == placed
    zero_a_part(placed)
    with pytest.raises(ModelFileError, match=r"damaged.*pip install --force-reinstall"):
        Store().resolve("acme-sorter")


def test_a_remembered_name_reads_no_package(site, sorter, tmp_path, monkeypatch):
    """Nor does it where files come and go beside packages, as in the folder that one works in."""
    placed = packed(site, sorter)
    assert Store().resolve("acme-sorter") == placed
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.distributions", lambda: pytest.fail("read packages"))
        (site / "notes.txt").write_text("a change beside the packages")
        assert Store().resolve("acme-sorter") == placed
    resolve = "from edgeslm.store.store import Store; Store().resolve('acme-sorter')"
    lines = f"import sys; sys.path.insert(0, {str(site)!r}); {resolve}; print(*sys.modules)"
    command = [sys.executable, "-c", lines]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "edgeslm.store.remembered" in done.stdout.split()
    assert not {"importlib.metadata", "edgeslm.store.packages"} & set(done.stdout.split())


@pytest.mark.parametrize("installer", ["dist-info", "egg-info", "archive"])
def test_what_is_remembered_of_the_path_changes_with_its_packages(tmp_path, monkeypatch, installer):
    place = tmp_path / "place"
    monkeypatch.syspath_prepend(str(place))
    stamps = [announcements_stamp()]
    if installer == "archive":
        for content in (b"one", b"another"):
            place.write_bytes(content)
            stamps.append(announcements_stamp())
    else:
        record = place / f"acme-1.{installer}"
        record.mkdir(parents=True)
        assert announcements_stamp() == stamps[0]  # it announces nothing yet
        for content in ("[edgeslm.models]\n", "[edgeslm.models]\na = b\n"):
            (record / "entry_points.txt").write_text(content)
            stamps.append(announcements_stamp())
        other = place / f"acme-2.{installer}"
        record.rename(other)
        stamps.append(announcements_stamp())
    assert all(stamps.count(stamp) == 1 for stamp in stamps)
    assert announcements_stamp() == stamps[-1]


def test_another_version_of_the_package_is_found(site, sorter, tmp_path):
    packed(site, sorter)
    Store().resolve("acme-sorter")
    newer = write_tiny_gguf(
        tmp_path / "newer.gguf", seed=9, card=Card.from_dict(CARD, where="card")
    )
    for path in (site / "acme_sorter-1.2.dist-info").iterdir():
        path.unlink()
    (site / "acme_sorter-1.2.dist-info").rmdir()
    placed = packed(site, newer, version="2")
    assert Store().resolve("acme-sorter") == placed
    assert placed.read_bytes() == newer.read_bytes()


def test_a_package_that_goes_is_not_remembered(site, sorter):
    packed(site, sorter)
    Store().resolve("acme-sorter")
    (site / "acme_sorter-1.2.dist-info" / "entry_points.txt").unlink()
    (site / "acme_sorter-1.2.dist-info" / "METADATA").rename(site / "METADATA")
    with pytest.raises(ModelNotFoundError):
        Store().resolve("acme-sorter")


@pytest.mark.parametrize("place", ["site-packages", "added"])
def test_a_second_package_counts_also_where_the_name_was_loaded(
    site, sorter, tmp_path, monkeypatch, place
):
    packed(site, sorter)
    Store().resolve("acme-sorter")
    bring_twice(site, tmp_path / place)
    monkeypatch.syspath_prepend(str(tmp_path / place))
    for look_up in (Store().resolve, Store().verify, locate, edgeslm.load):
        with pytest.raises(RegistryError, match="two packages"):
            look_up("acme-sorter")


def test_a_package_off_the_path_is_forgotten(site, sorter, tmp_path, monkeypatch):
    added = tmp_path / "added"
    added.mkdir()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(added))
        placed = packed(added, sorter)
        assert Store().resolve("acme-sorter") == placed
        assert Store().is_from_package("acme-sorter")
    with pytest.raises(ModelNotFoundError):
        Store().resolve("acme-sorter")
    assert not Store().is_from_package("acme-sorter")


def test_a_name_that_its_package_no_longer_announces_is_forgotten(site, sorter):
    packed(site, sorter)
    Store().resolve("acme-sorter")
    (site / "acme_sorter-1.2.dist-info" / "entry_points.txt").write_text("[edgeslm.models]\n")
    with pytest.raises(ModelNotFoundError):
        Store().resolve("acme-sorter")


def test_a_pull_of_a_packaged_model_verifies_and_tries_it(site, sorter):
    placed = packed(site, sorter)
    tried = []
    assert install("acme-sorter", prove=tried.append) == placed
    assert tried == [placed]
    zero_a_part(placed)
    with pytest.raises(ModelFileError, match="damaged"):
        install("acme-sorter", prove=prove)


def zero_a_part(path: Path) -> None:
    """Damage that keeps the size."""
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))


# --- adapters -------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path) -> tuple[Path, Path, Path]:
    """A base, an adapter for it, and the file that they are together."""
    base = write_tiny_gguf(tmp_path / "base.gguf", quant="Q8_0")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((4, 64), (64, 4)))
    draft, adapter, made = (tmp_path / f"{name}.gguf" for name in ("draft", "adapter", "made"))
    write_adapter(draft, Adapter("llama", 4.0, {"blk.0.attn_q.weight": Factors(a, b)}, {}))
    quantization = Quantization(file_type="Q4_0")
    seal(base, draft, adapter, made, quantization=quantization, card=Card.from_dict(CARD, where=""))
    return base, adapter, made


def test_an_adapter_is_packaged_only_with_the_package_of_its_base(site, sealed):
    base, adapter, _ = sealed
    with pytest.raises(EdgeslmError, match=r"no package .* base .*edgeslm model package BASE"):
        package([adapter], "acme-sorter", out=site.parent)
    packed(site, base, "acme-base", version="3", licence="MIT")
    packed(site, adapter)
    metadata = (site / "acme_sorter-1.2.dist-info" / "METADATA").read_text()
    assert "Requires-Dist: acme-base==3\n" in metadata
    assert "Requires-Dist: edgeslm-core[llama]>=0.1.0\n" in metadata


def test_a_packaged_adapter_is_assembled_at_its_first_load(site, sealed, monkeypatch):
    base, adapter, made = sealed
    packed(site, base, "acme-base", version="3", licence="MIT")
    packed(site, adapter)
    with pytest.raises(ModelNotPulledError):
        Store().resolve("acme-sorter")
    with edgeslm.load("acme-sorter") as model:
        assert model.card.name == "sorter"
    assert Store().resolve("acme-sorter").read_bytes() == made.read_bytes()
    monkeypatch.setattr("edgeslm.store.install.install", lambda *_, **__: pytest.fail("again"))
    assert locate("acme-sorter") == Store().resolve("acme-sorter")


def test_a_base_beside_its_adapter_must_have_a_card(sealed, tmp_path):
    base, adapter, _ = sealed
    with pytest.raises(ArgumentError, match="must have a card"):
        package([base, adapter], "acme", version="1", licence="MIT", out=tmp_path)
    assert not list(tmp_path.glob("*.whl"))


def test_an_adapter_whose_base_is_elsewhere_says_what_to_run(site, sealed):
    base, adapter, _ = sealed
    packed(site, base, "acme-base", version="3", licence="MIT")
    packed(site, adapter)
    registry = Registry(
        {
            "acme-base": Entry(
                name="acme-base",
                source="https://localhost/base.gguf",
                sha256=hashlib.sha256(base.read_bytes()).hexdigest(),
                licence="MIT",
            )
        }
    )
    assert registry.packaged("acme-base") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "load", classmethod(lambda _: registry))
        with pytest.raises(ModelNotPulledError, match="its base acme-base is not on this device"):
            edgeslm.load("acme-sorter")


def test_an_adapter_says_which_package_of_its_base_is_missing(site, sealed):
    base, adapter, _ = sealed
    packed(site, base, "acme-base", version="3", licence="MIT")
    packed(site, adapter)
    folder, note = site / "edgeslm_model_acme_base", site / "acme_base-3.dist-info"
    note.rename(site / "gone")
    for bring in (edgeslm.load, lambda name: install(name, prove=lambda _: None)):
        with pytest.raises(RegistryError, match=r"pip install acme-base==3$"):
            bring("acme-sorter")
    # its name is one of models.toml, and its file would come from a package index
    entry = Entry(
        name="acme-base",
        source="pypi:acme-base==3/edgeslm_model_acme_base/acme-base.gguf",
        sha256=hashlib.sha256(base.read_bytes()).hexdigest(),
        licence="MIT",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "load", classmethod(lambda _: Registry({"acme-base": entry})))
        words = r"needs the package acme-base==3: run `pip install acme-base==3`, or `edgeslm pull"
        for _ in range(2):
            with pytest.raises(ModelNotPulledError, match=words):
                edgeslm.load("acme-sorter")
            for record in site.glob("acme_sorter-*/METADATA"):  # as in a checkout
                record.write_text("Metadata-Version: 2.1\nName: acme-sorter\nVersion: 1.2\n")
    assert folder.is_dir()


def test_a_packaged_model_is_removed_with_its_package(site, sorter):
    packed(site, sorter)
    with pytest.raises(ModelNotFoundError, match=r"was pulled; .*pip uninstall acme-sorter$"):
        Store().remove("acme-sorter")
    with pytest.raises(ModelNotFoundError, match="was pulled; see `edgeslm models`"):
        Store().remove("acme-other")


def test_what_was_assembled_is_removed_and_its_package_named(site, sealed, capsys, monkeypatch):
    base, adapter, _ = sealed
    packed(site, base, "acme-base", version="3", licence="MIT")
    packed(site, adapter)
    for people in (False, True):
        monkeypatch.setattr("edgeslm.cli.model.for_people", lambda _, people=people: people)
        edgeslm.load("acme-sorter").close()
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["model", "rm", "acme-sorter"])
        said = capsys.readouterr()
        assert ("pip uninstall acme-sorter" in said.out + said.err) == people
        assert people or json.loads(said.out)["package"] == "acme-sorter"


def test_a_newer_adapter_is_assembled_anew_and_a_rollback_stays(site, sealed, tmp_path):
    base, adapter, _ = sealed
    packed(site, base, "acme-base", version="3", licence="MIT")
    packed(site, adapter)
    first = locate("acme-sorter")
    other = tmp_path / "other"
    other.mkdir()
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((4, 64), (64, 4)))
    draft, newer, whole = (other / f"{name}.gguf" for name in ("draft", "newer", "whole"))
    write_adapter(draft, Adapter("llama", 4.0, {"blk.0.attn_q.weight": Factors(a, b)}, {}))
    seal(
        *(base, draft, newer, whole),
        quantization=Quantization(file_type="Q4_0"),
        card=Card.from_dict(CARD, where=""),
    )
    packed(site, newer)
    second = locate("acme-sorter")
    assert second.read_bytes() == whole.read_bytes()
    assert Store().rollback("acme-sorter") == first
    assert locate("acme-sorter") == first


# --- what makes a package -------------------------------------------------------


def test_the_same_file_gives_the_same_bytes(sorter, tmp_path):
    wheels = [package([sorter], "acme-sorter", out=tmp_path / name) for name in ("one", "two")]
    first, second = (wheel.read_bytes() for wheel in wheels)
    assert first == second
    assert [wheel.name for wheel in wheels] == ["acme_sorter-1.2-py3-none-any.whl"] * 2


def test_the_list_of_files_has_their_hashes(sorter, tmp_path):
    with zipfile.ZipFile(package([sorter], "acme-sorter", out=tmp_path)) as archive:
        names = set(archive.namelist())
        rows = archive.read("acme_sorter-1.2.dist-info/RECORD").decode().splitlines()
        assert {row.split(",")[0] for row in rows} == names
        assert not [name for name in names if name.endswith(".py")]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Acme Sorter", {}, "name"),
        ("../acme", {}, "name"),
        ("acme\nLicense: none", {}, "name"),
        ("smollm2-135m", {}, "is a name of models.toml"),
        ("acme", {"version": "first"}, "version 'first'"),
        ("acme", {"version": "1\nx"}, "version"),
    ],
)
def test_names_and_versions_that_cannot_be_are_refused(
    sorter, tmp_path, monkeypatch, name, options, words
):
    monkeypatch.setattr("edgeslm.store.package.file_sha256", lambda *_: pytest.fail("hashed"))
    with pytest.raises(ArgumentError, match=words):
        package([sorter], name, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["edgeslm", "edgeslm-core", "edgeslm.train", "edgeslm_specialists", "numpy", "click"]
)
def test_a_name_of_what_edgeslm_is_made_of_is_refused(sorter, tmp_path, name):
    with pytest.raises(ArgumentError, match="made of or requires"):
        package([sorter], name, out=tmp_path / "out")


def test_a_name_of_an_installed_package_of_other_models_is_refused(
    site, sorter, tmp_path, monkeypatch
):
    packed(site, sorter)
    other = write_tiny_gguf(
        tmp_path / "other.gguf", seed=5, card=Card.from_dict(CARD, where="card")
    )
    package([other], "acme-sorter", version="2", out=tmp_path)
    longer = tmp_path / "longer.gguf"
    longer.write_bytes(other.read_bytes() + b"0")
    bring_twice(site, site)
    with pytest.raises(ArgumentError, match=r"installed package other-sorter.*pip uninstall"):
        package([other], "acme-sorter", version="3", out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("edgeslm.store.package.file_sha256", lambda *_: pytest.fail("hashed"))
        with pytest.raises(ArgumentError, match=r"installed package other-sorter.*pip uninstall"):
            package([longer], "acme-sorter", version="3", out=tmp_path)
    with pytest.raises(ArgumentError, match="is the name of an installed package"):
        package([other], "other-sorter", out=tmp_path)


def test_messages_speak_of_what_is_wrong(sorter, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeslm.store.package.file_sha256", lambda *_: pytest.fail("hashed"))
    with pytest.raises(ArgumentError, match="must come with --version"):
        package([sorter, sorter], "acme", out=tmp_path)
    with pytest.raises(ArgumentError, match=r"^'Acme Router' is no name .* a-z"):
        package([sorter], "Acme Router", out=tmp_path)
    for out in (sorter, sorter / "below"):
        with pytest.raises(EdgeslmError, match=f"^{re.escape(str(out))}: .*is not a folder"):
            package([sorter], "acme", out=out)


def test_a_licence_that_no_file_would_get_is_refused(sorter, tmp_path):
    with pytest.raises(ArgumentError, match=r"licence in its card is MIT, not GPL-3\.0"):
        package([sorter], "acme-sorter", licence="GPL-3.0", out=tmp_path)
    bare = write_tiny_gguf(tmp_path / "bare.gguf")
    assert package([sorter], "acme-sorter", licence="MIT", out=tmp_path)
    assert package([bare], "acme-base", licence="GPL-3.0", version="1", out=tmp_path)


def test_messages_call_a_packaged_model_as_its_caller_does(site, sorter, capsys):
    packed(site, sorter, "acme-sorter")
    with edgeslm.load("acme-sorter") as model:
        assert model.card.name == "sorter"
        for wrong in (lambda: model.classifier(["x", "y"]), lambda: model.extractor({})):
            with pytest.raises(EdgeslmError, match=r"^acme-sorter was"):
                wrong()
    with pytest.raises(SystemExit):
        main(["show", "acme-sorter"])
    assert json.loads(capsys.readouterr().out)["model"] == "acme-sorter"


def test_what_is_no_model_is_refused(tmp_path):
    bare = write_tiny_gguf(tmp_path / "bare.gguf")
    with pytest.raises(ArgumentError, match="--licence"):
        package([bare], "acme-bare", version="1", out=tmp_path)
    with pytest.raises(ModelNotFoundError, match="no such file"):
        package([tmp_path / "none.gguf"], "acme", version="1", out=tmp_path)
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(ModelFileError):
        package([tmp_path / "text.gguf"], "acme", version="1", out=tmp_path)
    draft = tmp_path / "draft.gguf"
    rank = np.ones((4, 64), np.float32)
    write_adapter(draft, Adapter("llama", 4.0, {"blk.0.attn_q.weight": Factors(rank, rank.T)}, {}))
    with pytest.raises(CardError, match="must have a card"):
        package([draft], "acme", version="1", out=tmp_path)


def test_the_command_says_what_to_do_next(sorter, tmp_path):
    command = [sys.executable, "-m", "edgeslm", "model", "package", str(sorter)]
    done = subprocess.run(
        [*command, "--name", "acme-sorter", "--out", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wheel = json.loads(done.stdout)["wheel"]
    assert Path(wheel).is_file()
