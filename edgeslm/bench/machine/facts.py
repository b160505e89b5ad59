"""Facts of a run: the machine it was measured on, and the model that was run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from math import prod
from pathlib import Path

import psutil

from edgeslm.bench.machine import limits, sensors
from edgeslm.bench.machine.nvidia import nvml
from edgeslm.bench.report.schema import Device, MachineFacts, ModelFacts
from edgeslm.engines.device import machine
from edgeslm.engines.device.machine import Build, Machine
from edgeslm.evaluation import doctor
from edgeslm.formats.files import file_sha256
from edgeslm.formats.gguf.info import GGUFInfo
from edgeslm.formats.info import read_info
from edgeslm.formats.onnx.info import ONNXInfo
from edgeslm.store.store import Store

#: in the metadata of a model whose weights are random
SYNTHETIC_KEY = "edgeslm.synthetic"
#: other programs that take more than this share of the processors disturb what is measured
_MUCH_LOAD = 0.1
_LOAD_SECONDS = 0.5
_GIB = 1 << 30
_DMI = Path("/sys/class/dmi/id")


# --- the machine --------------------------------------------------------------


def machine_facts(*, measure: bool = True) -> MachineFacts:
    """What this machine is, and what is in the way of good numbers. Takes some four seconds.

    Args:
        measure: memory bandwidth and matrix product too, a second each.

    Raises:
        MachineError: the llama library is missing or does not run here.
    """
    load = psutil.cpu_percent(interval=_LOAD_SECONDS) / 100
    here = machine.describe()
    build = machine.probe_build()
    gpus = _gpus(build)
    cores = cores_by_kind(here)
    return MachineFacts(
        system=here.os,
        processor=here.cpu_model or "unknown",
        instructions=here.instruction_sets,
        cores=cores,
        threads=machine.default_threads(),
        memory=here.memory_total,
        bandwidth=limits.read_bandwidth() if measure else None,
        peak=limits.matrix_peak() if measure else None,
        gpus=gpus,
        backends=backends(build),
        library=f"llama-cpp-python {build.version}",
        edgeslm=version("edgeslm-core"),
        governor=sensors.governor(),
        power=sensors.power_source(),
        load=load,
        virtual=_hypervisor() if here.virtual else None,
        temperature=sensors.temperature(),
        warnings=tuple(warnings(here, build, load)),
        fingerprint=fingerprint(here, cores, gpus, build),
    )


def cores_by_kind(here: Machine) -> dict[str, int]:
    """Physical cores, told apart where some are fast; logical ones where no others are known."""
    physical, fast = here.physical_cores, here.performance_cores
    if physical is None:
        return {"logical": here.logical_cores}
    if fast is None:
        return {"physical": physical}
    # slow cores run one thread each, so that what is logical but not fast are cores
    slow = here.logical_cores - fast
    return {"performance": physical - slow, "efficiency": slow}


def backends(build: Build) -> tuple[str, ...]:
    """What the build can compute with: CPU, then the kinds of its devices, such as CUDA."""
    kinds = (device.name.rstrip("0123456789") for device in build.devices)
    return tuple(dict.fromkeys(["CPU", *kinds]))


def warnings(here: Machine, build: Build, load: float) -> Iterator[str]:
    """What makes the numbers of a run worse or less steady than this machine's best.

    Args:
        load: share of the processors that other programs take.
    """
    if load > _MUCH_LOAD:
        yield f"other programs take {load:.0%} of the processors; close them and run again"
    governor = sensors.governor() or ""
    if "powersave" in governor and sensors.clock_driver() not in ("intel_pstate", "amd-pstate-epp"):
        yield f"the governor is {governor}, which holds the clock low; choose performance"
    if here.virtual:
        yield "a virtual machine: its host may give the processors to others at any time"
    # the load was measured, which says more than its average over the last minute
    judged = doctor.judge_machine(replace(here, load_average=None), os.environ)
    for finding in (*judged, *doctor.judge_build(build, here, doctor.nvidia_driver())):
        if finding.level != "ok":
            yield finding.message


def fingerprint(
    here: Machine, cores: dict[str, int], gpus: tuple[Device, ...], build: Build
) -> str:
    """32 hexadecimal digits that stay while processor, memory, GPUs and library do.

    Memory counts in whole GiB: what a kernel keeps of it for itself changes with its version.
    """
    kept = [
        here.cpu_model, here.instruction_sets, cores, round(here.memory_total / _GIB),
        [[gpu.name, gpu.driver] for gpu in gpus], build.version, build.system_info,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:32]


def _gpus(build: Build) -> tuple[Device, ...]:
    """The GPUs that the build computes on."""
    library = nvml()
    driver = None if library is None else library.driver()
    return tuple(
        Device(name=device.description, memory=device.memory_total or None, driver=driver)
        for device in build.devices
    )


def _hypervisor() -> str:
    """The kind of a virtual machine, as its firmware names it."""
    try:
        names = [(_DMI / name).read_text().strip() for name in ("sys_vendor", "product_name")]
    except OSError:
        return "of unknown kind"
    return " ".join(filter(None, names)) or "of unknown kind"


# --- the model ----------------------------------------------------------------


def model_facts(path: Path, *, name: str | None = None, synthetic: bool = False) -> ModelFacts:
    """What a model file is, by its header and its hash.

    Args:
        name: what it was asked for by; default is the file's name.
        synthetic: its weights are random; a file that edgeslm made so says it itself.

    Raises:
        ModelFileError, CardError: it cannot be read, or its card is malformed.
    """
    info = read_info(path)
    if isinstance(info, ONNXInfo):
        return _onnx_facts(info, name)
    card = info.card
    return ModelFacts(
        name=name or path.name,
        sha256=Store().sha256_of(path) or file_sha256(path),
        size=info.size,
        architecture=info.architecture,
        parameters=info.parameters,
        bits_per_weight=info.bits_per_weight,
        file_type=info.quantization,
        synthetic=synthetic or info.metadata.get(SYNTHETIC_KEY) is True,
        task="none" if card is None else card.task.kind,
        card_version=None if card is None else card.version,
        decode_bytes=decode_bytes(info),
        prefill_weights=prefill_weights(info),
    )


def _onnx_facts(info: ONNXInfo, name: str | None) -> ModelFacts:
    """What an encoder's file tells; it does not say how many weights it has."""
    return ModelFacts(
        name=name or info.path.name,
        sha256=Store().sha256_of(info.path) or info.sha256,
        size=info.size,
        architecture=info.kind,
        file_type=f"ONNX opset {info.opset}",
        task=info.card.task.kind,
        card_version=info.card.version,
    )


def decode_bytes(info: GGUFInfo) -> int:
    """Bytes of weights that are read to decode one token.

    All but an embedding table that is only looked up, and experts that are not asked.
    """
    tied = not any(tensor.name == "output.weight" for tensor in info.tensors)
    return round(
        sum(
            tensor.n_bytes * _asked(info, tensor.name)
            for tensor in info.tensors
            if tied or tensor.name != "token_embd.weight"
        )
    )


def prefill_weights(info: GGUFInfo) -> int:
    """Weights that every token of a prompt is multiplied with: the matrices of the layers.

    The output matrix is multiplied with the last token alone.
    """
    return round(
        sum(
            prod(tensor.shape) * _asked(info, tensor.name)
            for tensor in info.tensors
            if tensor.name.startswith("blk.") and len(tensor.shape) > 1
        )
    )


def _asked(info: GGUFInfo, tensor: str) -> float:
    """The part of a tensor that one token needs: of experts those that it is sent to."""
    if "_exps." not in tensor:
        return 1.0
    count = info.metadata.get(f"{info.architecture}.expert_count")
    used = info.metadata.get(f"{info.architecture}.expert_used_count")
    return used / count if isinstance(used, int) and isinstance(count, int) and count else 1.0
