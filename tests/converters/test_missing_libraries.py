"""Without the train extra: each command names what is missing for its kind, and the pip command"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from converters import __main__ as command
from converters import build
from converters.errors import MissingExtraError
from converters.steps.causal import CausalWork
from converters.steps.encoder import EncoderWork
from converters.steps.linear import LinearWork
from converters.work import STEPS
from edgeslm.formats.files import silent
from tests.helpers.recipes import write_jsonl

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"causal": CausalWork, "encoder": EncoderWork, "linear": LinearWork}
#: what the extra installs, as it is imported
EXTRA = (
    *("torch", "transformers", "peft", "sklearn", "scipy", "datasketch", "matplotlib"),
    *("onnx", "safetensors"),
)
COMMAND = "pip install 'edgeslm[train]'"
#: an interpreter in which some modules are not installed
WITHOUT = """
import sys
from importlib.machinery import PathFinder
class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else PathFinder.find_spec(name, path)
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
import runpy
runpy.run_module("converters", run_name="__main__")
"""


def write_recipe(folder: Path, kind: str) -> Path:
    write_jsonl(folder / "rows.jsonl", [{"text": "a", "label": "x"}])
    base = "" if kind == "linear" else 'base = "nowhere"'
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f"""
kind = "{kind}"
name = "made-up"
licence = "MIT"
{base}
task = {{ kind = "classify", labels = ["x", "y"] }}
data.label = "label"
data.files = [{{ path = "rows.jsonl", url = "https://example.org", licence = "MIT" }}]
examples = [{{ input = "a", expected = "x" }}]
""",
        encoding="utf-8",
    )
    return recipe


@pytest.fixture(params=[*KINDS])
def recipe(request: Any, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, request.param)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name in names else find(name, *more)
    )


@pytest.mark.parametrize("arguments", [["build"], ["build", "--dry-run"], *([s] for s in STEPS)])
def test_every_command_names_what_is_missing_and_the_pip_command(
    recipe, arguments, tmp_path, monkeypatch, capsys
):
    without(monkeypatch, *EXTRA)
    name, *options = arguments
    line = ["converters", name, str(recipe), "--data", str(tmp_path), "--work", str(tmp_path / "w")]
    monkeypatch.setattr(sys, "argv", [*line, *options])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == MissingExtraError.exit_code
    err = capsys.readouterr().err
    assert "sklearn" in err and COMMAND in err
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("kind", "library"), [(kind, name) for kind, work in KINDS.items() for name in work.libraries]
)
def test_each_library_of_a_kind_is_missed_before_anything_runs(
    kind, library, tmp_path, monkeypatch
):
    without(monkeypatch, library)
    with pytest.raises(MissingExtraError, match=library):
        build.open_work(write_recipe(tmp_path, kind), tmp_path, tmp_path / "w")


def test_where_nothing_of_the_extra_is_installed_there_is_no_traceback(recipe, tmp_path):
    code = WITHOUT.format(blocked=EXTRA)
    done = subprocess.run(
        [sys.executable, "-c", code, "build", str(recipe), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == MissingExtraError.exit_code, done.stderr
    assert COMMAND in done.stderr and "Traceback" not in done.stderr


def test_a_library_that_is_there_but_broken_says_to_install_it_again(tmp_path, monkeypatch):
    work = build.open_work(write_recipe(tmp_path, "linear"), tmp_path, tmp_path / "w")

    def broken(*_: Any) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file", name="sklearn.utils")

    monkeypatch.setattr("converters.steps.linear.data", broken)
    with pytest.raises(MissingExtraError, match=r"sklearn cannot be imported: libgomp.*reinstall"):
        build.run_step(work, "data", silent)
