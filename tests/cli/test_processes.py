"""`edgeslm classify` among other processes: pipes, `| head`, Ctrl-C, a full disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
