"""The child process of `machine.check_build`: does the llama library run on this processor?

It loads the library, multiplies a matrix of each common kind and prints what the build is, as
one JSON line. A processor too old for the build kills this process and not the caller's.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
from typing import Any

#: ggml's numbers of F32, F16, Q4_0, Q8_0 and Q4_K: one kernel each
_TYPES = (0, 1, 2, 8, 12)
_SIDE = 256
#: ggml's number for the processor among the types of device
_CPU = 0


class _InitParams(ctypes.Structure):
    _fields_ = (
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


def _multiply(base: Any, cpu: Any) -> None:
    """Multiply a zero matrix of each type with a float one, as a model's layer does."""
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    base.ggml_init.argtypes, base.ggml_init.restype = [_InitParams], pointer
    base.ggml_new_tensor_2d.argtypes = [pointer, integer, size, size]
    base.ggml_mul_mat.argtypes = [pointer, pointer, pointer]
    base.ggml_build_forward_expand.argtypes = [pointer, pointer]
    base.ggml_nbytes.restype = ctypes.c_size_t
    for name in ("new_graph", "get_data", "nbytes", "free"):
        getattr(base, f"ggml_{name}").argtypes = [pointer]
    for name in ("new_tensor_2d", "mul_mat", "new_graph", "get_data"):
        getattr(base, f"ggml_{name}").restype = pointer
    cpu.ggml_graph_compute_with_ctx.argtypes = [pointer, pointer, integer]

    context = base.ggml_init(_InitParams(16 * 1024 * 1024, None, False))
    graph = base.ggml_new_graph(context)
    for kind in _TYPES:
        weights = base.ggml_new_tensor_2d(context, kind, _SIDE, _SIDE)
        inputs = base.ggml_new_tensor_2d(context, 0, _SIDE, 2)
        for tensor in (weights, inputs):
            ctypes.memset(base.ggml_get_data(tensor), 0, base.ggml_nbytes(tensor))
        base.ggml_build_forward_expand(graph, base.ggml_mul_mat(context, weights, inputs))
    cpu.ggml_graph_compute_with_ctx(context, graph, 1)
    base.ggml_free(context)


def _devices(ggml: Any, base: Any) -> list[dict[str, Any]]:
    """The GPUs and accelerators the build can compute on; memory in bytes."""
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    for name in ("name", "description"):
        getattr(base, f"ggml_backend_dev_{name}").argtypes = [ctypes.c_void_p]
        getattr(base, f"ggml_backend_dev_{name}").restype = ctypes.c_char_p
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p] * 3
    devices = []
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        if base.ggml_backend_dev_type(device) == _CPU:
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        base.ggml_backend_dev_memory(device, ctypes.addressof(free), ctypes.addressof(total))
        devices.append(
            {
                "name": base.ggml_backend_dev_name(device).decode(),
                "description": base.ggml_backend_dev_description(device).decode().strip(),
                "memory_free": free.value,
                "memory_total": total.value,
            }
        )
    return devices


def main() -> None:
    import llama_cpp
    import llama_cpp.llama_cpp as low
    from llama_cpp._ctypes_extensions import load_shared_library
    from llama_cpp._ggml import libggml, libggml_base_path

    low.llama_backend_init()
    base = load_shared_library("ggml-base", libggml_base_path)
    # A build that picks its kernels at run time has a library per processor and fits each.
    with contextlib.suppress(FileNotFoundError):
        _multiply(base, load_shared_library("ggml-cpu", libggml_base_path))
    build = {
        "version": llama_cpp.__version__,
        "system_info": low.llama_print_system_info().decode().strip(" |"),
        "gpu_offload": bool(low.llama_supports_gpu_offload()),
        "devices": _devices(libggml, base),
    }
    sys.stdout.write(json.dumps(build) + "\n")


if __name__ == "__main__":
    main()
