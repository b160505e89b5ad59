"""`edgeslm build`: a child on the training side, and what it tells in JSON lines."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from edgeslm import children
from edgeslm.cli import build
from edgeslm.cli.main import main
from tests.helpers.cli import on_terminal

EVENTS = [
    {"event": "start", "format": 1, "name": "r", "kind": "linear", "folder": "f", "steps": []},
    {"event": "begin", "step": "train"},
    {"event": "progress", "step": "train", "what": "training", "done": 1, "of": 4},
    {"event": "result", "step": "train", "result": {"accuracy": 0.9}},
    {
        "event": "verdict",
        "step": "verify",
        "result": {
            "checks": [
                {"name": "accuracy", "passed": True, "bound": 0.8, "words": "0.9\x1b[2J"},
                {"name": "speed", "passed": True, "bound": None, "words": "3 ms"},
            ]
        },
    },
    {"event": "end", "ran": ["train"], "model": "f/r.onnx"},
]
ERROR = {
    "event": "error",
    "step": "data",
    "exit_code": 4,
    "error": {"type": "InputError", "message": "no such file"},
}


@pytest.fixture
def run(capsys, monkeypatch):
    """Build with a child that prints some events: exit code, stdout, stderr, its arguments."""

    def call(*events, code=0, last="", arguments=("r.toml",)):
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        program = f"import sys; print({chr(10).join(lines)!r}); sys.stderr.write({last!r})"
        program += f"; sys.exit({code})"
        given = []

        def command(module, *more):
            given.extend((module, *more))
            return [sys.executable, "-c", program]

        monkeypatch.setattr(children, "child_command", command)
        with pytest.raises(SystemExit) as stopped:
            main(["build", *arguments])
        out, err = capsys.readouterr()
        return stopped.value.code, out, err, given

    return call


def test_events_are_passed_on_as_json_lines(run):
    code, out, err, given = run(*EVENTS)
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == EVENTS
    assert given == ["converters", "build", "r.toml", "--json"]


def test_options_reach_the_child(run):
    arguments = ("r.toml", "--data", "d", "--work", "w", "--until", "train", "--dry-run")
    given = run(*EVENTS, arguments=arguments)[3]
    assert given[1:4] == ["build", "r.toml", "--json"]
    assert given[4:] == ["--data", "d", "--work", "w", "--until", "train", "--dry-run"]


def test_people_are_told_in_words(run, monkeypatch):
    monkeypatch.setattr(build, "for_people", lambda _: True)
    code, out, err, _ = run("a library says this", *EVENTS)
    assert code == 0
    assert "passed  accuracy: 0.9\\x1b[2J" in out
    assert "noted   speed: 3 ms" in out
    assert "f/r.onnx is made; next: edgeslm show f/r.onnx" in out
    assert "library" not in out + err
    assert err.splitlines() == ["train", "  training"]


def test_a_plan_and_a_build_that_holds_are_told(run, monkeypatch):
    monkeypatch.setattr(build, "for_people", lambda _: True)
    plan = {"event": "plan", "name": "r", "steps": {"data": None, "train": "new"}}
    out = run({**plan, "rows": None, "seconds": None, "memory": None})[1]
    assert "data      holds" in out
    assert "train     would run: new" in out
    assert "known after the data step" in out
    assert "about 2 minutes and 1.5 GB here" in run({**plan, "seconds": 120, "memory": 1.5e9})[1]
    assert "nothing to do" in run({"event": "end", "ran": [], "model": None})[1]


def test_an_error_of_the_child_is_said_once_with_its_exit_code(run, monkeypatch):
    code, out, err, _ = run(ERROR, code=4)
    assert (code, err) == (4, "")
    assert json.loads(out)["error"]["message"] == "no such file"
    monkeypatch.setattr(build, "for_people", lambda _: True)
    code, out, err, _ = run(ERROR, code=4)
    assert (code, out, err) == (4, "", "error: no such file\n")


def test_a_child_that_dies_is_explained_by_its_last_words(run):
    code, out, err, _ = run("", code=3, last="noise\nMemoryError: much\n")
    assert (code, out.strip()) == (1, "")
    assert "ended with 3: MemoryError: much" in err


def test_a_training_side_that_lacks_a_library_names_the_pip_command(run, monkeypatch):
    last = "ModuleNotFoundError: No module named 'torch'"
    code, _, err, _ = run("", code=1, last=last)
    assert code == 9
    assert 'pip install "edgeslm[train]"' in err
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, _, err, given = run(*EVENTS)
    assert (code, given) == (9, [])
    assert 'pip install "edgeslm[train]"' in err


def test_events_of_a_newer_format_are_refused(run):
    code, _, err, _ = run({"event": "start", "format": 2})
    assert code == 1
    assert "the format 2" in err


SLOW = """
import sys, time, json, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
print(json.dumps({"event": "begin", "step": "train"}), flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print(json.dumps({"event": "error", "step": "train", "exit_code": 130,
                      "error": {"type": "Interrupted", "message": "training goes on"}}), flush=True)
    sys.exit(130)
"""
PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgeslm import children
from edgeslm.cli.main import main
children.child_command = lambda *_: [sys.executable, "-c", CHILD]
main(["build", "r.toml"])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_lets_the_child_say_its_last_word():
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PARENT.replace("CHILD", repr(SLOW))]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        assert json.loads(process.stdout.readline())["event"] == "begin"
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to both
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")
    assert json.loads(out)["error"]["message"] == "training goes on"


@pytest.mark.skipif(os.name == "nt", reason="pipes as POSIX has them")
def test_a_reader_that_leaves_ends_the_build(tmp_path):
    pipe = subprocess.PIPE
    quick = SLOW.replace("time.sleep(60)", "print(json.dumps({'event': 1}))")
    command = [sys.executable, "-c", PARENT.replace("CHILD", repr(quick))]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of its own")
def test_on_a_terminal_lines_stand_above_the_bars(tmp_path):
    events = tmp_path / "events"
    events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    child = f"print(open({str(events)!r}).read())"
    code, said = on_terminal([sys.executable, "-c", PARENT.replace("CHILD", repr(child))])
    assert code == 0
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    lines = [line.rpartition("\r")[2].rstrip() for line in seen.split("\r\n")]
    for line in ("train", "passed  accuracy: 0.9\\x1b[2J", "noted   speed: 3 ms"):
        assert line in lines
    assert any(line.startswith("f/r.onnx is made") for line in lines)
    assert "training" in said and "1/4" in said


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of its own")
def test_what_has_no_progress_moves_no_cursor(tmp_path):
    child = f"print({json.dumps({'event': 'end', 'ran': [], 'model': None})!r})"
    code, said = on_terminal([sys.executable, "-c", PARENT.replace("CHILD", repr(child))])
    assert (code, said) == (0, "nothing to do: all of it holds\r\n")
