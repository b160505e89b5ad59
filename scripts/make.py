"""What `make` does, for every platform: `python -m scripts.make demo` (or test, lint, bench).

Needs nothing but Python 3.11 and its standard library. Creates `.venv`, installs edgeslm into it
in editable mode, compiles llama.cpp's library where no wheel fits, pulls the weights, and runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections import deque
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "edgeslm-installed"
LOG = ROOT / ".cache" / "setup.log"
MODEL = "smollm2-135m"
#: those that lie in specialists/
SPECIALISTS = (
    "receipt-fields",
    "receipt-fields-linear",
    "support-intents",
    "intents-oos-mini",
    "support-intents-mini",
    "spend-category-mini",
)
TAIL_LINES = 30

#: the whole suite runs in as many processes as there are cores, four at most: each has memory for
#: models of its own. Tests of one file share what they load
PARALLEL = ("--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile")

#: what each command runs in the virtual environment, one after the other
COMMANDS: dict[str, list[list[str]]] = {
    "setup": [],
    "demo": [["-m", "edgeslm", "pull", MODEL, *SPECIALISTS], ["-m", "examples.demo"]],
    "test": [["-m", "edgeslm", "pull", MODEL, *SPECIALISTS], ["-m", "pytest", *PARALLEL]],
    "lint": [
        ["-m", "ruff", "check"],
        ["-m", "ruff", "format", "--check"],
        ["-m", "mypy"],
    ],
    "soak": [["-m", "edgeslm", "pull", MODEL, *SPECIALISTS], ["-m", "pytest", "-m", "soak"]],
    "docs": [["-m", "scripts.site"]],
    "bench": [["-m", "edgeslm", "pull", MODEL], ["-m", "benchmarks"]],
    "train": [["-m", "edgeslm", "pull", MODEL], ["-m", "converters", "build"]],
}
#: the extras that a command needs; RUNTIME where none is listed
RUNTIME = "llama,onnx"
EXTRAS = {
    "setup": f"{RUNTIME},dev",
    "test": f"{RUNTIME},dev,documents,train",
    "soak": f"{RUNTIME},dev,documents,train",
    "lint": f"{RUNTIME},dev,documents,train",
    "docs": "docs",
    "bench": f"{RUNTIME},dev",
    "train": f"{RUNTIME},dev,train",
}
#: what a command finds in its environment beside what is there
SETTINGS = {"soak": {"EDGESLM_SOAK": "1"}}

#: What llama.cpp is not to be compiled for although the processor has it. Its attention over
#: AVX512-FP16 takes heads of fewer than 128 numbers one number at a time, which made a decode 1.6
#: times slower behind 300 tokens and 1.85 times behind 1,000 (benchmarks/LOG.md). GCC 12.2 sets AMX
#: up with an illegal instruction (its bug 114098).
AVOIDED = {
    "avx512_fp16": ["-mno-avx512fp16"],
    "amx_tile": ["-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16"],
}
CPU_FACTS = Path("/proc/cpuinfo")

#: Of llama-cpp-python only llama.cpp's library is loaded. Its library for pictures and sound is
#: switched off; the one of llama.cpp's own tools is built whatever the command line says, so it is
#: switched off from within llama.cpp's project. 83 steps are left of 193.
LIBRARY_ALONE = ROOT / "scripts" / "llama_library_alone.cmake"
#: prebuilt wheels of llama-cpp-python; the variable names another index, or none if it is empty
WHEELS = "https://abetlen.github.io/llama-cpp-python/whl/cpu"
WHEELS_VARIABLE = "EDGESLM_LLAMA_WHEELS"
REACH_SECONDS = 5
REACH = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"
PROBE = ROOT / "edgeslm" / "engines" / "llama" / "probe.py"

NO_COMPILER = """\
llama-cpp-python has to be compiled, and no C++ compiler was found. Install one:
  Debian, Ubuntu:  sudo apt-get install build-essential
  Fedora:          sudo dnf install gcc-c++
  macOS:           xcode-select --install
  Windows:         Visual Studio Build Tools with "Desktop development with C++"
or use a prebuilt wheel, then run this again:
  {python} -m pip install llama-cpp-python \\
    --extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu"""


class SetupError(Exception):
    """The set-up cannot go on; the message says why and what to do."""


class Progress:
    """pip's verbose output, told in a few lines: one that is rewritten, on a terminal."""

    _STEP = re.compile(r"^\s*\[(\d+)/(\d+)\] ")
    _COMPILE = re.compile(r"Building wheel for llama[-_]cpp[-_]python")

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._compiling = False

    def see(self, line: str) -> None:
        """Take one line of pip's output; raises SetupError if it announces what cannot work."""
        if self._COMPILE.search(line) and not self._compiling:
            self._compiling = True
            self._begin_compiling()
        step = self._STEP.match(line)
        if step and self._compiling:
            self._show_step(int(step[1]), int(step[2]))
        elif self._terminal and line.startswith(("Collecting ", "  Downloading ")):
            self._rewrite(line.strip())

    def close(self) -> None:
        if self._terminal:
            self._rewrite("")

    def _begin_compiling(self) -> None:
        if os.name != "nt" and not _has_compiler():  # Visual Studio is found by CMake alone
            raise SetupError(NO_COMPILER.format(python=PYTHON))
        self._say(
            f"no prebuilt llama-cpp-python fits: compiling llama.cpp on {os.cpu_count()} cores, "
            "once (some minutes; the README names prebuilt wheels)"
        )

    def _show_step(self, done: int, of: int) -> None:
        if self._terminal:
            self._rewrite(f"compiling llama.cpp: {done}/{of}")
        elif done % 10 == 0 or done == of:
            self._say(f"compiling llama.cpp: {done}/{of}")

    def _say(self, text: str) -> None:
        self.close()
        print(text, file=self._out, flush=True)

    def _rewrite(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r{text[:width]:<{width}}\r{text[:width]}")
        self._out.flush()


def main(arguments: list[str]) -> int:
    """Run one command; what follows it goes to its last step, as in ``test -k cgroup``."""
    if sys.version_info < (3, 11):  # noqa: UP036  plain python3 may be older
        return _fail(
            f"edgeslm needs Python 3.11 or newer, this is {sys.version.split()[0]}; "
            "with make: make PYTHON=python3.12 demo"
        )
    if not arguments or arguments[0] not in COMMANDS:
        return _fail(f"usage: python -m scripts.make {{{'|'.join(COMMANDS)}}} [ARGUMENTS]", 2)
    try:
        ensure_environment()
        ensure_installed(EXTRAS.get(arguments[0], RUNTIME))
    except SetupError as error:
        return _fail(str(error))
    os.environ.update(SETTINGS.get(arguments[0], {}))
    return run_steps(COMMANDS[arguments[0]], arguments[1:])


def run_steps(steps: list[list[str]], extra: list[str]) -> int:
    """Run the steps in the environment until one fails; returns its exit status."""
    for index, step in enumerate(steps):
        command = [str(PYTHON), *step, *(extra if index == len(steps) - 1 else [])]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status != 0:
            return status
    return 0


def ensure_environment() -> None:
    """Create the virtual environment, or create it anew if an interruption left half of one."""
    if PYTHON.exists() and _quiet([str(PYTHON), "-m", "pip", "--version"]) == 0:
        return
    print(f"creating the virtual environment {VENV.name}", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise SetupError(
            f"Python could not create {VENV}:\n{made.stdout}{made.stderr}\n"
            "On Debian and Ubuntu: sudo apt-get install python3-venv"
        )


def ensure_installed(extras: str) -> None:
    """Install edgeslm with these extras, unless that was done for this very pyproject.toml."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    done, _, listed = STAMP.read_text().partition(" ") if STAMP.exists() else ("", "", "")
    asked, has = set(extras.split(",")), set(listed.split(",")) if done == wanted else set()
    if asked <= has:
        return
    print(f"installing edgeslm and what it needs (log: {LOG.relative_to(ROOT)})", flush=True)
    started = time.monotonic()
    if "llama" in asked:
        ensure_prebuilt()
    _install([*_pip("install"), "--verbose", "--editable", f".[{extras}]"])
    STAMP.write_text(f"{wanted} {','.join(sorted(asked | has))}")
    print(f"installed in {time.monotonic() - started:.0f} seconds", flush=True)


def ensure_prebuilt() -> None:
    """Install a prebuilt llama-cpp-python, if an index of them answers and the wheel runs here.

    It leaves the environment as it was where the index does not answer within REACH_SECONDS, has no
    wheel that fits, or where edgeslm's own probe of the library fails on this processor.
    """
    wheels = os.environ.get(WHEELS_VARIABLE, WHEELS)
    if not wheels or _quiet([str(PYTHON), "-P", "-c", "import llama_cpp"]) == 0:
        return
    if not _answers(f"{wheels.rstrip('/')}/llama-cpp-python/"):
        return
    source = ["--extra-index-url", wheels, "--only-binary", "llama-cpp-python"]
    if _quiet(_pip("install", *source, llama_requirement())) != 0:
        return
    if _runs():
        print("a prebuilt llama-cpp-python runs here", flush=True)
        return
    print("the prebuilt llama-cpp-python does not run on this processor", flush=True)
    _quiet(_pip("uninstall", "--yes", "llama-cpp-python"))


def llama_requirement() -> str:
    """What pyproject.toml asks of llama-cpp-python, such as ``llama-cpp-python>=0.3.36,<0.4``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    return str(next(name for names in listed for name in names if name.startswith("llama-cpp")))


def _answers(url: str) -> bool:
    """Whether a page is there; in a child, since a name that nobody resolves has no time-out."""
    try:
        return _quiet([sys.executable, "-c", REACH, url], REACH_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False


def _runs() -> bool:
    """Whether the installed library computes here; an instruction too many ends the child."""
    try:
        return _quiet([str(PYTHON), "-P", str(PROBE)], 120) == 0
    except subprocess.TimeoutExpired:
        return False


def _install(command: list[str]) -> None:
    """Run pip with its output in the log and a digest of it on the screen."""
    LOG.parent.mkdir(exist_ok=True)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    progress = Progress(sys.stdout)
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | compiler_settings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as pip,
    ):
        try:
            for line in pip.stdout or ():
                log.write(line)
                log.flush()
                tail.append(line)
                progress.see(line)
        except BaseException:
            pip.terminate()
            raise
        finally:
            progress.close()
    if pip.returncode != 0:
        raise SetupError(_explain_pip_failure(tail))


def _explain_pip_failure(tail: deque[str]) -> str:
    hint = "" if _has_compiler() else "\n\n" + NO_COMPILER.format(python=PYTHON)
    return f"{''.join(tail)}\nthe installation failed; all of its output is in {LOG}{hint}"


def compiler_settings() -> dict[str, str]:
    """CMAKE_ARGS for the library alone, CFLAGS and CXXFLAGS without AVOIDED.

    What is avoided are features that the processor has and the compiler knows.
    """
    facts = CPU_FACTS.read_text() if CPU_FACTS.exists() else ""
    has = set(facts.partition("\nflags")[2].partition("\n")[0].split())
    given = os.environ.get("CMAKE_ARGS", "")
    alone = shlex.quote(f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={LIBRARY_ALONE.as_posix()}")
    settings = {"CMAKE_ARGS": f"-DLLAVA_BUILD=OFF {alone} {given}".rstrip()}
    for variable, compiler in (("CFLAGS", ["CC", "cc"]), ("CXXFLAGS", ["CXX", "c++"])):
        command = os.environ.get(compiler[0], "").split() or compiler[1:]
        flags = [
            flag
            for feature in AVOIDED.keys() & has
            for flag in AVOIDED[feature]
            if shutil.which(command[0]) and _quiet([*command, flag, "-E", "-xc", os.devnull]) == 0
        ]
        if flags:
            settings[variable] = " ".join([*os.environ.get(variable, "").split(), *sorted(flags)])
    return settings


def _has_compiler() -> bool:
    names = [os.environ.get("CXX", "").split(" ")[0], "c++", "g++", "clang++", "cl"]
    return any(name and shutil.which(name) for name in names)


def _pip(*arguments: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]


def _quiet(command: list[str], timeout_s: float | None = None) -> int:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=timeout_s
    )
    return done.returncode


def _fail(message: str, status: int = 1) -> int:
    print(message, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
