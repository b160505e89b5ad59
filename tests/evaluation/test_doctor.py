"""What doctor finds: each judgement on made-up machines, and the whole on this one."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from edgeslm.engines.device import machine
from edgeslm.errors import MachineError, RegistryError
from edgeslm.evaluation import doctor
from edgeslm.store import packages
from edgeslm.store.entry import Entry
from edgeslm.store.packages import Packaged

HERE = machine.Machine(
    os="Linux 6 x86_64",
    python="CPython 3.11",
    cpu_model="Some CPU",
    instruction_sets=("avx", "avx2", "fma"),
    logical_cores=2,
    physical_cores=2,
    performance_cores=None,
    usable_cores=2,
    memory_total=8_000_000_000,
    memory_available=4_000_000_000,
    virtual=False,
    on_battery=None,
    load_average=(0.1, 0.1, 0.1),
)
BUILD = machine.Build("0.3.36", "CPU : AVX = 1 | AVX2 = 1 | FMA = 1 | OPENMP = 1", False, ())


def levels(findings) -> list[tuple[str, str]]:
    return [(finding.level, finding.about) for finding in findings]


def on(**changes) -> machine.Machine:
    return dataclasses.replace(HERE, **changes)


@pytest.mark.parametrize(
    ("facts", "openmp", "expected"),
    [
        (HERE, {}, []),
        (on(load_average=None), {}, []),
        (on(load_average=(2.4, 0, 0)), {}, []),
        (on(load_average=(2.6, 0, 0)), {}, [("warning", "load")]),
        (on(on_battery=True), {}, [("warning", "power")]),
        (on(on_battery=False), {}, []),
        (HERE, {"OMP_WAIT_POLICY": "PASSIVE"}, [("warning", "threads")]),
        (HERE, {"OMP_WAIT_POLICY": "active"}, []),
    ],
)
def test_machine(facts, openmp, expected):
    assert levels(doctor.judge_machine(facts, openmp)) == expected


@pytest.mark.parametrize(
    ("build", "facts", "nvidia", "expected"),
    [
        (BUILD, HERE, False, []),
        (BUILD, on(instruction_sets=("avx", "sse3", "avx512f")), False, ["library"]),
        (BUILD, HERE, True, ["GPU"]),
        (dataclasses.replace(BUILD, gpu_offload=True), HERE, True, []),
    ],
)
def test_build(build, facts, nvidia, expected):
    first, *warnings = doctor.judge_build(build, facts, nvidia)
    assert first.level == "ok"
    assert levels(warnings) == [("warning", about) for about in expected]


def test_an_unused_instruction_set_is_named():
    facts = on(instruction_sets=("avx2", "avx512f"))
    (_, warning) = doctor.judge_build(BUILD, facts, nvidia=False)
    assert "avx512f" in warning.message and "avx2" not in warning.message


def test_storage():
    small = doctor.StoredModel("small", Path("small.gguf"), 100)
    large = doctor.StoredModel("large", Path("large.gguf"), 5_000_000_000)
    plenty = 10**12
    assert levels(doctor.judge_storage((small,), plenty, 10**9)) == [("ok", "models")]
    assert levels(doctor.judge_storage((), plenty, 10**9)) == [("warning", "models")]
    assert levels(doctor.judge_storage((small, large), plenty, 10**9))[1:] == [
        ("warning", "memory")
    ]
    assert levels(doctor.judge_storage((small,), 10**6, 10**9))[1:] == [("warning", "disk")]


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGESLM_MODELS", raising=False)
    monkeypatch.setattr(doctor, "survey", lambda: ((), ()))
    return tmp_path


def test_this_machine(empty_home):
    report = doctor.examine()
    assert report.exit_code == 0
    assert report.build is not None and report.models == ()
    assert report.store.is_relative_to(empty_home / "home")
    assert report.disk_free is not None and report.disk_free > 0
    assert all(path.is_file() for path in report.registries)
    assert json.loads(json.dumps(report.to_dict()))["machine"]["usable_cores"] >= 1
    assert not (empty_home / "home").exists(), "looking leaves nothing behind"


def test_models_of_packages_are_read_too(empty_home, monkeypatch):
    path = empty_home / "a.gguf"
    path.write_bytes(b"whole")
    sha256 = hashlib.sha256(b"whole").hexdigest()
    entry = Entry(name="acme", source=f"file:{path}", sha256=sha256, licence="MIT")
    packaged = Packaged(entry, "acme-models", "1")
    monkeypatch.setattr(doctor, "survey", lambda: ((packaged,), ()))
    monkeypatch.setattr(packages, "find", lambda name: packaged if name == "acme" else None)
    assert [model.name for model in doctor.examine().models] == ["acme"]
    path.write_bytes(b"holed")
    report = doctor.examine()
    (problem,) = [finding for finding in report.findings if finding.level == "problem"]
    assert (problem.about, report.exit_code) == ("acme", 5)
    assert "pip install --force-reinstall --no-deps acme-models" in problem.message


def test_a_name_of_two_packages_is_a_warning_and_stops_nothing(empty_home, monkeypatch):
    twice = packages.Refused("acme", RegistryError("two packages bring 'acme'"), twice=True)
    damaged = packages.Refused("worn", RegistryError("worn: damaged"), twice=False)
    known = packages.Refused("smollm2-135m", RegistryError("not asked"), twice=True)
    monkeypatch.setattr(doctor, "survey", lambda: ((), (twice, known)))
    report = doctor.examine()
    assert ("warning", "acme") in levels(report.findings)
    assert "smollm2-135m" not in {finding.about for finding in report.findings}
    assert report.exit_code == 0
    monkeypatch.setattr(doctor, "survey", lambda: ((), (twice, damaged)))
    assert doctor.examine().exit_code == RegistryError.exit_code


def test_a_password_is_not_shown(empty_home, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:8080")
    shown = doctor.examine().network["HTTPS_PROXY"]
    assert shown == "http://***@proxy.example:8080"


def test_a_library_that_does_not_run_is_a_problem(empty_home, monkeypatch):
    def refuse():
        raise MachineError("built for a newer processor")

    monkeypatch.setattr(machine, "probe_build", refuse)
    report = doctor.examine()
    assert report.build is None
    assert report.exit_code == MachineError.exit_code
    assert any("newer processor" in finding.message for finding in report.findings)


def test_a_registry_that_cannot_be_read_is_a_problem(empty_home, monkeypatch):
    broken = empty_home / "models.toml"
    broken.write_text("[[model]\n")
    monkeypatch.setenv("EDGESLM_MODELS", str(broken))
    report = doctor.examine()
    assert report.exit_code == 11
    assert broken in report.registries
