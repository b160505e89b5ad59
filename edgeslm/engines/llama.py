"""llama.cpp behind the Engine seam, through llama-cpp-python's low-level functions."""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeslm import machine
from edgeslm.engine import Batch, Logits, Vocab
from edgeslm.engines.llama_library import BatchArrays, StopFlag, llama_cpp, log
from edgeslm.engines.llama_memory import (
    BATCH_SIZE,
    DEFAULT_CONTEXT,
    MAX_SEQUENCES,
    free_gpu_memory,
    gpu_names,
    layers_that_fit,
    need,
)
from edgeslm.engines.llama_vocab import read_vocab
from edgeslm.errors import EngineError, ModelFileError
from edgeslm.gguf_file import read_gguf
from edgeslm.gguf_guard import refuse_fatal
from edgeslm.pace import Pace

#: Rows of logits of one batch. From 64 rows of a sequence on, flash attention on the
#: CPU takes another path that rounds otherwise; below it, logits of Q4_0, Q4_1 and
#: Q8_0 do not depend on the shape of the batch.
MAX_OUTPUTS = 63
_COMPANION = MAX_SEQUENCES
#: half the cells from which on a single row's attention is split between threads
_SPLIT_CELLS = 128
#: weights whose products do not depend on the number of rows, as measured on x86
_STEADY_TYPES = {"Q4_0", "Q4_1", "Q8_0"}
#: flash attention works in blocks of this many cells
CELL_BLOCK = 256
#: llama_decode's codes for "no room" and "invalid batch"
_NOTHING_DONE = (1, -1)
#: in front of a saved state
_CHECKSUM_BYTES = 32


class LlamaEngine:
    """A GGUF loaded by llama.cpp.

    Args:
        path: the file.
        context_size: cells to begin with; grows to ``max_context`` by ``resize``.
        max_context: default is what the model was trained for.
        gpu_layers: None puts all on a GPU that this build supports, as far as its memory goes.
        threads: None takes up to ``machine.default_threads()``, fewer on a busy machine.

    Raises:
        ModelFileError: not a model that llama.cpp can load.
        ResourceError: weights, cells and buffers do not fit into memory.
        EngineError: ``max_context`` or ``threads`` is less than 1.
    """

    def __init__(
        self,
        path: Path,
        *,
        context_size: int = DEFAULT_CONTEXT,
        max_context: int | None = None,
        gpu_layers: int | None = None,
        threads: int | None = None,
    ) -> None:
        for name, value in (("max_context", max_context), ("threads", threads)):
            if value is not None and value < 1:
                raise EngineError(f"{name} must be at least 1, or None to choose it: {value}")
        self.info = read_gguf(path)
        refuse_fatal(self.info)
        self._path = path
        self._model: Any = None
        self._context: Any = None
        self._stop = StopFlag()
        self._threads = threads or machine.default_threads()
        self._pace = Pace(self._threads) if threads is None else None
        limit = self.info.context_length
        self._max_context = min(max_context or limit, limit)
        machine.check_fit(need(self.info, context_size), machine.available_memory(), path.name)
        self._model = self._load(gpu_layers)
        self._vocab_pointer = llama_cpp.llama_model_get_vocab(self._model)
        self._refuse_recurrent()
        self._arrays = BatchArrays(BATCH_SIZE, MAX_SEQUENCES)
        self._open_context(context_size)

    # --- loading ---------------------------------------------------------------

    def _load(self, gpu_layers: int | None) -> Any:
        parameters = llama_cpp.llama_model_default_params()
        self._gpu_layers = gpu_layers if gpu_layers is not None else self._layers_that_fit()
        parameters.n_gpu_layers = self._gpu_layers
        overrides = _no_space_prefix()
        parameters.kv_overrides = overrides
        log.errors = []
        model = llama_cpp.llama_model_load_from_file(os.fsencode(self._path), parameters)
        if not model:
            raise ModelFileError(
                f"{self._path}: llama.cpp cannot load this model: {log.reason()}. "
                "Pull it again, or update llama-cpp-python if the model is newer than this build"
            )
        return model

    def _layers_that_fit(self) -> int:
        if not llama_cpp.llama_supports_gpu_offload():
            return 0
        return layers_that_fit(self.info, free_gpu_memory())

    def _refuse_recurrent(self) -> None:
        if llama_cpp.llama_model_is_recurrent(self._model) or llama_cpp.llama_model_is_hybrid(
            self._model
        ):
            self.close()
            raise ModelFileError(
                f"{self._path}: {self.info.architecture} keeps a recurrent state, which cannot be "
                "rolled back; use a transformer model"
            )

    def _open_context(self, cells: int) -> None:
        cells = min(
            -(-cells // CELL_BLOCK) * CELL_BLOCK, -(-self._max_context // CELL_BLOCK) * CELL_BLOCK
        )
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = BATCH_SIZE
        parameters.n_seq_max = MAX_SEQUENCES + 1  # and the companion
        parameters.n_outputs_max = MAX_SEQUENCES + 1  # llama.cpp wants one for each
        parameters.n_outputs_max_per_seq = 0
        parameters.n_threads = parameters.n_threads_batch = self._threads_now = self._threads
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        parameters.kv_unified = True  # a partial copy of a sequence aborts the process without it
        parameters.abort_callback = self._stop.callback
        parameters.abort_callback_data = self._stop.data
        log.errors = []
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not self._context:
            self.close()
            raise EngineError(f"{self._path}: no context of {cells} cells: {log.reason()}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._cells = cells
        self._lengths: dict[int, int] = {}

    # --- facts -----------------------------------------------------------------

    @property
    def context_size(self) -> int:
        return self._cells

    @property
    def max_context(self) -> int:
        return self._max_context

    @property
    def max_sequences(self) -> int:
        return MAX_SEQUENCES

    @property
    def batch_size(self) -> int:
        return BATCH_SIZE

    @property
    def max_outputs(self) -> int:
        return MAX_OUTPUTS

    @cached_property
    def steady(self) -> bool:
        on_gpu = llama_cpp.llama_supports_gpu_offload() and self._gpu_layers != 0
        types = {tensor.type_name for tensor in self.info.tensors if len(tensor.shape) > 1}
        return not on_gpu and types <= _STEADY_TYPES

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bits of a saved state, beside the weights and the tokens.

        The number of threads does not: states were bit-equal for one and two.
        """
        on_gpu = llama_cpp.llama_supports_gpu_offload() and self._gpu_layers != 0
        return {
            "engine": f"llama-cpp-python {llama_cpp.__version__}",
            "system": llama_cpp.llama_print_system_info().decode("utf-8", "replace"),
            "build": machine.build_id(),
            "gpu": [self._gpu_layers, *gpu_names()] if on_gpu else [],
            "cells": "f16",
            "flash_attention": "auto",
            "batch": BATCH_SIZE,
        }

    @property
    def chat_template(self) -> str | None:
        return self.info.chat_template

    @cached_property
    def vocab(self) -> Vocab:
        self._check_open()
        return read_vocab(self._vocab_pointer, self.chat_template)

    # --- tokens ----------------------------------------------------------------

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        self._check_open()
        data = text.encode()
        room = len(data) + 8
        while True:
            buffer = (ctypes.c_int32 * room)()
            n = llama_cpp.llama_tokenize(
                self._vocab_pointer, data, len(data), buffer, room, False, special
            )
            if n >= 0:
                return buffer[:n]
            room = -n

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.vocab.pieces[token] for token in tokens)

    # --- evaluation ------------------------------------------------------------

    def evaluate(self, batch: Batch) -> Logits:
        self._check_open()
        self._stop.check()
        if len(batch.tokens) > BATCH_SIZE or sum(batch.wanted) > MAX_OUTPUTS:
            raise EngineError(f"a batch holds at most {BATCH_SIZE} rows and {MAX_OUTPUTS} outputs")
        code = self._decode(batch)
        if code not in (0, *_NOTHING_DONE):
            self._undo(batch)
        if code != 0:
            self._explain(code, batch)
        return self._rows(sum(batch.wanted))

    def _decode(self, batch: Batch) -> int:
        """Decode, a single row in company: alone, past 256 cells, it would round otherwise.

        With more than one thread flash attention then splits the cells between them, so
        that the same token had other logits in a batch of one than in a batch of two.
        """
        rows = len(batch.tokens)
        self._set_threads(self._threads if self._pace is None else self._pace.threads(rows))
        # weights that are not steady round by the company, so they keep it whatever the pace
        threads = self._threads_now if self.steady else self._threads
        alone = rows == 1 and threads > 1 and self._filled > _SPLIT_CELLS
        self._arrays.fill(_in_company(batch) if alone else batch)
        log.errors = []
        code = self._decode_arrays(rows)
        if alone:
            llama_cpp.llama_memory_seq_rm(self._memory, _COMPANION, -1, -1)
        for position, sequences in zip(batch.positions, batch.sequences, strict=True):
            for sequence in sequences:
                self._lengths[sequence] = position + 1
        return code

    def _decode_arrays(self, rows: int) -> int:
        """Decode what the arrays hold; the pace learns how long ``rows`` took."""
        start = time.perf_counter()
        code: int = llama_cpp.llama_decode(self._context, self._arrays.struct)
        if self._pace is not None and code == 0:
            self._pace.record(rows, (time.perf_counter() - start) * 1000, self._threads_now)
        return code

    def _set_threads(self, threads: int) -> None:
        if threads != self._threads_now:
            llama_cpp.llama_set_n_threads(self._context, threads, threads)
            self._threads_now = threads

    @property
    def _filled(self) -> int:
        """Cells in use, at least: shared ones count for each of their sequences."""
        return sum(self._lengths.values())

    def _undo(self, batch: Batch) -> None:
        first: dict[int, int] = {}
        for position, sequences in zip(batch.positions, batch.sequences, strict=True):
            for sequence in sequences:
                first[sequence] = min(position, first.get(sequence, position))
        for sequence, position in first.items():
            self.truncate(sequence, position)

    def _explain(self, code: int, batch: Batch) -> None:
        if code == 2:
            self._stop.check()
        if code == 1:
            raise EngineError(
                f"no room for {len(batch.tokens)} more tokens in a context of {self._cells} cells"
            )
        raise EngineError(f"llama.cpp failed with code {code}: {log.reason()}")

    def _rows(self, n: int) -> Logits:
        if n == 0:
            return np.empty((0, self._n_vocab), np.float32)
        pointer = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(n, self._n_vocab))

    @cached_property
    def _n_vocab(self) -> int:
        return int(llama_cpp.llama_vocab_n_tokens(self._vocab_pointer))

    # --- sequences -------------------------------------------------------------

    def fork(self, source: int, target: int) -> None:
        self._check_open()
        self._lengths[target] = self._lengths.get(source, 0)
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def truncate(self, sequence: int, length: int) -> None:
        self._check_open()
        self._lengths[sequence] = min(length, self._lengths.get(sequence, 0))
        if not llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1):
            raise EngineError(f"this model cannot be rolled back to position {length}")

    def save(self, sequence: int) -> bytes:
        self._check_open()
        size = llama_cpp.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self._context, buffer, size, sequence)
        data = bytes(memoryview(buffer)[:written])
        return _checksum(data) + data

    def restore(self, sequence: int, state: bytes) -> None:
        self._check_open()
        data = state[_CHECKSUM_BYTES:]
        if state[:_CHECKSUM_BYTES] != _checksum(data):
            raise EngineError("the saved state is damaged; evaluate its tokens again")
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        if not llama_cpp.llama_state_seq_set_data(self._context, buffer, len(data), sequence):
            self.truncate(sequence, 0)
            raise EngineError(
                f"the saved state does not fit: it is another model's, or {self._cells} cells "
                "are too few"
            )
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)
        self._lengths[sequence] = last + 1

    def resize(self, context_size: int) -> None:
        if context_size <= self._cells:
            return
        self._check_open()
        more = need(self.info, context_size).kv - need(self.info, self._cells).kv
        machine.check_fit(machine.Need(0, more, 0), machine.available_memory(), self._path.name)
        llama_cpp.llama_free(self._context)
        self._context = None
        self._open_context(context_size)

    # --- stopping --------------------------------------------------------------

    def arm(self, deadline: float | None) -> None:
        self._stop.arm(deadline)

    def cancel(self) -> None:
        self._stop.cancel()

    def close(self) -> None:
        self._stop.disarm()
        if self._context is not None:
            llama_cpp.llama_free(self._context)
            self._context = None
        if self._model is not None:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _check_open(self) -> None:
        if self._context is None:
            raise EngineError("the model is closed")


def _in_company(batch: Batch) -> Batch:
    """The batch's one row, and a row of no account beside it."""
    return Batch(
        tokens=[*batch.tokens, batch.tokens[0]],
        positions=[*batch.positions, 0],
        sequences=[*batch.sequences, (_COMPANION,)],
        wanted=[*batch.wanted, False],
    )


def _no_space_prefix() -> Any:
    """Overrides of metadata: SentencePiece puts no space before a text or behind control tokens.

    The prompt's parts are tokenized one by one, and an answer does not begin with a space.
    """
    overrides: Any = (llama_cpp.llama_model_kv_override * 2)()  # a key of no characters ends them
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_BOOL
    overrides[0].key = b"tokenizer.ggml.add_space_prefix"
    overrides[0].value.val_bool = False
    return overrides


def _checksum(state: bytes) -> bytes:
    """llama.cpp aborts on some damaged states and takes others for good."""
    return hashlib.sha256(state).digest()
