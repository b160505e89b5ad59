"""What `python -m converters` shows: results for people, help with examples, a reader that left"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from converters import __main__ as command
from converters.causal.quantize import Candidate, QuantizeReport, Speed
from converters.data.summary import DataSummary
from converters.gates.checks import Check
from converters.gates.reports import Divergence, FloatParity
from converters.gates.verify import Verdict
from converters.onnx import quantize as onnx
from converters.steps.results import Exported, LinearTrained, Trained, Written
from converters.training.history import Evaluation
from converters.work import STEPS

ROOT = Path(__file__).resolve().parents[2]
NEAR = Divergence(kl=0.01, top1=0.99, n=50)
RESULTS = {
    "data": (DataSummary(
        recipe="made-up", read=9, kept=8, dropped={"empty": 1}, parts={}, leaks=0, suspects=0,
        suspects_checked=0, sha256="0" * 64,
    ), "8 of 9 rows kept"),
    "train": (
        Trained(9, 100, 25.0, Evaluation(1, 2.0, 0.5, 0.25, 8), Path("loss.png")),
        "kept step 1: 25.0% of development answers right",
    ),
    "train, linear": (LinearTrained(5, 6, 10.0, 0.9, 0.91), "5 features; 90.0%"),
    "export": (Exported(FloatParity(7, 1e-6, 1e-5, 1.0), 1e-7), "top-1 100.0%, n = 7"),
    "quantize": (
        QuantizeReport(
            (Candidate(
                file_type="Q4_0", size=10**6, bits_per_weight=4.5, speed=Speed(100, 10),
                milliseconds=20.0, divergence=NEAR, passed=True,
            ),),
            "Q4_0",
        ),
        "Q4_0",
    ),
    "quantize, onnx": (
        onnx.QuantizeReport(
            (onnx.Candidate(scheme="int8", size=10**6, milliseconds=2.0, divergence=NEAR),),
            "int8",
            4.0,
        ),
        "(float 4.0 ms)",
    ),
    "verify": (Verdict((Check("accuracy", False, 0.5, 0.9, "50 % of 90 %"),), ()), "FAILED"),
    "pack": (Written((Path("made-up.gguf"),)), "made-up.gguf"),
}  # fmt: skip


@pytest.mark.parametrize("step", RESULTS)
def test_people_see_the_result_of_every_step(step):
    result, words = RESULTS[step]
    text = io.StringIO()
    for shown in command._drawn(result):
        Console(width=160, file=text).print(shown)
    assert words in text.getvalue()


def test_every_step_has_help_with_an_example():
    for name in ("build", *STEPS):
        shown = CliRunner().invoke(command.cli, [name, "--help"])
        assert shown.exit_code == 0
        assert f"python -m converters {name} " in shown.output
    assert all(step in CliRunner().invoke(command.cli, ["--help"]).output for step in STEPS)
    assert CliRunner().invoke(command.cli, ["build"]).exit_code == 2


def test_a_reader_of_events_who_left_ends_the_build_without_a_traceback(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["-m", "converters", "build", str(tmp_path / "none.toml"), "--json"]
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
