"""One context of llama.cpp: cells, sequences, saved states, and the batches it decodes."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from typing import Any

from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.library import BatchArrays, StopFlag, llama_cpp, log
from edgeslm.engines.llama.memory import BATCH_SIZE, MAX_SEQUENCES
from edgeslm.errors import EngineError

#: flash attention works in blocks of this many cells
CELL_BLOCK = 256
_COMPANION = MAX_SEQUENCES
#: in front of a saved state
_CHECKSUM_BYTES = 32


class Context:
    """Memory and buffers of ``cells`` tokens over a loaded model; freed by ``close``.

    Raises:
        EngineError: llama.cpp gives no context of this size.
    """

    def __init__(self, model: Any, path: Path, cells: int, threads: int, stop: StopFlag) -> None:
        self.cells = cells
        self.threads = threads
        self._arrays = BatchArrays(BATCH_SIZE, MAX_SEQUENCES)
        #: cells of each sequence
        self._lengths: dict[int, int] = {}
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = BATCH_SIZE
        parameters.n_seq_max = MAX_SEQUENCES + 1  # and the companion
        parameters.n_outputs_max = MAX_SEQUENCES + 1  # llama.cpp wants one for each
        parameters.n_outputs_max_per_seq = 0
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        parameters.kv_unified = True  # a partial copy of a sequence aborts the process without it
        parameters.abort_callback = stop.callback
        parameters.abort_callback_data = stop.data
        log.errors = []
        self._pointer: Any = llama_cpp.llama_init_from_model(model, parameters)
        if not self._pointer:
            raise EngineError(f"{path}: no context of {cells} cells: {log.reason()}")
        self._memory = llama_cpp.llama_get_memory(self._pointer)

    @property
    def filled(self) -> int:
        """Cells in use, at least: shared ones count for each of their sequences."""
        return sum(self._lengths.values())

    def set_threads(self, threads: int) -> None:
        if threads != self.threads:
            llama_cpp.llama_set_n_threads(self._pointer, threads, threads)
            self.threads = threads

    def set_adapter(self, adapter: Any) -> None:
        """Decode with this adapter alone, by llama.cpp's pointer, or with None."""
        count = 0 if adapter is None else 1
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        scales = (ctypes.c_float * 1)(1.0)
        log.errors = []
        if llama_cpp.llama_set_adapters_lora(self._pointer, pointers, count, scales):
            raise EngineError(f"llama.cpp does not take the adapter: {log.reason()}")

    def decode(self, batch: Batch, *, in_company: bool) -> int:
        """llama.cpp's code, 0 for success; a row ``in_company`` has one of no account beside it."""
        self._arrays.fill(_in_company(batch) if in_company else batch)
        log.errors = []
        code: int = llama_cpp.llama_decode(self._pointer, self._arrays.struct)
        if in_company:
            llama_cpp.llama_memory_seq_rm(self._memory, _COMPANION, -1, -1)
        for position, sequences in zip(batch.positions, batch.sequences, strict=True):
            for sequence in sequences:
                self._lengths[sequence] = position + 1
        return code

    def undo(self, batch: Batch) -> None:
        """Remove the rows of a batch that failed under way."""
        first: dict[int, int] = {}
        for position, sequences in zip(batch.positions, batch.sequences, strict=True):
            for sequence in sequences:
                first[sequence] = min(position, first.get(sequence, position))
        for sequence, position in first.items():
            self.truncate(sequence, position)

    def logits(self) -> Any:
        """A pointer to the rows of the last batch; valid until the next."""
        return llama_cpp.llama_get_logits(self._pointer)

    def fork(self, source: int, target: int) -> None:
        self._lengths[target] = self._lengths.get(source, 0)
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def truncate(self, sequence: int, length: int) -> None:
        self._lengths[sequence] = min(length, self._lengths.get(sequence, 0))
        if not llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1):
            raise EngineError(f"this model cannot be rolled back to position {length}")

    def save(self, sequence: int) -> bytes:
        size = llama_cpp.llama_state_seq_get_size(self._pointer, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self._pointer, buffer, size, sequence)
        data = bytes(memoryview(buffer)[:written])
        return _checksum(data) + data

    def restore(self, sequence: int, state: bytes) -> None:
        data = state[_CHECKSUM_BYTES:]
        if state[:_CHECKSUM_BYTES] != _checksum(data):
            raise EngineError("the saved state is damaged; evaluate its tokens again")
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        if not llama_cpp.llama_state_seq_set_data(self._pointer, buffer, len(data), sequence):
            self.truncate(sequence, 0)
            raise EngineError(
                f"the saved state does not fit: it is another model's, or {self.cells} cells "
                "are too few"
            )
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)
        self._lengths[sequence] = last + 1

    def close(self) -> None:
        llama_cpp.llama_free(self._pointer)
        self._pointer = None


def _in_company(batch: Batch) -> Batch:
    """The batch's one row, and a row of no account beside it."""
    return Batch(
        tokens=[*batch.tokens, batch.tokens[0]],
        positions=[*batch.positions, 0],
        sequences=[*batch.sequences, (_COMPANION,)],
        wanted=[*batch.wanted, False],
    )


def _checksum(state: bytes) -> bytes:
    """llama.cpp aborts on some damaged states and takes others for good."""
    return hashlib.sha256(state).digest()
