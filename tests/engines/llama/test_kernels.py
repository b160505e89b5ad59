"""AMX is left out of the tables of llama.cpp, and batches of rows run on any processor"""

from __future__ import annotations

import ctypes
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.engines.llama.kernels import leave_out_amx
from tests.helpers.engines import feed
from tests.helpers.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there llama.cpp has AMX")


class Library:
    """A ggml whose table of memory kinds has these names."""

    def __init__(self, names: list[bytes], *, has_table: bool = True) -> None:
        self._names = names
        self.table = (ctypes.c_void_p * (len(names) + 1))(*range(1, len(names) + 1), None)
        table = ctypes.cast(self.table, ctypes.POINTER(ctypes.c_void_p))
        kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        self._call = kind(lambda _device: ctypes.cast(table, ctypes.c_void_p).value)
        address = ctypes.cast(self._call, ctypes.c_void_p).value if has_table else None
        self.ggml_backend_dev_by_type = _function(lambda _kind: 1)
        self.ggml_backend_dev_backend_reg = _function(lambda _device: 2)
        self.ggml_backend_reg_get_proc_address = _function(lambda _registry, _name: address)
        self.ggml_backend_buft_name = _function(lambda kind: names[kind - 1])

    def left(self) -> list[bytes]:
        return [self._names[kind - 1] for kind in self.table if kind]


def _function(body: Any) -> Any:
    """A function that takes attributes, as those of ctypes do."""

    def call(*arguments: Any) -> Any:
        return body(*arguments)

    return call


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ([b"AMX", b"CPU_REPACK"], [b"CPU_REPACK"]),
        ([b"CPU_REPACK", b"AMX"], [b"CPU_REPACK"]),
        ([b"AMX"], []),
        ([b"CPU_REPACK"], [b"CPU_REPACK"]),
        ([], []),
    ],
)
def test_amx_goes_and_the_others_stay_in_order(names: list[bytes], left: list[bytes]) -> None:
    library = Library(names)
    assert leave_out_amx(library) == (b"AMX" in names)
    assert library.left() == left
    assert not leave_out_amx(library)


def test_a_build_without_such_a_table_is_left_as_it_is() -> None:
    assert not leave_out_amx(Library([b"AMX"], has_table=False))


def test_the_library_has_no_amx_once_the_engine_is_imported() -> None:
    from edgeslm.engines.llama.library import libggml

    assert not leave_out_amx(libggml)


@pytest.mark.parametrize("quant", ["Q4_0", "Q8_0"])
def test_batches_of_rows_are_evaluated_on_this_processor(tmp_path: Path, quant: str) -> None:
    with closing(LlamaEngine(write_tiny_gguf(tmp_path / "t.gguf", quant=quant))) as engine:
        assert np.isfinite(feed(engine, list(range(3, 67)))).all()
