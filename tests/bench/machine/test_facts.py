"""Facts of machine and model: what is told, what is measured, what stays from run to run"""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeslm.bench.machine import facts, limits, sensors
from edgeslm.bench.report.schema import Device, MachineFacts
from edgeslm.engines.device import machine
from edgeslm.engines.device.machine import Build
from edgeslm.formats.files import file_sha256
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.tiny_gguf import write_tiny_gguf

BUILD = Build("0.3.36", "CPU : AVX2 = 1 | FMA = 1 | F16C = 1", False, ())
FOUND = replace(
    machine.describe(),
    instruction_sets=("avx2", "fma"),
    load_average=None,
    on_battery=False,
    virtual=False,
)


@pytest.fixture(scope="module")
def described() -> MachineFacts:
    return facts.machine_facts(measure=False)


def test_this_machine_is_described_without_measuring(described):
    assert described.memory > 0
    assert sum(described.cores.values()) > 0
    assert described.threads >= 1
    assert described.library.startswith("llama-cpp-python ")
    assert described.backends[0] == "CPU"
    assert described.bandwidth is None
    assert described.peak is None


def test_the_fingerprint_stays_from_run_to_run(described):
    assert facts.machine_facts(measure=False).fingerprint == described.fingerprint


def test_the_fingerprint_changes_with_what_decides_speed():
    cores = {"physical": 4}
    gpu = Device(name="RTX 4090", memory=24 << 30, driver="570.12")
    newer = replace(BUILD, version="0.3.37")
    faster = replace(BUILD, system_info=BUILD.system_info + " | AVX512 = 1")
    told = [
        facts.fingerprint(FOUND, cores, (), BUILD),
        facts.fingerprint(replace(FOUND, cpu_model="another"), cores, (), BUILD),
        facts.fingerprint(replace(FOUND, memory_total=64 << 30), cores, (), BUILD),
        facts.fingerprint(FOUND, {"physical": 8}, (), BUILD),
        facts.fingerprint(FOUND, cores, (gpu,), BUILD),
        facts.fingerprint(FOUND, cores, (gpu.model_copy(update={"driver": "580.1"}),), BUILD),
        facts.fingerprint(FOUND, cores, (), newer),
        facts.fingerprint(FOUND, cores, (), faster),
    ]
    assert len(set(told)) == len(told)
    more = replace(FOUND, memory_total=FOUND.memory_total // (1 << 30) * (1 << 30) + (1 << 26))
    less = replace(more, memory_total=more.memory_total - (1 << 25))
    assert facts.fingerprint(more, cores, (), BUILD) == facts.fingerprint(less, cores, (), BUILD)


@pytest.mark.parametrize(
    ("logical", "physical", "fast", "cores"),
    [
        (8, 4, None, {"physical": 4}),
        (20, 14, 12, {"performance": 6, "efficiency": 8}),  # an i7-12700H
        (10, 10, 8, {"performance": 8, "efficiency": 2}),  # an M1 Pro
        (4, None, None, {"logical": 4}),
    ],
)
def test_cores_are_told_apart_by_kind(logical, physical, fast, cores):
    processor = replace(
        FOUND, logical_cores=logical, physical_cores=physical, performance_cores=fast
    )
    assert facts.cores_by_kind(processor) == cores


def test_backends_are_the_kinds_of_devices():
    two = tuple(machine.Device(f"CUDA{i}", "RTX 4090", 1, 2) for i in range(2))
    assert facts.backends(replace(BUILD, devices=two)) == ("CPU", "CUDA")


def test_what_disturbs_a_run_is_said(monkeypatch):
    monkeypatch.setattr(sensors, "governor", lambda: "powersave")
    monkeypatch.setattr(sensors, "clock_driver", lambda: "acpi-cpufreq")
    monkeypatch.setattr(facts.doctor, "nvidia_driver", lambda: True)
    monkeypatch.setattr(facts.os, "environ", {})
    told = list(facts.warnings(replace(FOUND, virtual=True, on_battery=True), BUILD, 0.4))
    for word in ("40%", "powersave", "virtual machine", "battery", "no GPU backend"):
        assert sum(word in warning for warning in told) == 1, word
    assert len(told) == 5


def test_a_quiet_machine_has_no_warnings(monkeypatch):
    monkeypatch.setattr(sensors, "governor", lambda: "powersave")
    monkeypatch.setattr(sensors, "clock_driver", lambda: "intel_pstate")  # raises the clock itself
    monkeypatch.setattr(facts.doctor, "nvidia_driver", lambda: False)
    monkeypatch.setattr(facts.os, "environ", {})
    assert list(facts.warnings(FOUND, BUILD, 0.02)) == []


def test_limits_are_measured():
    # a machine of any kind reads between 0.1 GB and 100 TB, and multiplies, in a second
    assert 1e8 < limits.read_bandwidth(0.05, n_bytes=8 << 20) < 1e14
    assert 1e7 < limits.matrix_peak(0.05, rows=128) < 1e15


# --- sensors --------------------------------------------------------------------


def test_the_governors_of_all_processors_are_read(tmp_path):
    assert sensors.governor(tmp_path) is None
    for i, name in enumerate(["performance", "powersave", "performance"]):
        folder = tmp_path / f"cpu{i}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    (tmp_path / "cpu0" / "cpufreq" / "scaling_driver").write_text("intel_pstate\n")
    assert sensors.governor(tmp_path) == "performance, powersave"
    assert sensors.clock_driver(tmp_path) == "intel_pstate"


def test_sensors_that_are_not_connected_do_not_count():
    assert sensors.hottest([[-273.0, 41.5], [255.0, 39.0], []]) == 41.5
    assert sensors.hottest([[0.0]]) is None


# --- the model ------------------------------------------------------------------


def test_a_model_is_described_by_its_header(tiny_model):
    model = facts.model_facts(tiny_model, name="tiny")
    assert (model.name, model.architecture, model.task) == ("tiny", "llama", "none")
    assert model.sha256 == file_sha256(tiny_model)
    assert model.size == tiny_model.stat().st_size
    assert model.synthetic is False
    assert facts.model_facts(tiny_model, synthetic=True).synthetic is True


def test_a_tied_embedding_table_is_read_and_another_is_only_looked_up(tmp_path):
    tied = read_gguf(write_tiny_gguf(tmp_path / "tied.gguf", tied=True))
    apart = read_gguf(write_tiny_gguf(tmp_path / "apart.gguf", tied=False))
    assert facts.decode_bytes(tied) == tied.tensor_bytes
    assert facts.decode_bytes(apart) == facts.decode_bytes(tied)
    assert apart.tensor_bytes > tied.tensor_bytes


def test_prompt_tokens_are_multiplied_with_the_layers_alone(tiny_model):
    n_embd, n_kv, n_ff, n_layer = 64, 32, 128, 2
    layer = 2 * n_embd * n_embd + 2 * n_embd * n_kv + 3 * n_embd * n_ff
    assert facts.prefill_weights(read_gguf(tiny_model)) == n_layer * layer


def test_of_experts_those_count_that_a_token_is_sent_to(tiny_model):
    info = read_gguf(tiny_model)
    experts = {"llama.expert_count": 8, "llama.expert_used_count": 2}
    gate = next(t for t in info.tensors if t.name == "blk.0.ffn_gate.weight")
    some = replace(gate, name="blk.0.ffn_gate_exps.weight")
    mixed = replace(
        info,
        metadata={**info.metadata, **experts},
        tensors=(*(t for t in info.tensors if t is not gate), some),
    )
    less = facts.decode_bytes(info) - facts.decode_bytes(mixed)
    assert less == gate.n_bytes * 3 // 4
