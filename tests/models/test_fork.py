"""A process that was forked after the loading gets a typed error, and never hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny_onnx import write_tiny_onnx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

CODE = """
import os, sys, signal
import edgeslm
from edgeslm.errors import EdgeslmError

path, labels = sys.argv[1], sys.argv[2].split(",")
model = edgeslm.load(path, threads=2)
classify = model.classifier(labels)
classify("hello there")
answers = classify.map(["one", "two"] * 50)
next(answers)
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    for call in (
        lambda: classify("hello"),
        lambda: list(answers),
        lambda: list(classify.map(["hello"])),
        lambda: model.classifier(labels)("hello"),
        lambda: model.classifier(labels),
        lambda: model.knows("hello"),
        lambda: model.without_prefix_cache(),
        lambda: edgeslm.load(path, threads=2).classifier(labels)("hello"),
    ):
        try:
            call()
            print("answered", flush=True)
        except EdgeslmError as error:
            print(type(error).__name__, "spawn" in str(error), flush=True)
    model.cancel()
    model.close()
    print("closed", flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(classify("hello").label in labels)
"""


def lines(path: Path, labels: str) -> list[str]:
    command = [sys.executable, "-c", CODE, str(path), labels]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def test_a_language_model_is_refused_in_a_forked_child(tiny_model: Path) -> None:
    assert lines(tiny_model, "a,b") == [*["ForkError True"] * 8, "closed", "True"]


def test_an_encoder_is_refused_in_a_forked_child_which_may_load_it_anew(tmp_path: Path) -> None:
    path = write_tiny_onnx(tmp_path / "tiny.onnx")
    said = lines(path, "refund,shipping,billing")
    assert said == [*["ForkError True"] * 7, "answered", "closed", "True"]
