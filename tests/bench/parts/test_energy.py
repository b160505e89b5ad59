"""Energy: counters as systems show them, joules per request, and no number where none is told"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path

import pytest

from edgeslm.bench.machine import sensors
from edgeslm.bench.machine.nvidia import Nvml
from edgeslm.bench.parts import energy
from edgeslm.bench.parts.energy import Meter, PowerLog, battery_meter, measure, rapl_meter

#: Windows has no file names with the colon of RAPL's zones, and no RAPL
rapl = pytest.mark.skipif(sys.platform == "win32", reason="RAPL's file names hold a colon")


def zone(powercap: Path, number: str, name: str, joules: float, most: float = 1000.0) -> Path:
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{round(most * 1e6)}\n")
    count(folder, joules)
    return folder


def count(folder: Path, joules: float) -> None:
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


@rapl
def test_rapl_adds_packages_and_memory_but_not_the_cores_within_a_package(tmp_path):
    folders = {
        name: zone(tmp_path, number, name, joules=100)
        for number, name in (("0", "package-0"), ("0:0", "core"), ("0:1", "dram"))
    }
    meter = rapl_meter(tmp_path)
    assert isinstance(meter, Meter)
    assert meter.source == "rapl"
    assert meter.joules() == 0
    count(folders["package-0"], 107)
    count(folders["core"], 105)
    count(folders["dram"], 102)
    assert meter.joules() == pytest.approx(9)


@rapl
def test_a_rapl_counter_that_was_full_starts_again(tmp_path):
    folder = zone(tmp_path, "0", "package-0", joules=990)
    meter = rapl_meter(tmp_path)
    assert isinstance(meter, Meter)
    count(folder, 15)
    assert meter.joules() == pytest.approx(25)
    count(folder, 16)
    assert meter.joules() == pytest.approx(26)


@rapl
def test_rapl_that_is_absent_or_closed_says_why(tmp_path, monkeypatch):
    assert "no energy counter" in str(rapl_meter(tmp_path))
    zone(tmp_path, "0", "package-0", joules=1)
    read_text = Path.read_text

    def closed(path, *args, **kwargs):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", closed)
    assert "chmod" in str(rapl_meter(tmp_path))


@pytest.mark.parametrize(("status", "has_meter"), [("Discharging", True), ("Charging", False)])
def test_a_battery_counts_only_while_it_feeds_the_machine(tmp_path, status, has_meter):
    battery = tmp_path / "BAT0"
    battery.mkdir()
    (battery / "status").write_text(f"{status}\n")
    (battery / "energy_now").write_text("50000000\n")
    meter = battery_meter(tmp_path)
    assert isinstance(meter, Meter) is has_meter
    if isinstance(meter, Meter):
        before = meter.joules()
        (battery / "energy_now").write_text("49000000\n")  # one watt-hour less
        assert meter.joules() - before == pytest.approx(3600)


def test_a_battery_that_counts_charge_alone_is_no_meter(tmp_path):
    battery = tmp_path / "BAT0"
    battery.mkdir()
    (battery / "status").write_text("Discharging\n")
    (battery / "charge_now").write_text("4000000\n")
    assert isinstance(battery_meter(tmp_path), str)


def test_powermetrics_adds_each_sample_over_its_own_length():
    log = PowerLog()
    text = b"""*** Sampled system activity (Fri Jan  2 10:00:00 2026 +0100) (200.00ms elapsed) ***
CPU Power: 4000 mW
GPU Power: 900 mW
Combined Power (CPU + GPU + ANE): 5000 mW

*** Sampled system activity (Fri Jan  2 10:00:01 2026 +0100) (500.00ms elapsed) ***
Combined Power (CPU + GPU + ANE): 1000 mW
"""
    for line in text.splitlines(keepends=True):
        log.read(line)
    assert log.joules() == pytest.approx(5 * 0.2 + 1 * 0.5)


# --- requests -------------------------------------------------------------------


class Machine:
    """Uses 2 joules for each request, and none between them."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def request(self, number: int) -> None:
        self.numbers.append(number)
        time.sleep(0.001)

    def meter(self, window_s: float) -> Meter:
        return Meter("rapl", window_s, lambda: 2.0 * len(self.numbers))


def test_energy_is_that_of_one_request():
    machine = Machine()
    consumed = measure(machine.request, machine.meter(0.01), 0.05, idle_s=0.01)
    assert consumed is not None
    assert (consumed.joules.value, consumed.source, consumed.idle_watts) == (2.0, "rapl", 0.0)
    assert consumed.joules.n >= 3
    assert machine.numbers == list(range(len(machine.numbers)))


def test_a_run_too_short_for_the_counter_gives_no_number():
    machine = Machine()
    assert measure(machine.request, machine.meter(60.0), 20.0) is None
    assert machine.numbers == []


def test_a_counter_that_stands_still_gives_no_number():
    still = Meter("nvml", 0.001, lambda: 5.0)
    assert measure(lambda _: None, still, 0.01, idle_s=0) is None


# --- NVIDIA ---------------------------------------------------------------------


class FakeLibrary:
    """NVML of two GPUs; ``energy`` is None where the GPUs do not count it."""

    def __init__(self, energy: tuple[int, int] | None) -> None:
        self.energy = energy

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802  the library's own name
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
        handle._obj.value = index.value + 1
        return 0

    def nvmlSystemGetDriverVersion(self, text, size):  # noqa: N802
        text.value = b"570.12"
        return 0

    def nvmlDeviceGetTemperature(self, gpu, kind, answer):  # noqa: N802
        assert kind.value == 0
        answer._obj.value = 50 + gpu.value
        return 0

    def nvmlDeviceGetClockInfo(self, gpu, kind, answer):  # noqa: N802
        return 3  # not supported

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu, answer):  # noqa: N802
        if self.energy is None:
            return 3
        assert isinstance(answer._obj, ctypes.c_ulonglong)
        answer._obj.value = self.energy[gpu.value - 1]
        return 0


def test_nvml_answers_for_all_gpus_and_tells_what_it_cannot():
    library = Nvml(FakeLibrary(energy=(1500, 500)))
    assert library.driver() == "570.12"
    assert library.temperature() == 52
    assert library.clock_mhz() is None
    assert library.joules() == 2.0
    assert Nvml(FakeLibrary(energy=None)).joules() is None


def test_a_machine_without_the_driver_has_no_gpu_meter(monkeypatch):
    monkeypatch.setattr(energy, "nvml", lambda: None)
    monkeypatch.setattr(energy.sys, "platform", "linux")
    with energy.open_meter(gpu=True) as meter:
        assert isinstance(meter, str)


def test_an_nvidia_gpu_is_metered_and_its_heat_counts(monkeypatch):
    library = Nvml(FakeLibrary(energy=(1500, 500)))
    monkeypatch.setattr(energy, "nvml", lambda: library)
    monkeypatch.setattr(sensors, "nvml", lambda: library)
    monkeypatch.setattr(sensors, "_processor_temperature", lambda: 40.0)
    monkeypatch.setattr(energy.sys, "platform", "linux")
    with energy.open_meter(gpu=True) as meter:
        assert isinstance(meter, Meter)
        assert (meter.source, meter.joules()) == ("nvml", 2.0)
    assert sensors.temperature() == 52
