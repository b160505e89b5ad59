"""A content that is new is tried in a process of its own; what passed is not tried again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeslm.engines.onnx import trial
from edgeslm.engines.onnx.trial import require_tried
from edgeslm.errors import CardError, MachineError, ModelFileError
from edgeslm.formats.onnx.info import read_onnx
from tests.helpers.tiny_onnx import (
    LABELS,
    card,
    encoder_model,
    metadata,
    tokenizer_json,
    write_mixed_onnx,
    write_model,
    write_tiny_onnx,
)

PASSED = subprocess.CompletedProcess([], 0, b'{"error": null, "message": null}\n', b"")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was tried; every file passes."""
    tried: list[str] = []

    def run(_module: str, path: str, **_: Any) -> Any:
        tried.append(path)
        return PASSED

    monkeypatch.setattr(trial, "run_child", run)
    return tried


def ends_with(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    def run(*_: Any, **__: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(trial, "run_child", run)


def test_a_content_is_tried_once(tmp_path: Path, children: list[str]) -> None:
    path = write_tiny_onnx(tmp_path / "a.onnx")
    for _ in range(3):
        require_tried(path, "1")
    copy = tmp_path / "b.onnx"
    shutil.copy(path, copy)
    require_tried(copy, "1")
    assert children == [str(path)]


def test_another_content_or_library_is_tried_again(tmp_path: Path, children: list[str]) -> None:
    path = write_tiny_onnx(tmp_path / "a.onnx")
    require_tried(path, "1")
    require_tried(path, "2")
    write_mixed_onnx(path)
    require_tried(path, "2")
    assert len(children) == 3


def test_what_passed_is_not_even_hashed(
    tmp_path: Path, children: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_onnx(tmp_path / "a.onnx")
    require_tried(path, "1")
    monkeypatch.setattr(trial, "file_sha256", lambda _: pytest.fail("it was hashed"))
    require_tried(path, "1")
    assert len(children) == 1


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (subprocess.CompletedProcess([], -11, b"", b""), "does not survive this file"),
        (subprocess.CompletedProcess([], 0, b"[]\n", b""), "does not survive this file"),
        (TimeoutError(), "took more than 30 s"),
    ],
)
def test_a_file_that_ends_its_trial_is_refused_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any, says: str
) -> None:
    path = write_tiny_onnx(tmp_path / "a.onnx")
    ends_with(monkeypatch, outcome)
    for _ in range(2):
        with pytest.raises(ModelFileError, match=says):
            require_tried(path, "1")


def test_where_no_child_can_be_started_the_other_bounds_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    ends_with(monkeypatch, MachineError("an app in one file"))
    require_tried(write_tiny_onnx(tmp_path / "a.onnx"), "1")
    assert not home.exists()


def test_marks_are_bounded(
    tmp_path: Path, children: list[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(trial, "_MAX_MARKS", 3)
    for number in range(6):
        require_tried(write_tiny_onnx(tmp_path / "a.onnx", max_tokens=16 + number), "1")
    assert len(children) == 6
    assert len([*(home / "tried-models").iterdir()]) <= 5


@pytest.mark.parametrize("write", [write_tiny_onnx, write_mixed_onnx])
def test_a_good_file_passes_in_a_real_child(tmp_path: Path, home: Path, write: Any) -> None:
    require_tried(write(tmp_path / "a.onnx"), "1")
    assert len([*(home / "tried-models").iterdir()]) == 2


def test_what_a_child_says_of_a_bad_file_is_told(tmp_path: Path) -> None:
    graph = encoder_model(LABELS, np.eye(3, dtype=np.float32))
    properties = metadata(card(), LABELS)
    properties["edgeslm.tokenizer"] = tokenizer_json([*LABELS, "more"])
    path = write_model(tmp_path / "x.onnx", graph, properties)
    read_onnx(path)
    with pytest.raises(ModelFileError, match="does not take what its tokenizer gives"):
        require_tried(path, "1")
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "labels"
    path = write_model(tmp_path / "y.onnx", graph, metadata(card(["a", "b"]), LABELS))
    with pytest.raises(CardError, match="2 labels, but the graph"):
        require_tried(path, "1")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process takes")
def test_a_child_takes_no_more_memory_than_it_may() -> None:
    code = (
        "from edgeslm.children import limit_memory\n"
        "limit_memory(3 << 29)\n"
        "bytearray(1 << 29)\n"
        "try:\n    bytearray(1 << 31)\n"
        "except MemoryError:\n    print('bounded')"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout == "bounded\n"
