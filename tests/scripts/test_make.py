"""The set-up script: what it shows of pip's output, when it works, and how it fails."""

import io
import shlex
import socket
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts import make

ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


BUILD = ["Building wheel for llama-cpp-python (pyproject.toml): started\n"] + [
    f"  [{step}/193] Building C object ggml.c.o\n" for step in range(1, 194)
]


def shown(lines: list[str], out: io.StringIO) -> str:
    progress = make.Progress(out)
    for line in lines:
        progress.see(line)
    progress.close()
    return out.getvalue()


def test_the_compilation_is_announced_and_told_every_tenth_step(monkeypatch):
    monkeypatch.setattr(make, "_has_compiler", lambda: True)
    lines = shown(["Collecting click\n", *BUILD], io.StringIO()).splitlines()
    assert "compiling llama.cpp" in lines[0] and "minutes" in lines[0]
    assert lines[1] == "compiling llama.cpp: 10/193"
    assert lines[-1] == "compiling llama.cpp: 193/193"
    assert len(lines) == 1 + 19 + 1


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch):
    monkeypatch.setattr(make, "_has_compiler", lambda: True)
    text = shown(BUILD, Terminal())
    assert text.count("\n") == 1  # after the announcement
    assert "\rcompiling llama.cpp: 7/193" in text
    assert text.endswith("\r"), "the line is cleared and the cursor at its start"


def test_steps_of_other_packages_are_not_taken_for_llama():
    assert shown(["[1/2] something else\n"], io.StringIO()) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="CMake finds Visual Studio by itself")
def test_without_a_compiler_it_stops_before_compiling_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(make, "_has_compiler", lambda: False)
    with pytest.raises(make.SetupError, match="build-essential") as caught:
        make.Progress(io.StringIO()).see(BUILD[0])
    assert "whl/cpu" in str(caught.value)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A project folder of its own whose virtual environment is the running Python."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(make, "ROOT", tmp_path)
    monkeypatch.setattr(make, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(make, "STAMP", tmp_path / ".venv" / "stamp")
    monkeypatch.setattr(make, "LOG", tmp_path / ".cache" / "setup.log")
    return tmp_path


def test_an_installation_is_not_repeated_until_pyproject_changes(clone, monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(make, "_install", runs.append)
    make.ensure_installed("dev")
    make.ensure_installed("dev")
    assert len(runs) == 1
    (clone / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    make.ensure_installed("dev")
    assert len(runs) == 2


def test_more_extras_are_installed_once_and_serve_commands_that_need_fewer(clone, monkeypatch):
    runs = []
    monkeypatch.setattr(make, "_install", runs.append)
    make.ensure_installed("dev")
    make.ensure_installed("dev,train")
    make.ensure_installed("dev")
    assert [run[-1] for run in runs] == [".[dev]", ".[dev,train]"]


def test_commands_that_need_other_extras_do_not_undo_each_other(clone, monkeypatch):
    runs, looks = [], []
    monkeypatch.setattr(make, "_install", runs.append)
    monkeypatch.setattr(make, "ensure_prebuilt", lambda: looks.append(len(runs)))
    for extras in (make.EXTRAS["docs"], make.EXTRAS["lint"], make.EXTRAS["docs"]):
        make.ensure_installed(extras)
    assert [run[-1] for run in runs] == [".[docs]", f".[{make.EXTRAS['lint']}]"]
    assert looks == [1], "the pages need no llama.cpp"


def test_a_failed_installation_shows_the_tail_and_is_repeated(clone, monkeypatch, capsys):
    script = "print('first'); [print(i) for i in range(100)]; print('ERROR: why'); exit(1)"
    monkeypatch.setattr(make, "_pip", lambda *_: [sys.executable, "-c", script])
    with pytest.raises(make.SetupError, match="ERROR: why") as caught:
        make.ensure_installed("dev")
    assert "first" not in str(caught.value) and str(make.LOG) in str(caught.value)
    assert make.LOG.read_text().startswith("first")
    assert not make.STAMP.exists()


def test_half_an_environment_is_made_anew(clone, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(make, "PYTHON", clone / ".venv" / "bin" / "python")
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(make.subprocess, "run", lambda command, **_: made.append(command) or done)
    make.ensure_environment()
    assert "--clear" in made[0]


def test_a_missing_venv_module_is_explained(clone, monkeypatch, capsys):
    monkeypatch.setattr(make, "PYTHON", clone / "absent")
    failed = subprocess.CompletedProcess([], 1, "", "ensurepip is not available")
    monkeypatch.setattr(make.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(make.SetupError, match=r"ensurepip(.|\n)*python3-venv"):
        make.ensure_environment()


def test_steps_stop_at_the_first_failure_and_the_last_gets_the_arguments(clone):
    seen = clone / "seen"
    note = f"import sys; open({str(seen)!r}, 'a').write(' '.join(sys.argv[1:]) + ';')"
    assert make.run_steps([["-c", note], ["-c", note]], ["-k", "x"]) == 0
    assert seen.read_text() == ";-k x;"
    assert make.run_steps([["-c", "exit(3)"], ["-c", note]], []) == 3
    assert seen.read_text() == ";-k x;"


@pytest.mark.parametrize("arguments", [[], ["dance"]])
def test_wrong_usage(arguments, capsys):
    assert make.main(arguments) == 2
    assert "demo" in capsys.readouterr().err


def test_the_makefile_has_every_command():
    targets = (ROOT / "Makefile").read_text().partition("TARGETS = ")[2].splitlines()[0]
    assert targets.split() == list(make.COMMANDS)


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler stand-in is a shell script")
@pytest.mark.parametrize(
    ("features", "known", "flags"),
    [
        ("fpu avx512_fp16 amx_tile", "-mno-", "-march=x -mno-amx-bf16 -mno-amx-int8 -mno-amx-tile"),
        ("fpu avx512_fp16", "-mno-avx512fp16", "-march=x -mno-avx512fp16"),
        ("fpu avx512_fp16", "nothing", None),  # an older compiler, which refuses the flag
        ("fpu avx512f", "-mno-", None),
    ],
)
def test_llama_is_compiled_without_what_slows_or_breaks_it(
    monkeypatch, tmp_path, features, known, flags
):
    facts, compiler = tmp_path / "cpuinfo", tmp_path / "cc"
    facts.write_text(f"processor\t: 0\nflags\t\t: {features}\nbugs\t\t: amx_tile\n")
    compiler.write_text(f'#!/bin/sh\ncase "$1" in {known}*) exit 0;; esac\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setattr(make, "CPU_FACTS", facts)
    for variable in ("CC", "CXX"):
        monkeypatch.setenv(variable, str(compiler))
    monkeypatch.setenv("CXXFLAGS", "-march=x")
    monkeypatch.setenv("CFLAGS", "-O1")
    settings = make.compiler_settings()
    assert "-DLLAVA_BUILD=OFF" in settings.pop("CMAKE_ARGS")
    if flags is None:
        assert settings == {}
    else:
        assert settings["CXXFLAGS"].startswith(flags)
        assert settings["CFLAGS"] == settings["CXXFLAGS"].replace("-march=x", "-O1")
        assert ("-mno-avx512fp16" in settings["CXXFLAGS"]) == ("avx512_fp16" in features)


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler is another there")
def test_without_a_compiler_or_its_facts_nothing_is_set(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "CPU_FACTS", tmp_path / "none")
    assert list(make.compiler_settings()) == ["CMAKE_ARGS"]
    (tmp_path / "facts").write_text("flags : avx512_fp16\n")
    monkeypatch.setattr(make, "CPU_FACTS", tmp_path / "facts")
    for variable in ("CC", "CXX"):
        monkeypatch.setenv(variable, str(tmp_path / "no compiler"))
    assert list(make.compiler_settings()) == ["CMAKE_ARGS"]


def test_only_the_library_is_compiled_and_what_the_user_asks_for_goes_last(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "LIBRARY_ALONE", tmp_path / "a folder" / "alone.cmake")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    given = shlex.split(make.compiler_settings()["CMAKE_ARGS"])
    alone = (
        f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={(tmp_path / 'a folder' / 'alone.cmake').as_posix()}"
    )
    assert given == ["-DLLAVA_BUILD=OFF", alone, "-DGGML_CUDA=ON"]


def test_the_demo_installs_nothing_for_development(clone, monkeypatch):
    wanted = []
    monkeypatch.setattr(make, "ensure_environment", lambda: None)
    monkeypatch.setattr(make, "ensure_installed", wanted.append)
    monkeypatch.setattr(make, "run_steps", lambda *_: 0)
    assert make.main(["demo"]) == 0
    assert not {"dev", "train"} & set(wanted[0].split(","))


# --- prebuilt wheels ----------------------------------------------------------


@pytest.fixture
def index(clone, monkeypatch):
    """An index on this machine, and a record of what pip and the probe are asked."""
    handler = partial(QuietHandler, directory=str(clone / "index"))
    (clone / "index" / "llama-cpp-python").mkdir(parents=True)
    (clone / "pyproject.toml").write_text('[project]\ndependencies = ["llama-cpp-python>=9"]\n')
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(make.WHEELS_VARIABLE, f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def asked(monkeypatch, *, llama: bool = False, install: int = 0, probe: int = 0) -> list[str]:
    """The words of each command that ensure_prebuilt runs, except the look at the index."""
    commands = []
    quiet = make._quiet

    def run(command, timeout_s=None):
        words = " ".join(command)
        if make.REACH in command:
            return quiet(command, timeout_s)
        commands.append(words)
        if "import llama_cpp" in words:
            return 0 if llama else 1
        return probe if str(make.PROBE) in words else install

    monkeypatch.setattr(make, "_quiet", run)
    make.ensure_prebuilt()
    return commands


def test_a_prebuilt_wheel_that_runs_is_kept(index, monkeypatch, capsys):
    commands = asked(monkeypatch)
    assert "--only-binary llama-cpp-python llama-cpp-python>=9" in commands[1]
    assert len(commands) == 3
    assert "runs here" in capsys.readouterr().out


def test_a_prebuilt_wheel_that_does_not_run_is_taken_out_again(index, monkeypatch, capsys):
    commands = asked(monkeypatch, probe=132)
    assert commands[-1].endswith("uninstall --yes llama-cpp-python")
    assert "does not run" in capsys.readouterr().out


def test_an_index_without_a_fitting_wheel_changes_nothing(index, monkeypatch):
    assert len(asked(monkeypatch, install=1)) == 2


def test_an_installed_library_is_left_alone(index, monkeypatch):
    assert len(asked(monkeypatch, llama=True)) == 1


@pytest.mark.parametrize("wheels", ["", "http://127.0.0.1:1", "http://nowhere.invalid/whl"])
def test_without_an_index_it_compiles(clone, monkeypatch, wheels):
    monkeypatch.setenv(make.WHEELS_VARIABLE, wheels)
    assert len(asked(monkeypatch)) == (1 if wheels else 0)


def test_an_index_that_never_answers_is_given_up(clone, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(make.WHEELS_VARIABLE, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(make, "REACH_SECONDS", 0.5)
        assert len(asked(monkeypatch)) == 1


def test_the_requirement_is_the_one_of_pyproject():
    assert make.llama_requirement().startswith("llama-cpp-python>=")
