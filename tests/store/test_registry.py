"""The registry: the forms of a source, what an entry may hold, which file wins, near names."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from edgeslm.errors import ModelNotFoundError, RegistryError
from edgeslm.store import entry as entries_of
from edgeslm.store import places
from edgeslm.store.entry import (
    Entry,
    FileSource,
    HubSource,
    PypiSource,
    UrlSource,
    parse_source,
    read_registry,
)
from edgeslm.store.registry import Registry

ENTRY = """[[model]]
name = "a"
source = "hf:o/r/a.gguf@main"
sha256 = "unverified"
licence = "MIT"
"""


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    path = tmp_path / "config" / "models.toml"
    path.parent.mkdir()
    monkeypatch.setattr(places, "user_registry", lambda: path)
    monkeypatch.delenv("EDGESLM_MODELS", raising=False)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:o/r/f.gguf@main", HubSource("o/r", "f.gguf", "main")),
        ("hf:o/r/f.gguf", HubSource("o/r", "f.gguf", "main")),
        ("hf:o/r-1.2_x/sub/f.Q4_0.GGUF@v1.0", HubSource("o/r-1.2_x", "sub/f.Q4_0.GGUF", "v1.0")),
        ("hf:o/r/f.onnx@refs/pr/1", HubSource("o/r", "f.onnx", "refs/pr/1")),
        ("pypi:a-b==1.2.post1/a/b.gguf", PypiSource("a-b", "1.2.post1", "a/b.gguf")),
        ("https://h.example/p/f.gguf?x=1", UrlSource("https://h.example/p/f.gguf?x=1")),
        ("http://localhost:8000/f.gguf", UrlSource("http://localhost:8000/f.gguf")),
        ("file:/m/f.gguf", FileSource(Path("/m/f.gguf"))),
        ("m/f.gguf", FileSource(Path("m/f.gguf"))),
        ("C:/m/f.gguf", FileSource(Path("C:/m/f.gguf"))),
    ],
)
def test_every_form_of_a_source_is_read(text, source):
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        *("hf:o/f.gguf@main", "hf:o/r/f.bin", "hf:o/r/f.gguf@", "hf:o/r/f.gguf@a b"),
        *("hf:o/r\\f.gguf", "hf:o r/x/f.gguf"),
        *("pypi:a/b.gguf", "pypi:a==1", "pypi:a==1 --index-url x/b.gguf", "pypi:-r==1/b.gguf"),
        *("http://h.example/f.gguf", "http://localhost.evil.example/f.gguf"),
        *("https:///f.gguf", "https://h.example/f.zip", "https://h.example", "HTTPS:x.gguf"),
        "shipped:a.gguf",
        *("ftp://h.example/f.gguf", "s3:b/f.gguf", "f.zip", "file:f.bin", "a\x1b[2J.gguf"),
    ],
)
def test_other_sources_are_refused(text):
    with pytest.raises(ValueError):
        parse_source(text)


def test_shipped_entries_are_whole_and_the_demo_model_is_verified():
    entries = {entry.name: entry for entry in read_registry(places.own_registry())}
    assert entries["smollm2-135m"].sha256.startswith("b179c9523d0e6a0f")
    assert entries["smollm2-135m"].size == 98_362_432
    assert len(entries) >= 15
    assert all(entry.min_memory and entry.description for entry in entries.values())
    unpinned = [entry for entry in entries.values() if not entry.verified]
    assert all(isinstance(parse_source(entry.source), HubSource) for entry in unpinned)


ADAPTER = {"name": "a", "base": "b", "source": "a.gguf", "sha256": "0" * 64, "licence": "MIT"}
BASE = {"name": "b", "source": "b.gguf", "sha256": "1" * 64, "licence": "MIT"}


def test_an_adapter_has_the_base_that_it_names():
    adapter, base = Entry(**ADAPTER), Entry(**BASE)
    known = Registry({"a": adapter, "b": base})
    assert known.base_of(adapter) == base
    assert known.base_of(base) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "unverified"}, "that of the adapter"),
        ({"source": "a.onnx"}, r"end in \.gguf"),
        ({"base": "../b"}, "base"),
    ],
)
def test_an_adapter_is_a_gguf_known_by_its_hash(changes, words):
    with pytest.raises(ValueError, match=words):
        Entry(**{**ADAPTER, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "c"}, "no registry and no package has"),
        ({"base": "c"}, "adapter itself"),
        ({"sha256": "unverified"}, "sha256"),
        ({"source": "b.onnx"}, "no .gguf"),
    ],
)
def test_what_can_be_no_base_is_refused(changes, words):
    adapter, base = Entry(**ADAPTER), Entry(**{**BASE, **changes})
    with pytest.raises(RegistryError, match=f"a: .*'b'.*{words}"):
        Registry({"a": adapter, base.name: base}).base_of(adapter)


def test_the_wheel_carries_the_registry():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["models.toml"] == "edgeslm/models.toml"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('sh256 = "x"\n', ["'a'", "sh256"]),
        ('size = "3"\n', ["'a'", "size"]),
        ("size = true\n", ["size"]),
        ("size = 0\n", ["size"]),
        ("size = 99_999_999_999_999\n", ["size"]),
        ("min_memory = -1\n", ["min_memory"]),
        ('description = "\\u001b[2J"\n', ["description", "control"]),
    ],
)
def test_a_malformed_entry_names_file_entry_and_key(tmp_path, change, words):
    path = write(tmp_path / "m.toml", ENTRY + change)
    with pytest.raises(RegistryError) as error:
        read_registry(path)
    assert all(word in str(error.value) for word in [str(path), *words])


@pytest.mark.parametrize("name", ["A", "", "../x", "a/b", "a.", ".a", "con", "nul.1", "x" * 101])
def test_a_name_is_a_folder_name_on_every_system(name):
    with pytest.raises(ValueError):
        Entry(name=name, source="a.gguf", sha256="unverified", licence="MIT")


@pytest.mark.parametrize("sha256", ["", "B" * 64, "b" * 63, "b" * 65, "g" * 64, "unknown"])
def test_a_hash_is_whole_or_said_to_be_unverified(sha256):
    with pytest.raises(ValueError):
        Entry(name="a", source="a.gguf", sha256=sha256, licence="MIT")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[[model]\n", "not TOML"),
        (b"a = " + b"[" * 5000, "not TOML"),
        (b"a = " + b"1" * 4301, "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x = 1\n", "unknown key 'x'"),
        (b"[model]\nname = 'a'\n", "[[model]]"),
        (b"model = [1]\n", "model 1"),
        ((ENTRY + ENTRY).encode(), "given twice: a"),
        (b"#" * (entries_of.MAX_REGISTRY_BYTES + 1), "larger than the"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path, content, words):
    path = tmp_path / "m.toml"
    path.write_bytes(content)
    with pytest.raises(RegistryError) as error:
        read_registry(path)
    assert str(path) in str(error.value)
    assert words in str(error.value)


def test_later_files_win_by_name(tmp_path, user_file, monkeypatch):
    write(user_file, ENTRY.replace("MIT", "user") + ENTRY.replace('"a"', '"b"'))
    first = write(tmp_path / "1.toml", ENTRY.replace("MIT", "first"))
    second = write(tmp_path / "2.toml", ENTRY.replace("MIT", "second"))
    assert Registry.load().get("a").licence == "user"
    monkeypatch.setenv("EDGESLM_MODELS", os.pathsep.join([str(first), str(second)]))
    loaded = Registry.load()
    assert loaded.get("a").licence == "second"
    assert loaded.get("b").licence == "MIT"
    assert loaded.get("smollm2-135m").verified


def test_a_named_registry_that_is_not_there_is_an_error(tmp_path, user_file, monkeypatch):
    monkeypatch.setenv("EDGESLM_MODELS", str(tmp_path / "none.toml"))
    with pytest.raises(RegistryError, match=r"none\.toml.*EDGESLM_MODELS"):
        Registry.load()


def test_a_relative_path_is_taken_from_the_registry_that_has_it(tmp_path):
    text = ENTRY.replace("hf:o/r/a.gguf@main", "file:sub/a.gguf")
    (entry,) = read_registry(write(tmp_path / "m.toml", text))
    assert parse_source(entry.source) == FileSource(tmp_path.resolve() / "sub" / "a.gguf")


@pytest.mark.parametrize(
    ("name", "near"), [("smolm2-135m", "smollm2-135m"), ("SMOLLM2-135M", "smollm2-135m")]
)
def test_an_unknown_name_suggests_near_ones(user_file, name, near):
    with pytest.raises(ModelNotFoundError, match=f"did you mean.*{near}"):
        Registry.load().get(name)


def test_a_far_name_points_to_the_list(user_file):
    with pytest.raises(ModelNotFoundError, match="edgeslm models"):
        Registry.load().get("zzzzzzzz")


@pytest.mark.parametrize(
    ("source", "suffix"),
    [
        ("hf:o/r/a.gguf@x.onnx", ".gguf"),
        ("https://h.example/a.ONNX?f=.gguf", ".onnx"),
        ("pypi:p==1/a.onnx", ".onnx"),
        ("a.GGUF", ".gguf"),
    ],
)
def test_the_ending_of_an_entry(source, suffix):
    entry = Entry(name="a", source=source, sha256="unverified", licence="MIT")
    assert entry.suffix == suffix
