"""What the tests of `edgeslm extract` and `classify` share: texts, scripted models, stubs."""

import contextlib
import importlib
import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine

SCHEMA = {
    "type": "object",
    "properties": {"shop": {"type": "string", "maxLength": 20}, "total": {"type": "integer"}},
    "required": ["shop", "total"],
}
ANSWER = '{"shop":"Nook","total":12}'
LABELS = "billing,refund,shipping"


def use(monkeypatch, make):
    """Let the command line load what ``make`` makes."""
    module = importlib.import_module("edgeslm.models.load")
    monkeypatch.setattr(module, "load", lambda *_, **__: make())


def stub(answer):
    """A model whose classifier is the function ``answer``."""
    return contextlib.nullcontext(SimpleNamespace(card=None, classifier=lambda *_, **__: answer))


def jsonl(*texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder to work in, with a schema and three texts."""
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    Path("schema.json").write_text(json.dumps(SCHEMA))
    for name in "abc":
        Path(f"{name}.txt").write_text(f"{name}: at Nook I paid 12")
    return tmp_path


@pytest.fixture
def reader(work, monkeypatch):
    """A model that reads ANSWER out of every text."""
    use(monkeypatch, lambda: GgufModel(ScriptedEngine(ANSWER, sharpness=40.0)))


@pytest.fixture
def sorter(work, monkeypatch):
    """A model that finds the label standing in the text."""

    def script(prompt):
        return re.search("billing|refund|shipping", prompt.rpartition("user\n")[2])[0]

    use(monkeypatch, lambda: GgufModel(ScriptedEngine(script)))


def on_terminal(command, **environment):
    """Run a command on a terminal of its own: exit code and what the terminal was sent."""
    import pty

    variables = {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    main_end, its_end = pty.openpty()
    streams = {"stdin": its_end, "stdout": its_end, "stderr": its_end}
    with subprocess.Popen(command, env={**os.environ, **variables}, **streams) as process:
        os.close(its_end)
        said = b""
        while True:
            try:
                piece = os.read(main_end, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            said += piece
        code = process.wait(60)
    os.close(main_end)
    return code, said.decode()
