"""Starts: what a child is told and tells, the page cache, and children that fail"""

import json
import os
import sys

import pytest

from edgeslm.bench.parts import start
from edgeslm.bench.workload.workload import Row, Workload
from edgeslm.decoding.sequences.prefix_files import MIN_TOKENS
from edgeslm.errors import EngineError

PARTS = {"import": 10.0, "load": 20.0, "prefix": 30.0, "answer": 40.0}
WORKLOAD = Workload("classify", (Row("a longer text"), Row("short")), "test", labels=("a", "b"))


@pytest.fixture
def children(monkeypatch):
    """Stands for the processes: what each was told, and a start of round numbers."""
    seen = []

    def run(task, home, *, saved):
        seen.append({**task, "saved": saved, "home": home})
        if saved:
            (home / "prefixes").mkdir(exist_ok=True)
            (home / "prefixes" / "x.prefix").touch()
        return start._Child(dict(PARTS), first=70.0, warm=(5.0,) * task["warm"])

    monkeypatch.setattr(start, "_run", run)
    return seen


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(os.urandom(300_000))
    return path


def test_each_kind_of_start_is_made_so_often(children, file, monkeypatch):
    monkeypatch.setattr(start, "drop_pages", lambda path: True)
    ticks = []
    starts = start.measure(file, WORKLOAD, runs=2, tick=lambda *tick: ticks.append(tick))
    assert starts.cold == starts.dropped == (PARTS, PARTS)
    assert starts.warm_load == (5.0, 5.0)
    assert starts.restored_prefix == (70.0, 70.0)
    assert [child["saved"] for child in children].count(True) == 3  # with the first, not kept
    assert ticks[-1][0] == ticks[-1][1] == len(children)
    assert {child["text"] for child in children} == {"short"}
    assert not children[0]["home"].exists()


def test_what_the_system_keeps_is_not_said_to_be_dropped(children, file, monkeypatch):
    monkeypatch.setattr(start, "drop_pages", lambda path: False)
    assert start.measure(file, WORKLOAD, runs=2).dropped is None


def test_without_a_saved_prefix_none_is_restored(children, file, monkeypatch):
    monkeypatch.setattr(start, "_is_saved", lambda home: False)
    assert start.measure(file, WORKLOAD, runs=1).restored_prefix is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops and tells of pages")
def test_dropped_pages_are_gone_and_read_ones_are_back(file):
    with file.open("rb") as opened:
        os.fsync(opened.fileno())  # what is not on the disk yet cannot be dropped
        opened.read()
        assert start._resident_share(opened.fileno()) > 0.9
    if not start.drop_pages(file):
        pytest.skip("this file system keeps its pages")
    with file.open("rb") as opened:
        assert start._resident_share(opened.fileno()) <= 0.05


def test_no_pages_are_dropped_where_they_cannot_be(monkeypatch, file):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not start.drop_pages(file)


def test_a_real_child_tells_all_its_parts(tiny_model, tmp_path):
    task = {
        "path": str(tiny_model),
        "threads": 1,
        "kind": "classify",
        "schema": None,
        "labels": ["a", "b"],
        "text": "a " * MIN_TOKENS,
        "warm": 1,
    }
    child = start._run(task, tmp_path, saved=False)
    assert list(child.parts) == ["process", *PARTS]
    assert all(ms > 0 for name, ms in child.parts.items() if name != "prefix")
    assert child.parts["answer"] < child.first
    assert len(child.warm) == 1
    assert not start._is_saved(tmp_path)
    assert not list((tmp_path / "prefixes").glob("*.prefix"))


def test_a_child_that_fails_gives_its_reason(tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    with pytest.raises(EngineError, match=r"bad\.gguf: the process whose start is timed ended"):
        start.measure(bad, WORKLOAD, runs=1)


def test_a_child_that_tells_nonsense_is_an_error(tmp_path, monkeypatch):
    nonsense = [sys.executable, "-c", f"print({json.dumps('[]')})"]
    monkeypatch.setattr("edgeslm.children.child_command", lambda *_: nonsense)
    with pytest.raises(EngineError, match="ended with 0: it gave no message"):
        start._run({"path": "m"}, tmp_path, saved=False)
