"""What NVIDIA's own library tells of its GPUs: driver, temperature, clock and energy used."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

#: the library comes with the driver, so its absence means that there is no such GPU
_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_OK = 0
_TEMPERATURE_OF_CHIP = 0
_CLOCK_OF_MULTIPROCESSORS = 1
_VERSION_BYTES = 96


class Nvml:
    """An opened library; every question is answered by None where a GPU does not tell.

    Args:
        library: NVML loaded by ctypes, or what stands in for it in a test.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        count = ctypes.c_uint()
        asked = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        self._gpus = [self._gpu(i) for i in range(count.value if asked == _OK else 0)]

    def driver(self) -> str | None:
        """The driver's version."""
        text = ctypes.create_string_buffer(_VERSION_BYTES)
        if self._library.nvmlSystemGetDriverVersion(text, ctypes.c_uint(_VERSION_BYTES)) != _OK:
            return None
        return text.value.decode("utf-8", "replace") or None

    def temperature(self) -> float | None:
        """Of the hottest GPU, in degrees Celsius."""
        temperatures = self._numbers(
            self._library.nvmlDeviceGetTemperature, _TEMPERATURE_OF_CHIP, ctypes.c_uint()
        )
        return max(temperatures, default=None)

    def clock_mhz(self) -> float | None:
        """Of the fastest GPU now."""
        clocks = self._numbers(
            self._library.nvmlDeviceGetClockInfo, _CLOCK_OF_MULTIPROCESSORS, ctypes.c_uint()
        )
        return max(clocks, default=None)

    def joules(self) -> float | None:
        """What all GPUs used since the driver was loaded; None for those before Volta."""
        count = ctypes.c_ulonglong()
        millijoules = self._numbers(self._library.nvmlDeviceGetTotalEnergyConsumption, None, count)
        return (
            sum(millijoules) / 1000 if millijoules and len(millijoules) == len(self._gpus) else None
        )

    def _gpu(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def _numbers(
        self, ask: Callable[..., int], which: int | None, answer: ctypes.c_uint | ctypes.c_ulonglong
    ) -> list[float]:
        """The answer of each GPU that gives one."""
        chosen = () if which is None else (ctypes.c_int(which),)
        return [
            float(answer.value)
            for gpu in self._gpus
            if ask(gpu, *chosen, ctypes.byref(answer)) == _OK
        ]


@cache
def nvml() -> Nvml | None:
    """The library of this machine, None where there is no NVIDIA driver."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return Nvml(library) if library.nvmlInit_v2() == _OK else None
