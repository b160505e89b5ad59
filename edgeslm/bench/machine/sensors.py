"""Temperature, clock, governor and power source, where this machine tells; nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import psutil

from edgeslm.bench.machine.nvidia import nvml

#: the drivers of sensors that lie in processors, as Linux names them
_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu", "soc", "x86_pkg_temp", "apple_soc")
_CPUS = Path("/sys/devices/system/cpu")
#: a sensor that is not connected gives nonsense outside of these degrees Celsius
_BELIEVABLE = (1.0, 150.0)


def temperature() -> float | None:
    """Degrees Celsius of the hottest processor or NVIDIA GPU."""
    gpus = nvml()
    temperatures = [_processor_temperature(), None if gpus is None else gpus.temperature()]
    return max((degrees for degrees in temperatures if degrees is not None), default=None)


def clock_mhz() -> float | None:
    """The clock now: of the NVIDIA GPU where there is one, else the mean of the processors."""
    gpus = nvml()
    if gpus is not None:
        return gpus.clock_mhz()
    try:
        clock = psutil.cpu_freq()
    except (AttributeError, NotImplementedError, OSError, RuntimeError):
        return None  # psutil raises each of these on some platform
    return clock.current or None if clock else None


def governor(cpus: Path = _CPUS) -> str | None:
    """What decides on the processors' clocks, such as performance or powersave; Linux alone."""
    names = {_line(file) for file in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(name for name in names if name)) or None


def clock_driver(cpus: Path = _CPUS) -> str | None:
    """Linux' driver of the processors' clocks, such as intel_pstate or acpi-cpufreq."""
    return _line(cpus / "cpu0" / "cpufreq" / "scaling_driver")


def power_source() -> Literal["mains", "battery"] | None:
    """What feeds the machine; None where there is no battery, or nobody knows."""
    ask = getattr(psutil, "sensors_battery", None)  # not on every platform
    battery = ask() if ask else None
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def _processor_temperature() -> float | None:
    ask = getattr(psutil, "sensors_temperatures", None)  # Linux and FreeBSD
    if ask is None:
        return None
    chips = ask()
    return hottest(
        [sensor.current for sensor in sensors]
        for chip, sensors in chips.items()
        if chip.lower().startswith(_PROCESSOR_SENSORS)
    )


def hottest(chips: Iterable[Iterable[float]]) -> float | None:
    """The highest believable temperature of all chips."""
    low, high = _BELIEVABLE
    return max((t for chip in chips for t in chip if low <= t <= high), default=None)


def _line(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None
