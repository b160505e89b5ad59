"""What `python -m converters` tells: progress in lines, results as JSON, help with examples"""

from __future__ import annotations

import json

from click.testing import CliRunner

from converters import __main__ as command
from converters.training.history import Evaluation, History
from converters.work import STEPS, Work
from tests.helpers.recipes import classify


def test_every_step_has_help_with_an_example():
    for name in ("build", *STEPS):
        found = CliRunner().invoke(command.cli, [name, "--help"])
        assert found.exit_code == 0
        assert f"python -m converters {name} " in found.output
    assert all(step in CliRunner().invoke(command.cli, ["--help"]).output for step in STEPS)
    assert CliRunner().invoke(command.cli, ["build"]).exit_code == 2


def test_each_step_tells_its_result_as_one_json_line(tmp_path, capsys):
    work = Work(classify("a.jsonl", labels=["a", "b"]), tmp_path, tmp_path, tmp_path)
    history = History(9, [(1, 2.0)], [Evaluation(1, 2.0, 0.5, 0.25, 8)], tokens=100, seconds=4.0)
    tell = command._teller(work, as_json=True)
    tell("train", None)
    tell("train", history)
    tell("pack", [work.model])
    out, err = capsys.readouterr()
    assert err == "made-up: train\n"
    train, pack = map(json.loads, out.splitlines())
    assert (train["steps"], train["tokens_per_second"]) == (9, 25.0)
    best = {"step": 1, "loss": 2.0, "tokens": 0.5, "answers": 0.25, "count": 8}
    assert train["best"] == best
    assert pack == {"step": "pack", "files": [str(work.model)]}
