"""What `edgeslm doctor` finds on this machine: facts, and what is wrong with them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgeslm.decoding.sequences.prefix_files import prefix_folder, prefix_limit, used_bytes
from edgeslm.engines.device import machine
from edgeslm.engines.device.machine import Build, Machine
from edgeslm.errors import EdgeslmError, MissingExtraError
from edgeslm.store.packages import survey
from edgeslm.store.places import registry_files, user_registry
from edgeslm.store.registry import Registry
from edgeslm.store.store import Store

Level = Literal["ok", "warning", "problem"]

#: variables that change how the OpenMP threads of the llama library work and wait
_OPENMP = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "KMP_BLOCKTIME")
#: variables that change where a pull goes
_NETWORK = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTPS_PROXY", "NO_PROXY")
_PASSWORD = re.compile(r"//[^/@]*@")
#: instruction sets as the processor names them, and as the llama library does
_COMPILED = {
    "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI", "asimd": "NEON", "neon": "NEON", "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
}  # fmt: skip
_LITTLE_DISK = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One judgement: what about, and for a warning or a problem what to do.

    ``exit_code`` is that of the error behind a problem, else 0.
    """

    level: Level
    about: str
    message: str
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model on this device; ``size`` in bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Onnx:
    """The installed onnxruntime. Of its ``providers``, best first, models run on the first."""

    version: str
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All facts and findings. None where a fact is not available; sizes in bytes.

    ``registries`` are the models.toml files in use; ``openmp`` and ``network`` are the
    environment variables that matter and their values.
    """

    machine: Machine
    threads: int
    build: Build | None
    onnx: Onnx | None
    openmp: Mapping[str, str | None]
    store: Path
    disk_free: int | None
    prefix_cache: Path
    prefix_cache_bytes: int
    models: tuple[StoredModel, ...]
    registries: tuple[Path, ...]
    user_registry: Path
    network: Mapping[str, str | None]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """That of the first problem, 0 without one."""
        return next((f.exit_code for f in self.findings if f.level == "problem"), 0)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values; paths become text."""
        data = asdict(self)
        for name in ("store", "prefix_cache", "user_registry"):
            data[name] = str(data[name])
        data["registries"] = [str(path) for path in self.registries]
        for model in data["models"]:
            model["path"] = str(model["path"])
        return data


def examine() -> Report:
    """Look at this machine; what is wrong becomes a finding and never an exception."""
    facts = machine.describe()
    machine.prepare_openmp()
    findings: list[Finding] = []
    build = _build(findings)
    onnx = _onnx(findings)
    store = Store()
    models = (*_stored(store), *_packaged(store, findings))
    registries = _registries(findings)
    _judge_prefix_cache(findings)
    disk_free = _disk_free(store.root)
    openmp = {name: os.environ.get(name) for name in _OPENMP}
    findings += judge_machine(facts, openmp)
    findings += judge_storage(models, disk_free, facts.memory_available)
    told = {one.message for one in findings}  # a name of two packages is told once
    findings += [one for one in judge_files(store, models) if one.message not in told]
    if build is not None:
        findings += judge_build(build, facts, nvidia_driver())
    if onnx is not None:
        findings.append(Finding("ok", "library", f"onnxruntime {onnx.version} can be loaded"))
    return Report(
        machine=facts,
        threads=machine.default_threads(),
        build=build,
        onnx=onnx,
        openmp=openmp,
        store=store.root,
        disk_free=disk_free,
        prefix_cache=prefix_folder(),
        prefix_cache_bytes=used_bytes(prefix_folder()),
        models=models,
        registries=registries,
        user_registry=user_registry(),
        network={name: _variable(name) for name in _NETWORK},
        findings=tuple(findings),
    )


def judge_machine(facts: Machine, openmp: Mapping[str, str | None]) -> Iterator[Finding]:
    """What makes answers on this machine slow or their times uneven."""
    if facts.load_average and facts.load_average[0] > facts.usable_cores + 0.5:
        yield Finding(
            "warning",
            "load",
            f"{facts.load_average[0]:.1f} threads want {facts.usable_cores} cores: "
            "other programs run, so answers take longer; close some",
        )
    if facts.on_battery:
        yield Finding("warning", "power", "on battery: the processor may run slower; plug it in")
    if (openmp.get("OMP_WAIT_POLICY") or "").lower() == "passive":
        yield Finding(
            "warning",
            "threads",
            "OMP_WAIT_POLICY=passive makes every step wait for sleeping threads, some four times "
            "slower where it was measured; unset it",
        )


def judge_build(build: Build, facts: Machine, nvidia: bool) -> Iterator[Finding]:
    """Whether the installed llama library uses what the machine has."""
    yield Finding("ok", "library", f"llama-cpp-python {build.version} runs on this processor")
    compiled = {
        part.split("=")[0].strip() for part in build.system_info.replace(":", "|").split("|")
    }
    unused = [
        name for name in facts.instruction_sets if _COMPILED.get(name, "") not in {"", *compiled}
    ]
    if unused:
        yield Finding(
            "warning",
            "library",
            f"the build does not use {', '.join(unused)} of this processor and is slower for it; "
            "compile it here: pip install --force-reinstall --no-cache-dir llama-cpp-python",
        )
    if nvidia and not build.gpu_offload:
        yield Finding(
            "warning",
            "GPU",
            "an NVIDIA driver is here, but the build has no GPU backend; the README has the CUDA "
            "wheels",
        )


def judge_storage(
    models: tuple[StoredModel, ...], disk_free: int | None, memory_available: int
) -> Iterator[Finding]:
    """Whether models are there, fit into memory, and more could be pulled."""
    if models:
        yield Finding("ok", "models", f"{len(models)} on this device")
    else:
        yield Finding("warning", "models", "none on this device; edgeslm pull smollm2-135m")
    for model in models:
        if model.size > memory_available:
            yield Finding(
                "warning",
                "memory",
                f"{model.name} has {machine.show_bytes(model.size)}, but "
                f"{machine.show_bytes(memory_available)} are free; close other programs",
            )
    if disk_free is not None and disk_free < _LITTLE_DISK:
        yield Finding(
            "warning",
            "disk",
            f"{machine.show_bytes(disk_free)} are free where models are kept; make room or set "
            "EDGESLM_HOME to another disk",
        )


def judge_files(store: Store, models: tuple[StoredModel, ...]) -> Iterator[Finding]:
    """Whether each model is what was verified when it came; every byte is read."""
    for model in models:
        try:
            store.verify(model.name)
        except EdgeslmError as error:
            yield _problem(model.name, error)


def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is installed."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _build(findings: list[Finding]) -> Build | None:
    try:
        machine.library_files()
        return machine.probe_build()
    except MissingExtraError as error:
        findings.append(_missing("llama.cpp", "onnxruntime", error))
        return None
    except EdgeslmError as error:
        findings.append(_problem("library", error))
        return None


def _onnx(findings: list[Finding]) -> Onnx | None:
    from edgeslm.engines.onnx.session import load_library, providers  # here, for they load numpy

    try:
        return Onnx(load_library().__version__, providers())
    except MissingExtraError as error:
        findings.append(_missing("onnxruntime", "llama_cpp", error))
        return None
    except EdgeslmError as error:
        findings.append(_problem("library", error))
        return None


def _missing(name: str, other: str, error: MissingExtraError) -> Finding:
    """Someone may want one engine alone; without both there is nothing to answer with."""
    if importlib.util.find_spec(other) is None:
        return _problem("library", error)
    return Finding(
        "warning",
        "library",
        f'{name} is not installed; if you need it: pip install "edgeslm-core[{error.extra}]"',
    )


def _stored(store: Store) -> tuple[StoredModel, ...]:
    return tuple(StoredModel(m.name, m.path, m.current.size) for m in store.installed())


def _packaged(store: Store, findings: list[Finding]) -> tuple[StoredModel, ...]:
    """The whole models of packages that are what a name gives."""
    pulled = {model.name for model in store.installed()}
    known: Container[str] = ()
    with suppress(EdgeslmError):  # told as a problem of the registry
        known = Registry.load().entries
    brought, refused = survey()
    for one in refused:
        own = one.name in pulled and not store.is_from_package(one.name)
        if one.name not in known and not own:
            level: Level = "warning" if one.twice else "problem"
            code = 0 if one.twice else one.error.exit_code
            findings.append(Finding(level, one.name, str(one.error), code))
    return tuple(
        StoredModel(one.entry.name, one.path, one.path.stat().st_size)
        for one in brought
        if one.entry.base is None and one.entry.name not in pulled and one.path.is_file()
    )


def _registries(findings: list[Finding]) -> tuple[Path, ...]:
    try:
        count = len(Registry.load().entries)
        findings.append(Finding("ok", "registry", f"{count} models are known by name"))
    except EdgeslmError as error:
        findings.append(_problem("registry", error))
    return tuple(registry_files())


def _judge_prefix_cache(findings: list[Finding]) -> None:
    try:
        prefix_limit()
    except EdgeslmError as error:
        findings.append(_problem("prefix cache", error))


def _variable(name: str) -> str | None:
    """A variable in either spelling, as the network libraries read it, without a password."""
    value = os.environ.get(name) or os.environ.get(name.lower())
    return value and _PASSWORD.sub("//***@", value)


def _problem(about: str, error: EdgeslmError) -> Finding:
    return Finding("problem", about, str(error), error.exit_code)


def _disk_free(folder: Path) -> int | None:
    """Free bytes where ``folder`` is or will be."""
    for place in (folder, *folder.parents):
        if place.exists():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None
