"""The commands among other processes: pipes, `| head`, Ctrl-C, a full disk, terminals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.cli import on_terminal

COMMAND = [sys.executable, "-m", "edgeslm", "classify"]
MORE = ["--jsonl", "--labels", "yes,no"]
LINE = b'{"text": "is it?"}\n'

#: stands for a model whose answer takes until it is cancelled, for a line that asks to wait
SLOW = """
import contextlib, importlib, os, sys, threading, types
from edgeslm.cli.main import main
from edgeslm.errors import CancelledError
from edgeslm.results import Classification, Timing

cancelled = threading.Event()

def answer(text, **_):
    if text == "wait":
        print("waiting", file=sys.stderr, flush=True)
        if not cancelled.wait(20):
            os._exit(99)
        raise CancelledError("the request was cancelled")
    return Classification("yes", 1.0, {"yes": 1.0}, Timing(0, 0, 0, 0, 0, 0, 0))

model = types.SimpleNamespace(card=None, classifier=lambda *_, **__: answer, cancel=cancelled.set)
load = importlib.import_module("edgeslm.models.load")
load.load = lambda *_, **__: contextlib.nullcontext(model)
main(["classify", "m", "--jsonl"])
"""

posix = pytest.mark.skipif(os.name == "nt", reason="signals and /dev are POSIX")


def start(command, **streams):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    before = None if os.name == "nt" else hears_ctrl_c
    return subprocess.Popen(command, **{**pipes, **streams}, preexec_fn=before)  # noqa: PLW1509  one thread here


def hears_ctrl_c():
    """A shell's background jobs, which these tests may be, ignore it, and so do their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(process):
    """Wait: exit code and stderr."""
    with process:
        err = process.stderr.read().decode()
        code = process.wait(30)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    return code, err


def test_each_line_is_answered_before_the_next_is_written(tiny_model):
    process = start([*COMMAND, str(tiny_model), *MORE])
    for _ in range(2):
        process.stdin.write(LINE)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"] in {"yes", "no"}
    process.stdin.close()
    assert process.stdout.read() == b""
    assert finish(process) == (0, "")


def test_a_reader_that_leaves_ends_it_quietly(tiny_model):
    process = start([*COMMAND, str(tiny_model), *MORE])
    process.stdin.write(LINE)
    process.stdin.flush()
    assert process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    process.stdin.write(LINE * 3)
    process.stdin.close()
    assert finish(process) == (0, "")


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_message(tiny_model):
    with open("/dev/full", "wb") as full:  # noqa: PTH123  a device
        process = start([*COMMAND, str(tiny_model), *MORE], stdout=full)
        process.stdin.write(LINE)
        process.stdin.close()
        code, err = finish(process)
    assert code == 1
    assert "No space left on device" in err


@posix
@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_keeps_what_was_answered(busy):
    process = start([sys.executable, "-c", SLOW])
    process.stdin.write(LINE)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["label"] == "yes"
    if busy:
        process.stdin.write(b'{"text": "wait"}\n')
        process.stdin.flush()
        assert process.stderr.readline() == b"waiting\n"
    else:
        time.sleep(0.2)  # back to reading stdin
    process.send_signal(signal.SIGINT)
    code, err = finish(process)
    assert code == 130
    assert err.strip() == "interrupted"


# --- streams that are closed, and terminals -----------------------------------------


def shell(line, **more):
    """Run a line of the shell in which `edgeslm` is the command under test."""
    line = line.replace("edgeslm", f"{sys.executable} -m edgeslm")
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=120, check=False, **more)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in out + err
    assert "Exception ignored" not in out + err
    return done.returncode, out, err


@posix
@pytest.mark.parametrize("words", ["models", "--help", "schema -", "pull x", "show x"])
def test_a_closed_stdout_is_one_message(words, tmp_path):
    code, out, err = shell(f"edgeslm {words} >&- </dev/null", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err == "error: standard output is closed, so no answer can be written; open it\n"


@posix
def test_a_closed_stderr_takes_no_answer_away(tiny_model):
    line = f"edgeslm classify {tiny_model} --labels yes,no --text hi --text '' 2>&-"
    code, out, _ = shell(line)
    assert code == 4
    assert [next(iter(json.loads(row))) for row in out.splitlines()] == ["label", "error"]


@posix
def test_a_closed_stdin_is_one_message(tiny_model):
    code, out, err = shell(f"edgeslm classify {tiny_model} --labels yes,no <&-")
    assert (code, out) == (2, "")
    assert "standard input is closed: name a FILE, or give a --text" in err
    code, out, err = shell(f"edgeslm classify {tiny_model} --labels yes,no - <&-")
    assert (code, "standard input is closed" in out) == (4, True)
    code, out, err = shell("edgeslm schema - <&-")
    assert (code, out) == (4, "")
    assert "standard input is closed" in err


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize(
    "words",
    ["models", "models --json", "doctor --json", "--help", "pull --help", "--version", "schema -"],
)
def test_an_output_that_is_full_is_one_error_and_an_exit_code(words, tmp_path):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "edgeslm", *words.split()]
        process = start(command, stdout=full)
        process.stdin.write(b'{"type": "integer"}')
        process.stdin.close()
        code, err = finish(process)
    assert code == 1
    assert err.startswith("error: ")
    assert "No space left on device" in err
    assert err.count("\n") == 1


@posix
def test_a_reader_of_the_help_that_leaves_ends_it_quietly():
    for words in ("--help", "extract --help", "--version"):
        process = start([sys.executable, "-m", "edgeslm", *words.split()])
        process.stdout.close()
        process.stdin.close()
        assert finish(process) == (0, "")


@posix
def test_a_terminal_is_sent_colours_unless_it_is_told_not_to(tiny_model, tmp_path):
    asked = [*COMMAND, str(tiny_model), "--labels", "yes,no", "--text", "hi"]
    wrong = [sys.executable, "-m", "edgeslm", "show", "./none.gguf"]
    for command, code in ((asked, 0), (wrong, 12)):
        plain = on_terminal(command)
        assert (plain[0], "\x1b[" in plain[1]) == (code, True)
        for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            code_here, said = on_terminal(command, **environment)
            assert (code_here, "\x1b" in said) == (code, False), environment


@posix
def test_nothing_is_read_from_a_terminal_without_being_asked(tiny_model):
    code, said = on_terminal([*COMMAND, str(tiny_model), "--labels", "yes,no"])
    assert code == 2
    assert "edgeslm classify" in said
    assert "give a --text" in said
