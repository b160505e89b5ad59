"""Threads, memory, the fit check, and the child process that tries the llama library."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm import children
from edgeslm.engines.device import container, machine, processor
from edgeslm.errors import MachineError, ResourceError

GOOD_CHILD = (
    "import json; print('noise'); print(json.dumps({'version': '1', 'system_info': 'CPU : AVX = 1',"
    " 'gpu_offload': False, 'devices': []}))"
)


@pytest.fixture
def probe(monkeypatch):
    """Probes the build with a child process that runs some code in place of the probe."""

    def run(*code, python=sys.executable):
        monkeypatch.setattr(children, "child_command", lambda *_: [python, "-c", *code])
        return machine.probe_build()

    return run


@pytest.fixture
def device(monkeypatch):
    """Returns a function that makes this machine appear to have the given cores."""

    def become(logical, physical=None, *, fast=None, affinity=None, quota=None, twice=None):
        cpus = frozenset(affinity if affinity is not None else range(logical))
        monkeypatch.setattr(machine.os, "cpu_count", lambda: logical)
        monkeypatch.setattr(psutil, "cpu_count", lambda logical: physical)
        monkeypatch.setattr(machine, "_affinity", lambda: cpus)
        monkeypatch.setattr(processor, "performance_cpus", lambda: fast and frozenset(fast))
        monkeypatch.setattr(processor, "threads_of_core", told_of(twice))
        monkeypatch.setattr(container, "cpu_quota", lambda: quota)

    def told_of(twice):
        """Nothing is told of cores, or ``twice`` are the CPUs of those that run two threads."""
        return lambda cpu: None if twice is None else 2 if cpu in twice else 1

    return become


#: 4 fast cores of two threads each, and 8 slow ones of one
HYBRID = {"logical": 16, "physical": 12, "fast": range(8), "twice": range(8)}


@pytest.mark.parametrize(
    ("cores", "usable", "threads"),
    [
        ({"logical": 1, "physical": 1}, 1, 1),
        ({"logical": 2, "physical": 2}, 2, 2),
        ({"logical": 2, "physical": 1}, 2, 2),
        ({"logical": 8, "physical": 4}, 8, 4),
        ({"logical": 4, "physical": None}, 4, 4),
        ({"logical": 128, "physical": 64}, 128, 8),
        ({"logical": 8, "physical": 8, "affinity": [3]}, 1, 1),
        ({"logical": 8, "physical": 8, "quota": 2.5}, 2, 2),
        ({"logical": 8, "physical": 8, "quota": 0.2}, 1, 1),
        ({"logical": 8, "physical": 8, "fast": range(4)}, 4, 4),
        ({"logical": 8, "physical": 8, "fast": range(4), "affinity": [6, 7]}, 2, 2),
        (HYBRID, 8, 4),
        ({**HYBRID, "affinity": range(8, 16)}, 8, 8),
        ({**HYBRID, "affinity": range(4, 16)}, 4, 2),
        ({**HYBRID, "quota": 3.0}, 3, 2),
    ],
)
def test_usable_cores_and_threads(device, cores, usable, threads):
    device(**cores)
    assert machine.usable_cores() == usable
    assert machine.default_threads() == threads


def test_describe_is_consistent():
    facts = machine.describe()
    assert 1 <= facts.usable_cores <= facts.logical_cores
    assert 0 < facts.memory_available <= facts.memory_total
    assert facts.os and facts.python.startswith("CPython")


def test_available_memory_respects_the_container(monkeypatch):
    monkeypatch.setattr(container, "memory_room", lambda: 12345)
    assert machine.available_memory() == 12345
    monkeypatch.setattr(container, "memory_room", lambda: 1 << 60)
    assert 0 < machine.available_memory() < 1 << 60


def test_openmp_spins_a_bounded_time_unless_the_user_says_otherwise(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    machine.prepare_openmp()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    machine.prepare_openmp()
    assert os.environ["GOMP_SPINCOUNT"] == "77"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    machine.prepare_openmp()
    assert "GOMP_SPINCOUNT" not in os.environ


# --- does it fit --------------------------------------------------------------

sizes = st.integers(0, 1 << 45)


@given(sizes, sizes, sizes, sizes)
def test_a_model_is_refused_exactly_when_it_does_not_fit(weights, kv, compute, available):
    need = machine.Need(weights, kv, compute)
    if weights + kv + compute <= available:
        machine.check_fit(need, available, "m.gguf")
    else:
        with pytest.raises(ResourceError):
            machine.check_fit(need, available, "m.gguf")


def test_the_refusal_has_all_numbers_and_the_next_step():
    need = machine.Need(weights=98_900_000, kv=1_250_000_000, compute=30_000_000)
    with pytest.raises(ResourceError) as caught:
        machine.check_fit(need, 500_000_000, "m.gguf with a context of 8192")
    message = str(caught.value)
    for part in ("8192", "1.38 GB", "98.9 MB", "1.25 GB", "30.0 MB", "500.0 MB", "878.9 MB"):
        assert part in message
    assert "smaller context" in message


# --- the build ----------------------------------------------------------------


def test_the_installed_library_runs_here():
    build = machine.probe_build()
    assert build.version.startswith("0.3.")
    assert "CPU" in build.system_info
    assert build.devices or not build.gpu_offload


def test_what_the_child_says_is_read_from_its_last_line(probe):
    assert probe(GOOD_CHILD).version == "1"


@pytest.mark.skipif(sys.platform == "win32", reason="no signals on Windows")
@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGILL, "built for a newer processor"), (signal.SIGSEGV, "SIGSEGV")],
)
def test_a_killed_child_is_explained(probe, number, says):
    code = f"import os, signal; os.kill(os.getpid(), signal.Signals({int(number)}))"
    with pytest.raises(MachineError, match=says):
        probe(code)


def test_an_old_processor_is_told_what_it_has_and_what_to_install(probe, monkeypatch):
    monkeypatch.setattr(processor, "instruction_sets", lambda: ("sse3", "avx"))
    monkeypatch.setattr(processor, "model_name", lambda: "Old 1000")
    windows = "raise OSError('[WinError -1073741795] Windows Error 0xc000001d')"
    with pytest.raises(MachineError) as caught:
        probe(windows)
    for part in ("Old 1000", "sse3, avx", "whl/cpu", "--no-cache-dir"):
        assert part in str(caught.value)


def test_the_exit_status_of_windows_for_an_illegal_instruction(monkeypatch):
    done = subprocess.CompletedProcess([], 0xC000001D, b"", b"")
    monkeypatch.setattr(machine, "run_child", lambda *_, **__: done)
    with pytest.raises(MachineError, match="newer processor"):
        machine.probe_build()


def test_a_missing_system_library_is_named(probe):
    code = "raise RuntimeError('libgomp.so.1: cannot open shared object file')"
    with pytest.raises(MachineError, match=r"libgomp\.so\.1: cannot open") as caught:
        probe(code)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("code", ["pass", "print('{}')", "print('[1]')", "print('not json')"])
def test_a_child_that_says_something_else(probe, code):
    with pytest.raises(MachineError, match="does not tell what it is"):
        probe(code)


def test_a_child_that_hangs(probe, monkeypatch):
    monkeypatch.setattr(machine, "_PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(MachineError, match="did not load within"):
        probe("import time; time.sleep(60)")


def test_an_interpreter_that_is_not_there(probe):
    with pytest.raises(MachineError, match="could not be started"):
        probe("pass", python="/nowhere/python")


def test_no_library_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="not installed"):
        machine.check_build()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of one file, a cache folder of its own, and a list of the probes made."""
    file = tmp_path / "lib" / "libllama.so"
    file.parent.mkdir()
    file.write_bytes(b"one")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(file.parent))
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    probes: list[int] = []
    monkeypatch.setattr(machine, "probe_build", lambda: probes.append(1))
    return file, probes


def test_the_build_is_tried_once_per_library_and_processor(library, monkeypatch):
    file, probes = library
    machine.check_build()
    machine.check_build()
    assert len(probes) == 1
    file.write_bytes(b"another")
    machine.check_build()
    assert len(probes) == 2
    monkeypatch.setattr(processor, "model_name", lambda: "another processor")
    machine.check_build()
    assert len(probes) == 3


def test_a_failed_try_is_not_remembered(library, monkeypatch):
    def refuse():
        raise MachineError("no")

    _, probes = library
    works = machine.probe_build
    monkeypatch.setattr(machine, "probe_build", refuse)
    with pytest.raises(MachineError):
        machine.check_build()
    monkeypatch.setattr(machine, "probe_build", works)
    machine.check_build()
    assert len(probes) == 1


def test_a_cache_folder_that_cannot_be_written_costs_a_try_each_time(library, tmp_path):
    _, probes = library
    (tmp_path / "home").write_text("a file where the folder should be")
    machine.check_build()
    machine.check_build()
    assert len(probes) == 2
