"""What a shell completes: commands, options, choices and names of models, quickly, in silence."""

import json
import os
import subprocess
import sys

import pytest

from edgeslm.cli.tree import TREE
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.glance import task_kind
from tests.helpers.tiny_gguf import write_tiny_gguf
from tests.helpers.tiny_onnx import LABELS, write_tiny_onnx
from tests.helpers.tiny_onnx import card as onnx_card

#: completes as bash asks for it, then names what was imported for that, on stderr
PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*{name.split(".")[0] for name in sys.modules}, file=sys.stderr))
from edgeslm.cli.main import main
main()
"""
HEAVY = {"numpy", "llama_cpp", "onnxruntime", "llguidance", "jinja2"}
#: what `extract` and `classify` are completed without; other commands import it for their tables
HEAVIER = {"pydantic", "rich"}


@pytest.fixture
def complete(tmp_path, monkeypatch):
    """Completes the last of some words, as bash asks for it."""
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    registry = tmp_path / "own.toml"
    registry.write_text(
        '[[model]]\nname = "my-reader"\nsource = "file:my.gguf"\nsha256 = "unverified"\n'
        'licence = "MIT"\n'
    )

    def run(*words, models=registry):
        asked = {
            "_EDGESLM_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("edgeslm", *words)),
            "COMP_CWORD": str(len(words)),
            "EDGESLM_MODELS": str(models),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        *noise, loaded = done.stderr.splitlines()
        assert noise == []
        assert not HEAVY & set(loaded.split())
        assert words[0] in {"show", "eval", "bench", "pull", "doctor", "model"} or not (
            HEAVIER & set(loaded.split())
        )
        return done.stdout.split()

    return run


def test_commands_and_options(complete):
    top = [name for name, command in TREE.items() if command.place and " " not in name]
    assert complete("") == [f"plain,{name}" for name in top]
    assert complete("ex") == ["plain,extract"]
    assert complete("model", "ro") == ["plain,rollback"]
    assert "plain,--schema" in complete("extract", "m", "--sch")
    assert complete("extract", "m", "--on-budget", "r") == ["plain,raise"]


def test_names_of_models_those_of_registries_and_the_pulled_ones(complete, tmp_path):
    for command in ("extract", "classify", "show", "eval", "bench", "pull", "doctor"):
        assert complete(command, "my-") == ["plain,my-reader"], command


def test_models_are_offered_where_their_cards_have_the_task(complete, tmp_path):
    home = tmp_path / "home" / "models"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    heads = [{"name": "area", "labels": list(LABELS)}, {"name": "tone", "labels": ["a", "b"]}]
    language = {
        "my-extractor": {"kind": "extract", "json_schema": schema},
        "my-writer": {"kind": "generate", "json_schema": schema},
        "my-sorter": {"kind": "classify", "labels": list(LABELS)},
        "my-bare": None,
    }
    encoders = {"my-encoder": {}, "my-tagger": {"task": {"kind": "tag", "heads": heads}}}
    for number, name in enumerate([*language, *encoders]):
        (home / name).mkdir(parents=True)
        suffix = ".onnx" if name in encoders else ".gguf"
        path = home / name / f"{number:064}{suffix}"
        if name in encoders:
            write_tiny_onnx(path, onnx_card(**encoders[name]))
        else:
            whole = {"name": name, "licence": "mit", "task": language[name]}
            own = Card.from_dict(whole, where="test") if language[name] else None
            write_tiny_gguf(path, card=own)
        version = {"sha256": f"{number:064}", "size": 1, "suffix": suffix, "source": "file:a.gguf"}
        (home / name / "state.json").write_text(json.dumps({"format": 1, "current": version}))

    def offered(command):
        return {line.removeprefix("plain,my-") for line in complete(command, "my-")}

    assert offered("tag") == {"tagger"}
    assert offered("classify") == {"bare", "encoder", "reader", "sorter"}
    assert offered("extract") == {"bare", "extractor", "reader", "writer"}
    assert len(offered("show")) == 7
    assert {"plain,support-intents-mini"} == set(complete("classify", "support-intents-m"))
    assert complete("tag", "support-intents-m") == ["file,support-intents-m"]


@pytest.mark.parametrize("suffix", [".gguf", ".onnx"])
def test_a_file_without_a_card_that_can_be_read_has_no_kind(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    card = Card.from_dict(
        {"name": "a", "licence": "mit", "task": {"kind": "classify", "labels": list(LABELS)}},
        where="test",
    )
    whole = write_tiny_gguf(path, card=card) if suffix == ".gguf" else write_tiny_onnx(path)
    data = whole.read_bytes()
    assert task_kind(path) == "classify"
    key = data.rindex(CARD_KEY.encode())
    for damaged in (b"", data[: key + 12], data[: key + 30], data[:key] + b"\xff" * 99):
        path.write_bytes(damaged)
        assert task_kind(path) is None
    assert task_kind(tmp_path / "none.gguf") is None


def test_what_can_be_removed_or_rolled_back_is_what_was_pulled(complete, tmp_path):
    for command in ("rm", "rollback"):
        assert complete("model", command, "") == []
        assert complete("model", command, "my-") == []  # of a registry, and not pulled
    version = {"sha256": "0" * 64, "size": 1, "suffix": ".gguf", "source": "file:a.gguf"}
    for name, more in (("my-one", {}), ("my-two", {"previous": version}), ("my-worn", None)):
        folder = tmp_path / "home" / "models" / name
        folder.mkdir(parents=True)
        state = "?" if more is None else json.dumps({"format": 1, "current": version, **more})
        (folder / "state.json").write_text(state)
    names = ["plain,my-one", "plain,my-two", "plain,my-worn"]
    assert complete("model", "rm", "my-") == names
    assert complete("model", "rm", "my-one", "my-") == names[1:]
    assert complete("model", "rollback", "") == ["plain,my-two"]


def test_paths_where_no_name_begins_so(complete, tmp_path):
    write_tiny_gguf(tmp_path / "other.gguf")
    assert complete("show", "./o") == ["file,./o"]
    assert complete("show", "zzz") == ["file,zzz"]


def test_a_registry_that_cannot_be_read_completes_nothing_and_says_nothing(complete, tmp_path):
    (tmp_path / "broken.toml").write_text("[[[")
    assert complete("show", "my-", models=tmp_path / "broken.toml") == ["file,my-"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_are_given_a_script(shell):
    asked = {**os.environ, "_EDGESLM_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "edgeslm"]
    done = subprocess.run(command, env=asked, capture_output=True, text=True, check=False)
    assert f"_EDGESLM_COMPLETE={shell}_complete" in done.stdout
    assert done.stderr == ""
