"""Child processes: one way to start them, also from an app that is frozen into one executable."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeslm import children
from edgeslm.errors import MachineError

ROOT = Path(__file__).resolve().parent.parent

#: an app as a freezer makes it: `sys.executable` is what runs this file and nothing else
APP = f"""#!{sys.executable}
import sys
sys.path[:0] = {[str(ROOT)]!r}
sys.frozen, sys.executable = True, sys.argv[0]
import edgeslm.children
{{hook}}
from edgeslm.engines.device.machine import probe_build
from edgeslm.errors import EdgeslmError
print("the app opens", file=sys.stderr)
try:
    print(probe_build().version)
except EdgeslmError as error:
    print(error)
"""


@pytest.fixture
def app(tmp_path):
    """Runs a frozen app that starts the probe: what it printed, and how often it opened."""

    def run(hook):
        file = tmp_path / "app"
        file.write_text(APP.format(hook=hook))
        file.chmod(0o755)
        done = subprocess.run([file], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.strip(), done.stderr.count("the app opens")

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="a script with #! stands for the app")
def test_a_frozen_app_becomes_its_own_child(app):
    version, opened = app("edgeslm.children.freeze_support()")
    assert version.startswith("0.3.")
    assert opened == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a script with #! stands for the app")
def test_a_frozen_app_tries_the_library_before_it_loads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for hook, tried in (("edgeslm.children.freeze_support()", True), ("", False)):
        file = tmp_path / "checking"
        checks = APP.replace("probe_build().version", "check_build()").replace(
            "import probe_build", "import cache_home, check_build"
        )
        file.write_text(checks.format(hook=hook) + "print(*cache_home().rglob('*'))")
        file.chmod(0o755)
        done = subprocess.run([file], capture_output=True, text=True, timeout=120, check=True)
        assert ("checked-builds" in done.stdout) == tried
        assert ("is not tried in another process" in done.stderr) == (not tried)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)


@pytest.mark.skipif(sys.platform == "win32", reason="a script with #! stands for the app")
def test_a_frozen_app_that_does_not_dispatch_is_told_to_and_is_not_opened_again(app):
    message, opened = app("")
    assert "must call edgeslm.children.freeze_support() in its first line" in message
    assert opened == 1


def test_a_frozen_app_becomes_nothing_that_edgeslm_does_not_start(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["app", children.FLAG, "http.server"])
    with pytest.raises(SystemExit, match="takes the name of a module"):
        children.freeze_support()
    for module in ("pip", "converters"):
        with pytest.raises(MachineError, match=f"cannot run {module}"):
            children.child_command(module)
    assert children.child_command("edgeslm.bench.parts.memory", "x") == [
        sys.executable, children.FLAG, "edgeslm.bench.parts.memory", "x",
    ]  # fmt: skip


def test_the_arguments_of_an_app_are_its_own(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["app", "document.pdf"])
    assert children.freeze_support() is None
    assert sys.argv == ["app", "document.pdf"]


def test_every_module_that_an_app_can_become_is_there():
    for module in children.MODULES:
        assert Path(children.child_command(module)[2]).is_file(), module


def test_a_child_finds_what_its_parent_finds_and_no_file_of_the_working_folder(
    tmp_path, monkeypatch
):
    (tmp_path / "beside.py").write_text("import json, sys; print(json.dumps(sys.path))")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(children, "_OURS", ("beside",))
    told = json.loads(children.run_child("beside", timeout=60).stdout)
    assert set(filter(None, sys.path)) <= set(told)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    done = children.run_child("beside", timeout=60)
    assert (done.returncode, b"No module named beside" in done.stderr) == (1, True)


def test_a_child_that_takes_too_long_is_killed(monkeypatch):
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(children, "child_command", lambda *_: sleeps)
    with pytest.raises(TimeoutError, match="took more than"):
        children.run_child("any", timeout=0.2)


def test_another_program_is_run_until_it_ends():
    program = [sys.executable, "-c", "import os, sys; print(os.environ['X'], sys.stdin.read())"]
    done = children.run_program(*program, input=b"in", timeout=60, env={"X": "out"})
    assert (done.returncode, done.stdout.split()) == (0, [b"out", b"in"])
    with pytest.raises(MachineError, match="no-such-program could not be started"):
        children.run_program("no-such-program", input=b"", timeout=1)
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(TimeoutError, match="took more than"):
        children.run_program(*sleeps, input=b"", timeout=0.2)


def test_no_other_file_starts_a_python():
    starts = re.compile(r"\[sys\.executable|^ *(import|from) multiprocessing", re.MULTILINE)
    starters = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "edgeslm").rglob("*.py")
        if path.name != "children.py" and starts.search(path.read_text("utf-8"))
    ]
    assert starters == []
