"""`edgeslm.load` on every kind of file: odd paths, damaged and hostile ones, and what it prints."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import edgeslm
from edgeslm.errors import ModelFileError, ModelNotFoundError
from tests.helpers.judged import counted, faults, judged
from tests.helpers.mutated_gguf import write_mutants
from tests.helpers.soak import rounds
from tests.helpers.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = 1000

#: asks each file twice
CODE = """
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
          "additionalProperties": False}

def warm():
    import llama_cpp, numpy, llguidance

def ask(path):
    outcome = "answered"
    with edgeslm.load(path, threads=1) as model:
        for call in (
            lambda: model.classifier(["alpha", "beta x"])("hallo wörld 😀 <s>", deadline_ms=5000),
            lambda: model.extractor(SCHEMA)("text 12", max_tokens=8, deadline_ms=5000),
        ):
            try:
                call()
            except EdgeslmError as error:
                if isinstance(error.__cause__, MemoryError):
                    raise
                outcome = "asked: " + type(error).__name__
    return outcome
"""


#: asks each file named on stdin; one line for each
CHILD = f"""
import sys
import edgeslm
from edgeslm.errors import EdgeslmError
{CODE}
for line in sys.stdin:
    try:
        print(ask(line.rstrip("\\n")), flush=True)
    except EdgeslmError as error:
        print(type(error).__name__, flush=True)
"""


def run_child(
    code: str, lines: Sequence[str] = (), *arguments: str
) -> subprocess.CompletedProcess[str]:
    """A fresh Python that sees only what edgeslm itself writes."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "GGML_NO_BACKTRACE": "1"},
    )


# --- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["mit leer zeichen.gguf", "größe 模型 😀.gguf", 'it\'s "quoted" %s {}.gguf', "no_suffix"],
)
def test_odd_names_load(tiny_model: Path, tmp_path: Path, name: str) -> None:
    if sys.platform == "win32" and '"' in name:
        pytest.skip("Windows allows no quotation marks in names")
    folder = tmp_path / "ein Ordner ü"
    folder.mkdir()
    path = folder / name
    shutil.copy(tiny_model, path)
    with edgeslm.load(path, threads=1) as model:
        assert model.classifier(["refund", "billing"])("hello").label in {"refund", "billing"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not UTF-8")
def test_a_name_that_is_not_unicode_loads(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"model-\xff.gguf")
    shutil.copy(tiny_model, path)
    with edgeslm.load(path, threads=1) as model:
        assert model.card is None


def test_a_relative_path_loads(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_model.parent)
    edgeslm.load(Path(tiny_model.name), threads=1).close()
    edgeslm.load(f"./{tiny_model.name}", threads=1).close()


@pytest.mark.parametrize("path", ["missing.gguf", ".", "a\0b.gguf"])
def test_what_is_no_file_is_told(path: str) -> None:
    with pytest.raises((ModelNotFoundError, ModelFileError)):
        edgeslm.load(Path(path))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps an open file in its place")
@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_loaded_model_lives_on_without_its_file(tmp_path: Path, change: str) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    with edgeslm.load(path, threads=1) as model:
        classify = model.classifier(["refund", "billing"])
        expected = classify("hello").probabilities
        if change == "deleted":
            path.unlink()
        else:
            other.replace(path)
        assert classify("hello there").timing.prompt_tokens > 0
        assert classify("hello").probabilities == pytest.approx(expected, abs=1e-4)


# --- damaged and hostile files --------------------------------------------------------------


@pytest.mark.soak
def test_no_mutant_crashes_hangs_or_takes_too_much(tmp_path: Path) -> None:
    paths = [*write_mutants(tmp_path, rounds(MUTANTS))]
    outcomes = judged(paths, CODE)
    kinds = counted(outcomes)
    print(dict(kinds))
    assert faults(outcomes) == {}
    assert kinds["ModelFileError"] > len(paths) // 4
    # or the mutations never came past the header
    assert kinds["answered"] + kinds["asked:"] > len(paths) // 10


def test_cut_anywhere_a_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    data = tiny_model.read_bytes()
    path = tmp_path / "cut.gguf"
    for length in (0, 1, 3, 4, 23, 24, 25, 500, 5000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            edgeslm.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab": "none"}, "vocabulary"),
        ({"general.architecture": "nonsense"}, "nonsense"),
        ({"general.type": "adapter"}, "LoRA"),
        ({"llama.attention.head_count": 3}, "llama.cpp cannot load"),
        ({"llama.embedding_length": 65}, "llama.cpp cannot load"),
        ({"llama.block_count": 3}, "llama.cpp cannot load.*blk.2"),
        ({"tokenizer.ggml.merges": "x"}, "llama.cpp cannot load.*merges"),
    ],
)
def test_the_message_names_the_cause(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", **arguments)
    with pytest.raises(ModelFileError, match=message) as caught:
        edgeslm.load(path)
    assert str(path) in str(caught.value)


# --- what is written ------------------------------------------------------------------------


def test_nothing_is_printed(tiny_model: Path, tmp_path: Path) -> None:
    damaged = write_tiny_gguf(tmp_path / "damaged.gguf", **{"llama.embedding_length": 65})
    child = run_child(CHILD, [str(tiny_model), str(damaged)])
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout.splitlines() == ["answered", "ModelFileError"]


@pytest.mark.parametrize(
    ("arguments", "code"), [({"llama.embedding_length": 65}, 5), ({"edgeslm.card": "{}"}, 6)]
)
def test_the_command_line_ends_with_the_errors_code(
    tmp_path: Path, arguments: dict[str, Any], code: int
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", **arguments)
    child = run_child(
        "import sys; from edgeslm.cli.main import main; main(sys.argv[1:])",
        ["hello"],
        "classify", str(path), "-", "--labels", "refund,billing",
    )  # fmt: skip
    assert (child.returncode, child.stdout) == (code, "")
    assert str(path) in child.stderr
    assert "Traceback" not in child.stderr


def test_a_model_left_open_ends_quietly(tiny_model: Path) -> None:
    code = f"import edgeslm; model = edgeslm.load({str(tiny_model)!r}, threads=1)\n" + (
        "model.classifier(['refund', 'billing'])('hello', deadline_ms=100_000)"
    )
    child = run_child(code)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_the_library_logs_to_logging(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "edgeslm.llama"):
        edgeslm.load(tiny_model, threads=1).close()
    lines = [record.getMessage() for record in caplog.records if record.name == "edgeslm.llama"]
    assert any("buffer size" in line for line in lines)
    assert all(line == line.rstrip("\n") for line in lines)
