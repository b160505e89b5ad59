"""Joules per request by the machine's own counters: RAPL, NVML, powermetrics, or the battery."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Literal

from edgeslm.bench.machine.nvidia import nvml
from edgeslm.bench.report.schema import Energy
from edgeslm.bench.report.statistics import median

Source = Literal["rapl", "nvml", "powermetrics", "battery"]

#: fewer windows give no interval worth the name
_MIN_WINDOWS = 3
_IDLE_SECONDS = 2.0
_POWERCAP = Path("/sys/class/powercap")
_POWER_SUPPLY = Path("/sys/class/power_supply")
_MICRO = 1e-6
_SECONDS_PER_HOUR = 3600
#: milliseconds between two samples of powermetrics
_SAMPLE_MS = 200
_ELAPSED = re.compile(rb"\((\d+(?:\.\d+)?)ms elapsed\)")
_POWER = re.compile(rb"^Combined Power \(CPU \+ GPU \+ ANE\): (\d+) mW")


@dataclass(frozen=True, slots=True)
class Meter:
    """A counter of energy. ``joules`` only grows; its zero means nothing.

    ``window_s`` is how many seconds apart two readings must be to tell anything.
    """

    source: Source
    window_s: float
    joules: Callable[[], float]


@contextmanager
def open_meter(*, gpu: bool = False) -> Iterator[Meter | str]:
    """The best counter of this machine, or the reason why there is none.

    RAPL counts the processor packages and their memory, NVML the whole of every NVIDIA GPU,
    powermetrics Apple's processor, GPU and neural engine, and the battery the whole machine.

    Args:
        gpu: the model runs on a GPU; outside of macOS the processor's energy is then left out.
    """
    if sys.platform == "darwin":
        with _powermetrics() as meter:
            yield meter
    elif gpu:
        yield _nvml_meter() or "the GPU does not tell what it uses"
    else:
        yield _linux_meter()


def measure(
    request: Callable[[int], object], meter: Meter, seconds: float, *, idle_s: float = _IDLE_SECONDS
) -> Energy | None:
    """Answer requests for some ``seconds`` and read the counter between windows of them.

    What the machine uses when it only waits is measured first, and not subtracted.

    Args:
        request: answers the i-th request.
        idle_s: how long to wait for that, in seconds; 0 leaves it out.

    Returns:
        None where ``seconds`` are too few for this counter, or it stood still.
    """
    if seconds < _MIN_WINDOWS * meter.window_s:
        return None
    idle_watts = _idle_watts(meter, idle_s) if idle_s >= meter.window_s else None
    numbers = count()
    end = time.perf_counter() + seconds
    windows: list[float] = []
    while time.perf_counter() < end or len(windows) < _MIN_WINDOWS:
        windows.append(_window(request, meter, numbers))
    if not all(windows):
        return None
    return Energy(joules=median(windows), source=meter.source, idle_watts=idle_watts)


def _window(request: Callable[[int], object], meter: Meter, numbers: Iterator[int]) -> float:
    """Joules per request over the time that the counter needs."""
    before, start = meter.joules(), time.perf_counter()
    answered = 0
    while answered == 0 or time.perf_counter() - start < meter.window_s:
        request(next(numbers))
        answered += 1
    return (meter.joules() - before) / answered


def _idle_watts(meter: Meter, seconds: float) -> float:
    before, start = meter.joules(), time.perf_counter()
    time.sleep(seconds)
    return (meter.joules() - before) / (time.perf_counter() - start)


# --- NVIDIA -------------------------------------------------------------------


def _nvml_meter() -> Meter | None:
    library = nvml()
    if library is None or library.joules() is None:
        return None
    return Meter("nvml", 0.5, lambda: library.joules() or 0.0)


# --- Linux --------------------------------------------------------------------


def _linux_meter() -> Meter | str:
    """RAPL, or the battery where that cannot be read."""
    rapl = rapl_meter()
    if isinstance(rapl, Meter):
        return rapl
    battery = battery_meter()
    return battery if isinstance(battery, Meter) else f"{rapl}; {battery}"


def rapl_meter(powercap: Path = _POWERCAP) -> Meter | str:
    """Intel's and AMD's counters of the processor packages and their memory."""
    zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if _is_counted(zone)]
    if not zones:
        return "the processor has no energy counter here (RAPL)"
    try:
        counters = [_Counter(zone) for zone in zones]
    except PermissionError:
        return (
            "the processor's energy counter (RAPL) is closed to this user; "
            f"run as root, or: sudo chmod a+r {powercap}/intel-rapl:*/energy_uj"
        )
    except (OSError, ValueError) as error:
        return f"the processor's energy counter (RAPL) cannot be read: {error}"
    return Meter("rapl", 0.2, lambda: sum(counter.joules() for counter in counters))


class _Counter:
    """One zone of RAPL, which starts again at 0 once it is full."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._last = self._read()
        self._total = 0

    def joules(self) -> float:
        now = self._read()
        grown = now - self._last
        self._total += grown if grown >= 0 else grown + self._range
        self._last = now
        return self._total * _MICRO

    def _read(self) -> int:
        return int(self._file.read_text())


def _is_counted(zone: Path) -> bool:
    """Packages and memory; cores are a part of their package."""
    try:
        return (zone / "name").read_text().strip().startswith(("package", "dram"))
    except OSError:
        return False


def battery_meter(supplies: Path = _POWER_SUPPLY) -> Meter | str:
    """What the whole machine took out of its battery, if that feeds it."""
    for battery in sorted(supplies.glob("BAT*")):
        file = battery / "energy_now"
        try:
            if (battery / "status").read_text().strip() == "Discharging":
                int(file.read_text())
                return Meter("battery", 60.0, partial(_discharged, file))
        except (OSError, ValueError):
            continue  # some batteries count charge alone, which is no energy
    return "no battery that counts energy is being discharged"


def _discharged(file: Path) -> float:
    """Grows while the battery empties, from microwatt-hours."""
    return -int(file.read_text()) * _MICRO * _SECONDS_PER_HOUR


# --- macOS --------------------------------------------------------------------


class PowerLog:
    """Adds up what powermetrics prints: joules of processor, GPU and neural engine."""

    def __init__(self) -> None:
        self._elapsed_s = 0.0
        self._joules = 0.0

    def read(self, line: bytes) -> None:
        """One line of its text: the length of a sample, or the power over it."""
        if elapsed := _ELAPSED.search(line):
            self._elapsed_s = float(elapsed[1]) / 1000
        elif power := _POWER.match(line):
            self._joules += float(power[1]) / 1000 * self._elapsed_s

    def joules(self) -> float:
        return self._joules


@contextmanager
def _powermetrics() -> Iterator[Meter | str]:
    """macOS' own tool, which runs for the administrator alone; nobody is asked for a password."""
    command = ["powermetrics", "--samplers", "cpu_power", "-i", str(_SAMPLE_MS), "-f", "text"]
    if sys.platform == "win32" or os.geteuid() != 0:
        yield "powermetrics tells the administrator alone; run with sudo"
        return
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        yield f"powermetrics could not be started: {error}"
        return
    log = PowerLog()
    assert child.stdout is not None
    reader = threading.Thread(target=_follow, args=(child.stdout, log), daemon=True)
    reader.start()
    try:
        yield Meter("powermetrics", 1.0, log.joules)
    finally:
        child.kill()
        child.wait()
        reader.join()
        child.stdout.close()


def _follow(lines: IO[bytes], log: PowerLog) -> None:
    with contextlib.suppress(ValueError):  # closed meanwhile
        for line in lines:
            log.read(line)
