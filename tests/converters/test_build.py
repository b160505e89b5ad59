"""Builds: a whole one end to end, what a change runs again, and what is in the way of one"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  loaded before the fixture that holds it to one thread
from filelock import FileLock

import edgeslm
from converters import __main__ as command
from converters import build
from converters.errors import GateError
from converters.recipe.recipe import Recipe
from converters.steps import causal
from converters.work import STEPS, Work
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.store.assemble import assemble
from tests.helpers.recipes import write_jsonl, write_sorted_words
from tests.helpers.tiny_gguf import write_tiny_gguf
from tests.helpers.tiny_hf import converting_here

pytestmark = pytest.mark.slow  # a build is a dozen seconds

LABELS = ["refund", "address", "total"]
WORDS = ["all", "are", "not", "you", "for", "the", "and", "her", "con", "per", "pro", "com"]
RECIPE = """
name = "made-up"
licence = "Apache-2.0"
base = "{base}"
serve_as = ["file", "adapter"]
[task]
kind = "classify"
labels = ["refund", "address", "total"]
[[data.files]]
path = "rows.jsonl"
url = "https://example.org/rows"
licence = "MIT"
[data]
label = "label"
near_duplicate = 1
[data.split]
gold = 0.25
development = 0.15
[lora]
rank = 4
layers = 1
[train]
epochs = 12
learning_rate = 1e-2
evaluations = 2
[quantize]
types = ["Q8_0"]
[gates]
max_drop = 100
beat_baselines = false
[[examples]]
input = "you are refund not"
expected = "refund"
"""


def write_project(folder: Path) -> Path:
    """Base, data and recipe in a folder; returns the recipe."""
    base = write_tiny_gguf(folder / "base.gguf", n_ctx=512, tied=True)
    write_sorted_words(folder / "rows.jsonl", 240, WORDS, LABELS, length=6)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(base=base.as_posix()), encoding="utf-8")
    return recipe


def run(capsys: Any, *arguments: Any) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m converters`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["converters", *map(str, arguments)])
        try:
            command.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


def options(project: Path) -> list[Any]:
    return [project, "--data", project.parent, "--work", project.parent / "build"]


@pytest.fixture(scope="module")
def built(project: Path) -> Work:
    """The whole build, once for this file."""
    work = build.open_work(project, project.parent, project.parent / "build")
    with converting_here():
        ran = build.build(work, lambda *_: None)
    assert ran == list(STEPS)
    return work


def needed(work: Work, **changes: Any) -> list[str]:
    """The steps that would run with other values in the recipe's tables."""
    fields = work.recipe.model_dump(mode="json", by_alias=True)
    for name, value in changes.items():
        fields[name] = {**fields[name], **value} if isinstance(value, dict) else value
    changed = dataclasses.replace(work, recipe=Recipe.model_validate(fields))
    return [step for step in STEPS if changed.needs(step) is not None]


# --- end to end ---------------------------------------------------------------


def test_what_is_built_answers_and_is_made_again_from_its_adapter(built, tmp_path):
    with edgeslm.load(built.model) as model:
        card = model.card
        classify = model.classifier()
        answers = [classify(f"all the {label} you") for label in LABELS]
    assert [one.label for one in answers] == LABELS
    assert card is not None
    assert (card.name, card.licence) == ("made-up", "Apache-2.0")
    assert card.calibration is not None
    assert card.proven_as == ("file", "adapter")
    assert {score.metric for score in card.scores} >= {"accuracy", "accuracy, as adapter"}
    assert card.provenance is not None
    assert card.provenance.sources == ("https://example.org/rows (MIT)",)
    target = assemble(built.base, built.adapter, tmp_path / "made-up.gguf")
    assert target.read_bytes() == built.model.read_bytes()
    assert read_gguf(built.model).vocab_size == read_gguf(built.base).vocab_size
    with edgeslm.load(built.base) as base:
        classify = base.adapter(built.adapter).classifier()
        assert [classify(f"all the {label} you").label for label in LABELS] == LABELS


def test_a_build_leaves_its_reports_and_nothing_half_written(built):
    names = {file.name for file in built.folder.rglob("*")}
    assert {"report.md", "report.png", "loss.png", "history.json", "verify.json"} <= names
    assert not [name for name in names if name.endswith(".part")]
    verdict = json.loads((built.folder / "verify.json").read_text(encoding="utf-8"))
    assert verdict["passed"] is True


def test_a_second_build_has_nothing_to_do(built, project, capsys, monkeypatch):
    for step in STEPS:
        monkeypatch.setattr(causal, step, lambda *_: pytest.fail("a step ran"))
    code, out, err = run(capsys, "build", *options(project))
    start, end = map(json.loads, out.splitlines())
    assert (code, err) == (0, "")
    assert start["steps"] == list(STEPS)
    assert end == {"event": "end", "ran": [], "model": str(built.model)}


# --- what a change runs again -------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, None),
        ({"description": "other words"}, "pack"),
        ({"version": "2"}, "pack"),
        ({"gates": {"min_score": 0.1}}, "verify"),
        ({"serve_as": ["file"]}, "verify"),
        ({"examples": [{"input": "total", "expected": "total"}]}, "verify"),
        ({"gates": {"max_drop": 1.0}}, "quantize"),
        ({"quantize": {"embeddings": "F16"}}, "quantize"),
        ({"lora": {"rank": 8}}, "train"),
        ({"train": {"seed": 1}}, "train"),
        ({"prompt": {"system": "Sort this."}}, "train"),
        ({"data": {"augment": {"drop_part": 0.5}}}, "train"),
        ({"data": {"min_confidence": 0.5}}, "data"),
    ],
)
def test_a_changed_key_runs_its_step_and_those_behind_it(built, changes, first):
    expected = [] if first is None else list(STEPS[STEPS.index(first) :])
    assert needed(built, **changes) == expected


def test_files_that_change_or_are_gone_are_seen(built, project, tmp_path):
    other = write_jsonl(tmp_path / "rows.jsonl", [{"text": "x", "label": "total"}])
    moved = dataclasses.replace(built, data_folder=other.parent)
    assert moved.needs("data") == moved.needs("pack") == "its inputs have changed"
    base = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    trained = dataclasses.replace(built, base=base)
    assert [step for step in STEPS if trained.needs(step)] == list(STEPS[1:])
    aside = built.candidate.with_name("elsewhere")
    built.candidate.rename(aside)
    try:
        assert needed(built) == ["quantize"]
        assert built.needs("quantize") == "candidate.gguf is missing"
    finally:
        aside.rename(built.candidate)


def test_folders_within_a_base_are_no_inputs(built, tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    folder = dataclasses.replace(built, base=tmp_path)
    before = folder.inputs("train")
    (tmp_path / "onnx").mkdir()
    assert folder.inputs("train") == before
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert folder.inputs("train") != before


def test_inputs_that_change_under_way_do_not_count_as_done(built, tmp_path, monkeypatch):
    work = dataclasses.replace(built, data_folder=tmp_path, folder=tmp_path / "work")
    write_jsonl(tmp_path / "rows.jsonl", [{"text": "x", "label": "total"}])

    def change(*_: Any) -> str:
        for path in work.results("data"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
        write_jsonl(tmp_path / "rows.jsonl", [{"text": "y", "label": "total"}])
        return "done"

    monkeypatch.setattr(causal, "data", change)
    build.run_step(work, "data", lambda *_: None)
    assert work.needs("data") == "its inputs have changed"


# --- what is in the way -------------------------------------------------------


def test_a_failed_gate_ends_the_build_and_nothing_is_packed(built, project, capsys, monkeypatch):
    from converters.gates.verify import Check, Verdict

    verdict = Verdict((Check("accuracy", False, 0.5, 0.9, "50 %, 90 % are wanted"),), ())
    monkeypatch.setattr(causal, "verify", lambda *_: verdict)
    monkeypatch.setattr(causal, "pack", lambda *_: pytest.fail("packed"))
    fields = built.recipe.model_dump(mode="json", by_alias=True)
    fields["gates"]["min_score"] = 0.9
    work = dataclasses.replace(built, recipe=Recipe.model_validate(fields))
    told: list[str] = []
    with pytest.raises(GateError, match="accuracy: 50 %, 90 % are wanted"):
        build.build(
            work,
            lambda *_: None,
            begins=told.append,
            ends=lambda step, _: told.append(f"{step} ended"),
        )
    assert told == ["verify", "verify ended"]
    work.begin("verify")
    build.build(built, lambda *_: None, until="quantize")
    monkeypatch.undo()
    code, out, _ = run(capsys, "verify", *options(project), "--json")
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    events = [event["event"] for event in told if event["event"] != "progress"]
    assert events == ["start", "begin", "verdict", "end"]
    assert built.needs("pack") == "not done yet"  # what it packed before was judged before
    assert run(capsys, "pack", *options(project))[0] == 0
    assert built.needs("pack") is None


def test_a_step_before_its_time_says_which_comes_first(project, tmp_path, capsys):
    for step, first in (("train", "data"), ("pack", "data")):
        code, _, err = run(
            capsys, step, project, "--data", project.parent, "--work", tmp_path / "new"
        )
        assert code == 1
        assert f"the {first} step comes first: not done yet" in err


def test_two_builds_at_once_are_refused(built, project, capsys):
    with FileLock(built.folder / ".lock"):
        code, _, err = run(capsys, "build", *options(project))
    assert code == 1
    assert "another build of it is under way" in err


def test_a_dry_run_says_what_would_run_and_writes_nothing(built, project, tmp_path, capsys):
    code, out, _ = run(capsys, "build", *options(project), "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["steps"] == dict.fromkeys(STEPS)
    assert sum(plan["rows"].values()) <= 240
    assert plan["tokens"] > 1000 and plan["seconds"] > 0 and plan["memory"] > 0
    empty = tmp_path / "none"
    code, out, _ = run(
        capsys, "build", project, "--data", project.parent, "--work", empty, "--dry-run"
    )
    plan = json.loads(out)
    assert code == 0
    assert plan["steps"] == dict.fromkeys(STEPS, "not done yet")
    assert plan["rows"] is plan["seconds"] is None
    assert not empty.exists()


def test_ctrl_c_is_130_and_the_step_is_not_done(project, tmp_path, capsys, monkeypatch):
    def interrupted(work: Work, _: Any) -> None:
        raise KeyboardInterrupt

    options = [project, "--data", project.parent, "--work", tmp_path]
    assert run(capsys, "data", *options)[0] == 0
    monkeypatch.setattr(causal, "train", interrupted)
    code, _, err = run(capsys, "build", *options)
    assert code == 130
    assert "interrupted" in err
    work = build.open_work(project, project.parent, tmp_path)
    assert work.needs("data") is None
    assert work.needs("train") == "not done yet"
    with FileLock(work.folder / ".lock", timeout=0):
        pass  # another build can begin


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (OSError(28, "No space left on device"), 1, "No space left"),
        (MemoryError("64 GB"), 8, "not enough memory: 64 GB; lower train.batch_rows"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 8, "lower train.batch_rows"),
    ],
)
def test_a_step_that_has_no_room_says_so(
    project, tmp_path, capsys, monkeypatch, problem, code, words
):
    def fail(*_: Any) -> None:
        raise problem

    monkeypatch.setattr(causal, "data", fail)
    options = [project, "--data", project.parent, "--work", tmp_path]
    status, _, err = run(capsys, "build", *options)
    assert status == code
    assert words in err


def test_what_is_missing_is_named(project, tmp_path, capsys):
    work = ["--work", tmp_path / "work"]
    code, _, err = run(capsys, "build", tmp_path / "no.toml", *work)
    assert code == 2 and "no.toml: cannot be read" in err
    code, _, err = run(capsys, "build", project, "--data", tmp_path / "no", *work)
    assert code == 2 and "no such folder; give the data's with --data FOLDER" in err
    code, _, err = run(capsys, "build", project, "--data", tmp_path, *work)
    assert code == 2 and "rows.jsonl: no such file; get it from https://example.org/rows" in err
    other = tmp_path / "base.toml"
    text = project.read_text(encoding="utf-8")
    other.write_text(text.replace("base.gguf", "gone.gguf"), encoding="utf-8")
    code, _, err = run(capsys, "build", other, "--data", project.parent, *work)
    assert code == 5 and "gone.gguf" in err
    other.write_text(text.replace("rank = 4", "ranks = 4"), encoding="utf-8")
    code, _, err = run(capsys, "build", other, "--data", project.parent, *work)
    assert code == 2 and "lora.ranks" in err
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _, err = run(
        capsys, "build", project, "--data", project.parent, "--work", tmp_path / "file"
    )
    assert code == 1 and "cannot be written" in err
