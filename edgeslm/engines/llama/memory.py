"""What a model and its context take of memory, and how much of it a GPU can hold."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from edgeslm.engines.device import machine
from edgeslm.engines.llama.library import libggml, logger
from edgeslm.formats.gguf.info import GGUFInfo, kv_bytes

#: rows of one batch
BATCH_SIZE = 512
#: sequences of a context: a label for each row of logits, and prefixes
MAX_SEQUENCES = 80
#: the context a model starts with, if the caller names none
DEFAULT_CONTEXT = 2048


def need(info: GGUFInfo, cells: int) -> machine.Need:
    """Memory to hold a model on this machine, in bytes; the compute buffer is an upper bound.

    llama.cpp repacks weights of some types into a copy that suits the processor. The copy
    takes the place of the file's pages, which the system then drops when it needs them.
    """
    widest = max((max(t.shape) for t in info.tensors if t.name.startswith("blk.")), default=0)
    floats = BATCH_SIZE * (3 * widest + cells) + 2 * MAX_SEQUENCES * info.vocab_size
    return machine.Need(info.tensor_bytes, kv_bytes(info, cells), compute=4 * floats)


def layers_that_fit(info: GGUFInfo, free: int) -> int:
    """Layers to put on a GPU with ``free`` bytes; -1 for all. Warns where not all fit.

    A fifth of the memory stays free: a CUDA allocation that fails ends the process.
    """
    wanted = need(info, min(info.context_length, DEFAULT_CONTEXT)).total
    if wanted <= free * 0.8:
        return -1
    layers = int(info.n_layer * free * 0.8 / wanted)
    logger.warning(
        "the GPU has %.0f MB free and all of %s needs %.0f MB: %d of %d layers go there",
        free / 1e6, info.path.name, wanted / 1e6, layers, info.n_layer,
    )  # fmt: skip
    return layers


def free_gpu_memory() -> int:
    """Free bytes of the first GPU that the build supports, 0 if there is none."""
    size_p = ctypes.POINTER(ctypes.c_size_t)
    libggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size_p, size_p]
    for device in _gpus():
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        libggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        return free.value
    return 0


def gpu_names() -> list[str]:
    """The GPUs that the build supports, as their makers call them."""
    libggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_description.restype = ctypes.c_char_p
    names = map(libggml.ggml_backend_dev_description, _gpus())
    return [name.decode("utf-8", "replace") for name in names]


def _gpus() -> Iterator[int]:
    """ggml's pointers to the GPUs."""
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    for i in range(libggml.ggml_backend_dev_count()):
        device = libggml.ggml_backend_dev_get(i)
        if libggml.ggml_backend_dev_type(device) == 1:  # GGML_BACKEND_DEVICE_TYPE_GPU
            yield device
