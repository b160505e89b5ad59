"""Events of a build: the lines that another program follows it by"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from converters import __main__ as command
from converters.errors import GateError
from converters.events import EVENTS_FORMAT, PROGRESS_EVERY, Events
from converters.gates.checks import Check
from converters.gates.verify import Verdict
from converters.plan import Plan
from converters.steps.causal import CausalWork
from converters.steps.results import Trained, Written
from converters.training.history import Evaluation
from edgeslm.errors import EdgeslmError
from tests.helpers.recipes import classify

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.fixture
def written() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def events(written: list[dict[str, Any]]) -> Events:
    return Events(lambda event: written.append(json.loads(json.dumps(event))))


@pytest.fixture
def work(tmp_path: Path) -> CausalWork:
    return CausalWork(classify("a.jsonl", labels=["a", "b"]), tmp_path, tmp_path, tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("converters.events.time.monotonic", lambda: now[0])
    return now


def test_a_build_is_told_from_start_to_end(events, written, work):
    best = Evaluation(1, 2.0, 0.5, 0.25, 8)
    events.start(work, work.steps_until("train"))
    events.begins("train")
    events.progress("training", 1, 9)
    events.ends("train", Trained(9, 100, 25.0, best, work.training / "loss.png"))
    events.end(work, ["train"], "train")
    start, begin, progress, result, end = written
    assert start == {
        "event": "start",
        "format": EVENTS_FORMAT,
        "name": "made-up",
        "kind": "causal",
        "folder": str(work.folder),
        "steps": ["data", "train"],
    }
    assert begin == {"event": "begin", "step": "train"}
    told = {"event": "progress", "step": "train", "what": "training", "done": 1, "of": 9}
    assert progress == told
    assert (result["event"], result["step"]) == ("result", "train")
    assert result["result"]["tokens_per_second"] == 25.0
    assert result["result"]["best"]["answers"] == 0.25
    assert end == {"event": "end", "ran": ["train"], "model": None}


def test_the_end_of_a_whole_build_names_its_file(events, written, work):
    events.begins("pack")
    events.ends("pack", Written((work.model, work.adapter)))
    events.end(work, [], "pack")
    assert written[1]["result"] == {"files": [str(work.model), str(work.adapter)]}
    assert written[-1]["model"] == str(work.model)


def test_what_verify_returns_is_the_verdict_and_a_failed_gate_is_its_error(events, written):
    verdict = Verdict((Check("accuracy", False, 0.5, 0.9, "50 % of 90 %"),), ())
    events.begins("verify")
    events.ends("verify", verdict)
    with pytest.raises(GateError) as failed:
        verdict.require()
    events.fail(failed.value)
    _, told, error = written
    assert told["event"] == "verdict"
    assert told["result"] == json.loads(json.dumps(verdict.to_dict()))
    assert not told["result"]["passed"]
    assert error == {
        "event": "error",
        "step": "verify",
        "exit_code": 1,
        "error": {"type": "GateError", "message": str(failed.value)},
    }


def test_progress_comes_seldom_but_its_first_and_its_last_always(events, written, clock):
    events.begins("train")
    for done in range(1001):
        events.progress("training", done, 1000)
        clock[0] += PROGRESS_EVERY / 128  # a float that adds up
    told = [event["done"] for event in written if event["event"] == "progress"]
    assert told == [*range(0, 1000, 128), 1000]
    events.progress("loading", 0, None)
    assert written[-1]["what"] == "loading" and written[-1]["of"] is None


def test_a_dry_run_is_one_event(events, written, work):
    events.plan(work, Plan({"data": None, "train": "not done yet"}, None, None, None, None))
    [plan] = written
    assert plan["event"] == "plan" and plan["name"] == "made-up"
    assert plan["steps"] == {"data": None, "train": "not done yet"}


# --- the command --------------------------------------------------------------


def followed(capsys: pytest.CaptureFixture[str], *, as_json: bool, problem: BaseException) -> Any:
    """Exit code or exception, events and stderr of a command that meets a problem."""
    with (
        pytest.raises((SystemExit, type(problem))) as ended,
        command._followed(as_json) as (follower, progress),
    ):
        follower.begins("train")
        progress("training", 1, 2)
        raise problem
    outcome = ended.value.code if isinstance(ended.value, SystemExit) else ended.value
    out, err = capsys.readouterr()
    return outcome, [json.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize(
    ("problem", "code", "kind"),
    [(EdgeslmError("no room"), 1, "EdgeslmError"), (KeyboardInterrupt(), 130, "Interrupted")],
)
def test_an_error_is_an_event_with_the_exit_code(capsys, problem, code, kind):
    outcome, told, err = followed(capsys, as_json=True, problem=problem)
    assert (outcome, err) == (code, "")  # said once: in the events
    assert [event["event"] for event in told] == ["begin", "progress", "error"]
    assert (told[-1]["exit_code"], told[-1]["error"]["type"]) == (code, kind)
    assert told[-1]["step"] == "train"


def test_into_a_file_go_the_events_and_progress_stays_on_stderr(capsys):
    problem = EdgeslmError("no room")
    outcome, told, err = followed(capsys, as_json=False, problem=problem)
    assert outcome is problem  # which main() says on stderr
    assert [event["event"] for event in told] == ["begin", "error"]
    assert "training" in err


def test_what_nobody_meant_to_raise_is_no_event(capsys):
    outcome, told, _ = followed(capsys, as_json=True, problem=ZeroDivisionError())
    assert isinstance(outcome, ZeroDivisionError)
    assert [event["event"] for event in told] == ["begin", "progress"]


def test_the_page_describes_every_event():
    source = Path(command.__file__).with_name("events.py").read_text(encoding="utf-8")
    names = {*re.findall(r'"event": "(\w+)"', source), "result", "verdict"}
    assert names == {*re.findall(r"^\| `(\w+)` \| `(?:format|step|name|ran)", PAGE, re.MULTILINE)}
