"""LoRA adapters beside a model that llama.cpp has loaded: checked, loaded and freed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from edgeslm.engines.device import machine
from edgeslm.engines.llama.library import llama_cpp, log
from edgeslm.errors import EngineError, ModelFileError
from edgeslm.formats.gguf.adapter import ALPHA_KEY, AdapterInfo, read_adapter
from edgeslm.formats.gguf.guard import TENSOR_ALIGNMENT
from edgeslm.formats.gguf.header import shown
from edgeslm.formats.gguf.info import GGUFInfo

#: aLoRA changes only what follows these tokens, which this engine does not do
_ALORA_KEY = "adapter.alora.invocation_tokens"
#: an entry of the metadata: the key's length, the value's type, and a float32
_FLOAT_ENTRY_BYTES = 8 + 4 + 4


class Adapters:
    """The adapters of one loaded model, by number. The model's end frees them too."""

    def __init__(self, model: Any, base: GGUFInfo) -> None:
        self._model = model
        self._base = base
        self._pointers: dict[int, Any] = {}
        self._next = 0

    def add(self, path: Path) -> int:
        """Load an adapter; its number.

        Raises:
            ModelFileError: no adapter, or not one for this model.
            ResourceError: it does not fit into memory.
        """
        info = read_adapter(path)
        check_fits(info, self._base)
        machine.check_fit(machine.Need(info.size, 0, 0), machine.available_memory(), path.name)
        log.errors = []
        pointer = llama_cpp.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not pointer:
            raise ModelFileError(
                f"{path}: llama.cpp cannot load this adapter: {log.reason()}. Pull or export it "
                "again"
            )
        number, self._next = self._next, self._next + 1
        self._pointers[number] = pointer
        return number

    def remove(self, number: int) -> None:
        """Free an adapter, which no context may use any more."""
        pointer = self._pointers.pop(number, None)
        if pointer is not None:
            llama_cpp.llama_adapter_lora_free(pointer)

    def pointer(self, number: int | None) -> Any:
        """llama.cpp's pointer, None for None; raises EngineError for one that was removed."""
        if number is None:
            return None
        if number not in self._pointers:
            raise EngineError("the adapter is closed")
        return self._pointers[number]


def check_fits(adapter: AdapterInfo, base: GGUFInfo) -> None:
    """Hold an adapter to the model whose matrices it changes.

    llama.cpp ends the process over some of what is refused here, and ignores the rest.

    Raises:
        ModelFileError: the first thing that does not fit; names both files.
    """
    start, end = adapter.header.layout.entries[ALPHA_KEY]
    if end - start != len(ALPHA_KEY) + _FLOAT_ENTRY_BYTES:
        _refuse(adapter, base, f"its {ALPHA_KEY} is no float32")
    if adapter.header.layout.alignment % TENSOR_ALIGNMENT:
        _refuse(adapter, base, "its tensors are not aligned as llama.cpp wants them")
    if _ALORA_KEY in adapter.header.metadata:
        _refuse(adapter, base, "it is an aLoRA, made to be switched on within a prompt")
    if adapter.architecture != base.architecture:
        made_for = shown(adapter.architecture)
        _refuse(adapter, base, f"it is for the architecture {made_for}, not {base.architecture}")
    matrices = {tensor.name: tensor.shape for tensor in base.tensors}
    for name, (a, b) in adapter.targets.items():
        if name not in matrices:
            _refuse(adapter, base, f"it changes {shown(name)}, which the model does not have")
        # llama.cpp takes factors of the embeddings the other way round, and ends the process
        # where these are the output's matrix too; of what else lies outside the layers it makes
        # no use
        if not name.startswith("blk.") and name != "output.weight":
            _refuse(adapter, base, f"it changes {shown(name)}, which is no matrix of a layer")
        if matrices[name] != (a.shape[0], b.shape[1]):
            made_for = f"{a.shape[0]} x {b.shape[1]}"
            shape = " x ".join(map(str, matrices[name]))
            _refuse(adapter, base, f"it changes a {name} of {made_for}, the model's is {shape}")


def _refuse(adapter: AdapterInfo, base: GGUFInfo, why: str) -> NoReturn:
    raise ModelFileError(
        f"{adapter.path}: an adapter that does not fit {base.path}: {why}; load the base that it "
        "was made for"
    )
