"""What this device is, how many threads to use, whether a model fits, whether the build runs."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from edgeslm.children import NO_START, can_start, run_child
from edgeslm.engines.device import container as cgroup
from edgeslm.engines.device import processor
from edgeslm.errors import MachineError, MissingExtraError, ResourceError

# psutil is imported where it is asked: it takes as long as the rest of this file, and a machine
# of two cores can load an encoder without it. What tries the llama library imports its own, too.

_log = logging.getLogger(__name__)

#: more threads mostly wait for each other in the small matrices of the models edgeslm is for
_MAX_THREADS = 8
#: libgomp's busy waits before a thread sleeps: as fast as its own default when the machine is idle,
#: with half the tail when it is not (benchmarks/LOG.md)
_GOMP_SPINCOUNT = "1000"
_PROBE_TIMEOUT_S = 120
#: the exit status of a Windows process that met an unknown instruction
_STATUS_ILLEGAL_INSTRUCTION = 0xC000001D


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts found on this machine. None where it does not tell; memory in bytes.

    ``performance_cores`` is None where all cores are alike. ``usable_cores`` respects affinity,
    the container's quota and, on hybrid processors, leaves out the slow cores. Memory respects
    the container's limit. ``load_average`` is over 1, 5 and 15 minutes.
    """

    os: str
    python: str
    cpu_model: str | None
    instruction_sets: tuple[str, ...]
    logical_cores: int
    physical_cores: int | None
    performance_cores: int | None
    usable_cores: int
    memory_total: int
    memory_available: int
    virtual: bool | None
    on_battery: bool | None
    load_average: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Need:
    """The memory a loaded model takes, in bytes."""

    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU or accelerator that the build can compute on; memory in bytes."""

    name: str
    description: str
    memory_free: int
    memory_total: int


@dataclass(frozen=True, slots=True)
class Build:
    """What the installed llama library is: its version, compiled-in features, and devices."""

    version: str
    system_info: str
    gpu_offload: bool
    devices: tuple[Device, ...]


def describe() -> Machine:
    """What this machine tells of itself."""
    import psutil

    fast = processor.performance_cpus()
    return Machine(
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpu_model=processor.model_name(),
        instruction_sets=processor.instruction_sets(),
        logical_cores=os.cpu_count() or 1,
        physical_cores=psutil.cpu_count(logical=False),
        performance_cores=None if fast is None else len(fast),
        usable_cores=usable_cores(),
        memory_total=_memory_total(),
        memory_available=available_memory(),
        virtual=processor.virtual(),
        on_battery=_on_battery(),
        load_average=_load_average(),
    )


# --- cores and threads --------------------------------------------------------


def usable_cores() -> int:
    """How many logical cores this process may keep busy, at least 1."""
    cores = len(_usable_cpus())
    quota = cgroup.cpu_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def default_threads() -> int:
    """The most threads worth having: one per usable physical core, at most 8.

    Two threads of one core share its arithmetic units, so the second gains nothing, unless
    there is only one core to use. Of a hybrid processor the fast cores alone count: all threads
    would wait for one on a slow core.
    """
    usable = usable_cores()
    if usable <= 2:
        return usable
    return min(_MAX_THREADS, max(2, usable // _threads_per_core()))


def prepare_openmp() -> None:
    """Bound how long OpenMP threads wait busily. Call it before the llama library is loaded.

    Sets ``GOMP_SPINCOUNT``, which libgomp reads once: GCC builds, so most of Linux. A value or an
    ``OMP_WAIT_POLICY`` of the user is kept. Builds with LLVM's libomp or Microsoft's vcomp, and
    macOS builds, where Apple's compiler brings no OpenMP, do not read it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _GOMP_SPINCOUNT)


def _usable_cpus() -> frozenset[int]:
    """The CPUs this process may run on, of a hybrid processor the fast ones if it may use any."""
    cpus = _affinity()
    return cpus & (processor.performance_cpus() or cpus) or cpus


def _threads_per_core() -> int:
    """Of the usable cores: the fast ones of a hybrid may run two threads where the slow run one."""
    told = processor.threads_of_core(min(_usable_cpus()))
    if told is not None:
        return told
    import psutil

    logical = os.cpu_count() or 1
    return max(1, logical // (psutil.cpu_count(logical=False) or logical))


def _affinity() -> frozenset[int]:
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    if sys.platform == "win32":
        import psutil

        return frozenset(psutil.Process().cpu_affinity() or range(os.cpu_count() or 1))
    return frozenset(range(os.cpu_count() or 1))


def _load_average() -> tuple[float, float, float] | None:
    if sys.platform == "win32":
        return None  # psutil would have to watch for 5 seconds first
    return os.getloadavg()


def _on_battery() -> bool | None:
    import psutil

    sensor = getattr(psutil, "sensors_battery", None)  # not on every platform
    battery = sensor() if sensor else None
    return None if battery is None or battery.power_plugged is None else not battery.power_plugged


# --- memory -------------------------------------------------------------------


def available_memory() -> int:
    """Bytes that can be taken without swapping and without breaking the container's limit."""
    import psutil

    free = psutil.virtual_memory().available
    room = cgroup.memory_room()
    return free if room is None else min(free, room)


def check_fit(need: Need, available: int, what: str) -> None:
    """Refuse a model that does not fit before anything is loaded.

    ``what`` names the model and its context; ``available`` is in bytes.

    Raises:
        ResourceError: with all the numbers and what to do.
    """
    if need.total <= available:
        return
    raise ResourceError(
        f"{what} needs {show_bytes(need.total)} of memory (weights {show_bytes(need.weights)}, "
        f"context {show_bytes(need.kv)}, computing {show_bytes(need.compute)}), but "
        f"{show_bytes(available)} are free, {show_bytes(need.total - available)} too few; use a "
        "smaller context, a smaller quantization of the model, or close other programs"
    )


def show_bytes(count: int) -> str:
    """``count`` as people write it, in decimal units: ``98.9 MB``, ``1.20 GB``."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.1f} MB"


def _memory_total() -> int:
    import psutil

    total = psutil.virtual_memory().total
    limit = cgroup.memory_limit()
    return total if limit is None else min(total, limit)


# --- the build ----------------------------------------------------------------


def check_build() -> None:
    """Make sure that the installed llama library runs on this processor, once per library.

    A library built for a newer processor would kill the process that loads it. So a child tries
    it first; success is remembered in the cache folder for this library and processor.

    Raises:
        MachineError: the library is missing, cannot be loaded, or was built for another processor.
    """
    library_files()
    if not can_start():
        _log.warning("the llama library is not tried in another process: %s", NO_START)
        return
    # its existence says that this library ran on this processor
    stamp = cache_home() / "checked-builds" / build_id()
    if stamp.exists():
        return
    probe_build()
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    except OSError as error:
        _log.debug("%s cannot be written, the build is tried again next time: %s", stamp, error)


def probe_build() -> Build:
    """Load the llama library in a child process, compute a little, and say what it is.

    Raises:
        MachineError: the child was killed, failed, or took more than 120 seconds.
    """
    try:
        child = run_child("edgeslm.engines.llama.probe", timeout=_PROBE_TIMEOUT_S)
    except TimeoutError as error:
        raise MachineError(
            f"llama-cpp-python did not load within {_PROBE_TIMEOUT_S} seconds; reinstall it: "
            + _REINSTALL
        ) from error
    errors = child.stderr.decode("utf-8", "replace")
    if child.returncode != 0:
        raise MachineError(_explain_failure(child.returncode, errors))
    try:
        return _read_build(json.loads(child.stdout.splitlines()[-1]))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise MachineError(
            f"llama-cpp-python loaded but does not tell what it is ({error!r}); reinstall it: "
            + _REINSTALL
        ) from error


_REINSTALL = "pip install --force-reinstall --no-cache-dir llama-cpp-python"
_PREBUILT = (
    "pip install --force-reinstall llama-cpp-python "
    "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu"
)


def _read_build(data: dict[str, Any]) -> Build:
    return Build(
        version=data["version"],
        system_info=data["system_info"],
        gpu_offload=data["gpu_offload"],
        devices=tuple(Device(**device) for device in data["devices"]),
    )


def _explain_failure(status: int, errors: str) -> str:
    import signal

    last = errors.strip().splitlines()[-1][:500] if errors.strip() else "it gave no message"
    # On Windows ctypes turns the fault into an exception if it happens in the calling thread.
    illegal = f"{_STATUS_ILLEGAL_INSTRUCTION:#x}" in errors.lower()
    if illegal or status in (-signal.SIGILL, _STATUS_ILLEGAL_INSTRUCTION):
        has = ", ".join(processor.instruction_sets()) or "none that it tells of"
        return (
            "llama-cpp-python was built for a newer processor and does not run on this one "
            f"({processor.model_name() or 'model not known'}, which has: {has}). Install a "
            f"prebuilt wheel: {_PREBUILT}, or compile it on this machine: {_REINSTALL}"
        )
    if status < 0:
        return (
            f"llama-cpp-python crashed while it was tried ({_signal_name(-status)}): {last}; "
            f"reinstall it: {_REINSTALL}"
        )
    return (
        f"llama-cpp-python cannot be loaded: {last}. Install the library it names, if it names "
        f"one (on Debian and Ubuntu libgomp.so.1 is in the package libgomp1), or reinstall it: "
        f"{_REINSTALL}"
    )


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def library_files() -> list[Path]:
    """The files of the llama library, found without loading it; raises MachineError."""
    import importlib.util

    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "this needs a language model, and llama-cpp-python is not installed; install it: "
            f'pip install "edgeslm-core[llama]", or without a compiler: {_PREBUILT}',
            extra="llama",
        )
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(spec.origin).parent / "lib")
    return sorted(file for file in folder.glob("*") if file.is_file())


def build_id() -> str:
    """32 hexadecimal digits for this llama library on this processor; raises MachineError."""
    import hashlib  # it loads OpenSSL, which no encoder needs

    stats = [(str(file), file.stat()) for file in library_files()]
    facts = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    key = json.dumps([facts, processor.model_name(), processor.instruction_sets()])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def cache_home() -> Path:
    """``EDGESLM_HOME``, or the platform's folder for what an application can make again."""
    home = os.environ.get("EDGESLM_HOME")
    return Path(home) if home else platformdirs.user_cache_path("edgeslm", appauthor=False)
