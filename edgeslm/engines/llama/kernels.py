"""Which of llama.cpp's kernels are used: those for Intel's AMX are left out."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

#: ggml's number for the processor among the types of device
_CPU = 0
_AMX = b"AMX"


def leave_out_amx(libggml: Any) -> bool:
    """Let models that are loaded from now on keep their weights for AVX-512 instead of AMX.

    A llama.cpp that was compiled by GCC before 12.4 or 13.3 ends the process at the first batch
    of two rows on a processor with AMX: `_tile_loadconfig` tells the compiler of 8 of the 64 bytes
    it reads, so the tiles' shapes are never stored (GCC's bug 114098). And AMX multiplies single
    rows and batches by different kernels, where answers here must be the same bit for bit.

    Args:
        libggml: ggml's library with its backends registered.

    Returns:
        Whether this build would have used AMX on this processor.
    """
    if sys.platform != "linux":  # elsewhere llama.cpp has no AMX unless somebody compiles it so
        return False
    kinds = _extra_kinds(libggml)
    libggml.ggml_backend_buft_name.argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_buft_name.restype = ctypes.c_char_p
    listed: list[int] = []
    while kinds and kinds[len(listed)]:
        listed.append(kinds[len(listed)])
    kept = [kind for kind in listed if libggml.ggml_backend_buft_name(kind) != _AMX]
    for index, kind in enumerate([*kept, None][: len(listed)]):
        kinds[index] = kind
    return len(kept) < len(listed)


def _extra_kinds(libggml: Any) -> Any:
    """The library's own table, ended by NULL: how weights may lie in memory, the best one first.

    Model loading goes through it for every tensor. None in a build without it.
    """
    pointer = ctypes.c_void_p
    libggml.ggml_backend_dev_by_type.argtypes = [ctypes.c_int]
    libggml.ggml_backend_dev_backend_reg.argtypes = [pointer]
    libggml.ggml_backend_reg_get_proc_address.argtypes = [pointer, ctypes.c_char_p]
    for name in ("dev_by_type", "dev_backend_reg", "reg_get_proc_address"):
        getattr(libggml, f"ggml_backend_{name}").restype = pointer
    device = libggml.ggml_backend_dev_by_type(_CPU)
    if not device:
        return None
    registry = libggml.ggml_backend_dev_backend_reg(device)
    address = libggml.ggml_backend_reg_get_proc_address(
        registry, b"ggml_backend_dev_get_extra_bufts"
    )
    if not address:
        return None
    return ctypes.CFUNCTYPE(ctypes.POINTER(pointer), pointer)(address)(device)
