"""What each operating system tells of its processor; nothing here is guessed."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

#: the instruction sets that llama.cpp has kernels for, by the names Linux gives them
_RELEVANT = (
    *("sse3", "ssse3", "sse4_1", "sse4_2", "avx", "f16c", "fma", "bmi2", "avx2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512vl", "avx512_vbmi", "avx512_vnni", "avx512_bf16"),
    *("amx_int8", "amx_bf16"),
    *("asimd", "neon", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
_OTHER_NAMES = {"pni": "sse3"}

#: IsProcessorFeaturePresent numbers of winnt.h
_WINDOWS_FEATURES = {
    13: "sse3", 36: "ssse3", 37: "sse4_1", 38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f",
    19: "neon", 43: "asimddp", 46: "sve", 47: "sve2", 66: "i8mm",
}  # fmt: skip

#: sysctl names of macOS
_MACOS_FEATURES = {
    "hw.optional.avx1_0": "avx", "hw.optional.avx2_0": "avx2", "hw.optional.f16c": "f16c",
    "hw.optional.fma": "fma", "hw.optional.avx512f": "avx512f", "hw.optional.sse4_2": "sse4_2",
    "hw.optional.AdvSIMD": "neon", "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm", "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}  # fmt: skip


def model_name() -> str | None:
    """The processor's name as its maker spells it, None where the machine does not tell."""
    if sys.platform == "linux":
        fields = _cpuinfo()
        return fields.get("model name") or _device_tree_model()
    if sys.platform == "darwin":
        return _sysctl_text("machdep.cpu.brand_string")
    if sys.platform == "win32":
        return _windows_model_name()
    return platform.processor() or None


def instruction_sets() -> tuple[str, ...]:
    """The vector instruction sets the processor offers and llama.cpp can use, by Linux' names."""
    if sys.platform == "linux":
        fields = _cpuinfo()
        return relevant((fields.get("flags") or fields.get("Features") or "").split())
    if sys.platform == "darwin":
        return relevant(name for key, name in _MACOS_FEATURES.items() if _sysctl_int(key) == 1)
    if sys.platform == "win32":
        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return relevant(name for number, name in _WINDOWS_FEATURES.items() if present(number))
    return ()


def virtual() -> bool | None:
    """Whether a hypervisor runs this machine, None where that cannot be told."""
    if sys.platform == "linux":
        flags = _cpuinfo().get("flags")
        return None if flags is None else "hypervisor" in flags.split()
    if sys.platform == "darwin":
        present = _sysctl_int("kern.hv_vmm_present")
        return None if present is None else present == 1
    return None


def performance_cpus() -> frozenset[int] | None:
    """The logical CPUs of the fast kind on Linux and Windows, None where all are alike.

    On macOS CPUs have no numbers a process could choose from; the fast ones are numbered from 0.
    """
    if sys.platform == "linux":
        return linux_performance_cpus(Path("/sys/devices"))
    if sys.platform == "darwin":
        if (_sysctl_int("hw.nperflevels") or 1) < 2:
            return None
        return frozenset(range(_sysctl_int("hw.perflevel0.logicalcpu") or 0)) or None
    if sys.platform == "win32":
        return parse_cpu_sets(_windows_cpu_sets())
    return None


def threads_of_core(cpu: int) -> int | None:
    """How many logical CPUs the core of ``cpu`` runs, None where the system does not tell."""
    if sys.platform == "linux":
        return linux_threads_of_core(Path("/sys/devices"), cpu)
    if sys.platform == "win32":
        return parse_threads_of_core(_windows_cpu_sets(), cpu)
    return None


def relevant(names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that llama.cpp has kernels for, in a fixed order."""
    known = {_OTHER_NAMES.get(name, name) for name in names}
    return tuple(name for name in _RELEVANT if name in known)


def linux_performance_cpus(devices: Path) -> frozenset[int] | None:
    """The fast CPUs by ``/sys/devices``: Intel's hybrid list, or ARM's relative capacities.

    ARM kernels give each CPU a capacity of up to 1024; fast is half of the largest or more.
    """
    try:
        return frozenset(parse_cpu_list((devices / "cpu_core" / "cpus").read_text())) or None
    except (OSError, ValueError):
        capacities = _capacities(devices / "system" / "cpu")
    if len(set(capacities.values())) < 2:
        return None
    enough = max(capacities.values()) / 2
    return frozenset(cpu for cpu, capacity in capacities.items() if capacity >= enough)


def linux_threads_of_core(devices: Path, cpu: int) -> int | None:
    """The CPUs that ``/sys/devices`` lists as siblings of one, and that one, counted."""
    topology = devices / "system" / "cpu" / f"cpu{cpu}" / "topology"
    try:
        return len(parse_cpu_list((topology / "thread_siblings_list").read_text()))
    except (OSError, ValueError):
        return None


def _capacities(folder: Path) -> dict[int, int]:
    capacities = {}
    for file in folder.glob("cpu[0-9]*/cpu_capacity"):
        try:
            capacities[int(file.parent.name.removeprefix("cpu"))] = int(file.read_text())
        except (OSError, ValueError):
            continue  # a CPU that was taken offline
    return capacities


def parse_cpu_list(text: str) -> list[int]:
    """The kernel's list format: ``0-3,8`` is 0, 1, 2, 3, 8. Raises ValueError."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def parse_cpu_sets(buffer: bytes) -> frozenset[int] | None:
    """The CPUs of the highest efficiency class in an array of SYSTEM_CPU_SET_INFORMATION.

    Numbers are the index within group 0; None where there is one class only.
    """
    classes = {index: efficiency for index, _, efficiency in _cpu_sets(buffer)}
    if len(set(classes.values())) < 2:
        return None
    best = max(classes.values())
    return frozenset(cpu for cpu, efficiency in classes.items() if efficiency == best)


def parse_threads_of_core(buffer: bytes, cpu: int) -> int | None:
    """The CPUs of the same core in an array of SYSTEM_CPU_SET_INFORMATION; None if not there."""
    cores = {index: core for index, core, _ in _cpu_sets(buffer)}
    return list(cores.values()).count(cores[cpu]) if cpu in cores else None


def _cpu_sets(buffer: bytes) -> Iterator[tuple[int, int, int]]:
    """Index, core and efficiency class of each CPU of group 0."""
    at = 0
    while at + 20 <= len(buffer):
        size, kind = struct.unpack_from("<II", buffer, at)
        group, index, core = struct.unpack_from("<HBB", buffer, at + 12)
        if kind == 0 and group == 0:
            yield index, core, buffer[at + 18]
        if size == 0:
            break
        at += size


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The fields of the first processor in ``/proc/cpuinfo``."""
    fields = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields[name.strip()] = value.strip()
    return fields


def _cpuinfo() -> dict[str, str]:
    try:
        return parse_cpuinfo(Path("/proc/cpuinfo").read_text(errors="replace"))
    except OSError:
        return {}


def _device_tree_model() -> str | None:
    """The board's name: ARM's cpuinfo names no processor."""
    try:
        return Path("/proc/device-tree/model").read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _sysctl(name: str) -> bytes | None:
    libc = ctypes.CDLL(None)
    size = ctypes.c_size_t(0)
    key = name.encode()
    if libc.sysctlbyname(key, None, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    buffer = ctypes.create_string_buffer(size.value)
    if libc.sysctlbyname(key, buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return buffer.raw[: size.value]


def _sysctl_text(name: str) -> str | None:
    raw = _sysctl(name)
    return None if raw is None else raw.rstrip(b"\0").decode("utf-8", "replace") or None


def _sysctl_int(name: str) -> int | None:
    raw = _sysctl(name)
    return None if raw is None else int.from_bytes(raw, sys.byteorder, signed=True)


def _windows_model_name() -> str | None:
    if sys.platform != "win32":  # tells the type checker where `winreg` exists
        return None
    import winreg

    key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as handle:
            return str(winreg.QueryValueEx(handle, "ProcessorNameString")[0]).strip() or None
    except OSError:
        return os.environ.get("PROCESSOR_IDENTIFIER")


def _windows_cpu_sets() -> bytes:
    if sys.platform != "win32":
        return b""
    ask = ctypes.windll.kernel32.GetSystemCpuSetInformation
    length = ctypes.c_ulong(0)
    ask(None, 0, ctypes.byref(length), None, 0)
    buffer = ctypes.create_string_buffer(length.value)
    if not ask(buffer, length, ctypes.byref(length), None, 0):
        return b""
    return buffer.raw[: length.value]
