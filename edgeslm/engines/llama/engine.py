"""llama.cpp behind the Engine seam, through llama-cpp-python's low-level functions."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeslm.engines.device import machine
from edgeslm.engines.engine import Batch, Logits, Vocab
from edgeslm.engines.llama import threads as thread_choice
from edgeslm.engines.llama.adapters import Adapters
from edgeslm.engines.llama.context import CELL_BLOCK, Context
from edgeslm.engines.llama.library import StopFlag, llama_cpp, log, logger
from edgeslm.engines.llama.memory import (
    BATCH_SIZE,
    DEFAULT_CONTEXT,
    MAX_SEQUENCES,
    free_gpu_memory,
    gpu_names,
    layers_that_fit,
    need,
)
from edgeslm.engines.llama.pacing import Pace, thread_counts
from edgeslm.engines.llama.tokenizer import no_space_prefix, tokenize
from edgeslm.engines.llama.vocab import read_vocab
from edgeslm.engines.requests import check_process
from edgeslm.errors import EdgeslmError, EngineError, ModelFileError
from edgeslm.formats.gguf.guard import refuse_fatal
from edgeslm.formats.gguf.info import read_gguf

#: Rows of logits of one batch. From 64 rows of a sequence on, flash attention on the
#: CPU takes another path that rounds otherwise; below it, logits of Q4_0, Q4_1 and
#: Q8_0 do not depend on the shape of the batch.
MAX_OUTPUTS = 63
#: half the cells from which on a single row's attention is split between threads
_SPLIT_CELLS = 128
#: weights whose products do not depend on the number of rows, as measured on x86
_STEADY_TYPES = {"Q4_0", "Q4_1", "Q8_0"}
#: llama_decode's codes for "no room" and "invalid batch"
_NOTHING_DONE = (1, -1)


class LlamaEngine:
    """A GGUF loaded by llama.cpp.

    Args:
        path: the file.
        context_size: cells to begin with; grows to ``max_context`` by ``resize``.
        max_context: default is what the model was trained for.
        gpu_layers: None puts all on a GPU that this build supports, as far as its memory goes.
        threads: None takes up to ``machine.default_threads()``: as many as are fastest, by a
            measurement at the first load here, and fewer on a busy machine.

    Raises:
        ModelFileError: not a model that llama.cpp can load.
        ResourceError: weights, cells and buffers do not fit into memory.
        EngineError: ``max_context`` or ``threads`` is less than 1.
        ForkError: the process that this one was forked from has loaded a model: what llama.cpp
            computes with in a fork waits for ever for threads that are not there.
    """

    #: the process that loaded a model first
    _process: ClassVar[int | None] = None

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
                raise EngineError(
                    f"{name} must be at least 1, or None for edgeslm's choice, not {value}"
                )
        check_process(LlamaEngine._process or os.getpid())
        LlamaEngine._process = os.getpid()
        self.info = read_gguf(path)
        refuse_fatal(self.info)
        self._path = path
        self._model: Any = None
        self._open: Context | None = None
        self._adapter: int | None = None
        self._stop = StopFlag()
        self._threads = threads or machine.default_threads()
        self._pace: Pace | None = None
        limit = self.info.context_length
        self._max_context = min(max_context or limit, limit)
        machine.check_fit(need(self.info, context_size), machine.available_memory(), path.name)
        self._model = self._load(gpu_layers)
        self._vocab_pointer = llama_cpp.llama_model_get_vocab(self._model)
        self._refuse_recurrent()
        self._adapters = Adapters(self._model, self.info)
        self._open_context(context_size)
        if threads is None:
            self._pace = self._measured_pace()

    # --- loading ---------------------------------------------------------------

    def _load(self, gpu_layers: int | None) -> Any:
        parameters = llama_cpp.llama_model_default_params()
        self._gpu_layers = gpu_layers if gpu_layers is not None else self._layers_that_fit()
        parameters.n_gpu_layers = self._gpu_layers
        overrides = no_space_prefix()
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
        try:
            self._open = Context(self._model, self._path, cells, self._threads, self._stop)
        except EngineError:
            self.close()
            raise
        if self._adapter is not None:
            self._open.set_adapter(self._adapters.pointer(self._adapter))

    def _measured_pace(self) -> Pace:
        """A pace that begins with what is fastest here, as far as that is known."""
        counts = thread_counts(self._threads)
        choice = None
        if len(counts) > 1 and not self._on_gpu:
            try:
                choice = thread_choice.kept_or_measured(self._decisive(), counts, self._measure)
            except (EdgeslmError, OSError) as error:  # a request meets it too
                logger.debug("%s: the threads were not measured: %s", self._path, error)
        if choice is None:
            return Pace(self._threads)
        return Pace(self._threads, start=choice.decode, large=choice.prefill)

    def _decisive(self) -> dict[str, Any]:
        """What decides which thread count is the fastest."""
        stat = self._path.stat()
        model = [self._path.name, stat.st_size, stat.st_mtime_ns]
        cores = [machine.usable_cores(), self._threads]
        return {**self.identity, "model": model, "cores": cores}

    def _measure(self, rows: int, threads: int) -> float:
        """Milliseconds of a batch in a sequence that is empty before and after."""
        context = self._context
        context.set_threads(threads)
        batch = Batch.run(range(rows), 0, 0)  # any tokens
        start = time.perf_counter()
        code = context.decode(batch, in_company=False)
        ms = (time.perf_counter() - start) * 1000
        context.truncate(0, 0)
        if code != 0:
            self._explain(code, batch)
        return ms

    # --- facts -----------------------------------------------------------------

    @property
    def context_size(self) -> int:
        return self._context.cells

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

    @property
    def _on_gpu(self) -> bool:
        """Whether weights are not on the processor."""
        return bool(llama_cpp.llama_supports_gpu_offload()) and self._gpu_layers != 0

    @cached_property
    def steady(self) -> bool:
        types = {tensor.type_name for tensor in self.info.tensors if len(tensor.shape) > 1}
        return not self._on_gpu and types <= _STEADY_TYPES

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the bits of a saved state, beside the weights and the tokens.

        The number of threads does not: states were bit-equal for one and two.
        """
        return {
            "engine": f"llama-cpp-python {llama_cpp.__version__}",
            "system": llama_cpp.llama_print_system_info().decode("utf-8", "replace"),
            "build": machine.build_id(),
            "gpu": [self._gpu_layers, *gpu_names()] if self._on_gpu else [],
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
        return tokenize(self._vocab_pointer, text, special=special)

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.vocab.pieces[token] for token in tokens)

    # --- evaluation ------------------------------------------------------------

    def evaluate(self, batch: Batch) -> Logits:
        context = self._context
        self._stop.check()
        if len(batch.tokens) > BATCH_SIZE or sum(batch.wanted) > MAX_OUTPUTS:
            raise EngineError(f"a batch holds at most {BATCH_SIZE} rows and {MAX_OUTPUTS} outputs")
        code = self._decode(context, batch)
        if code not in (0, *_NOTHING_DONE):
            context.undo(batch)
        if code != 0:
            self._explain(code, batch)
        return self._rows(context, sum(batch.wanted))

    def _decode(self, context: Context, batch: Batch) -> int:
        """Decode, a single row in company where it would round otherwise alone.

        Past 256 cells and with more than one thread flash attention splits the cells of a
        single row between them, and the factors of an adapter are multiplied by a vector
        otherwise than by a matrix: the same token had other logits in a batch of one than in
        a batch of two.
        """
        rows = len(batch.tokens)
        context.set_threads(self._threads if self._pace is None else self._pace.threads(rows))
        # weights that are not steady round by the company, so they keep it whatever the pace
        threads = context.threads if self.steady else self._threads
        is_split = threads > 1 and context.filled > _SPLIT_CELLS
        alone = rows == 1 and (is_split or self._adapter is not None)
        start = time.perf_counter()
        code = context.decode(batch, in_company=alone)
        if self._pace is not None and code == 0:
            self._pace.record(rows, (time.perf_counter() - start) * 1000, context.threads)
        return code

    def _explain(self, code: int, batch: Batch) -> None:
        if code == 2:
            self._stop.check()
        if code == 1:
            raise EngineError(
                f"no room for {len(batch.tokens)} more tokens in a context of "
                f"{self.context_size} cells"
            )
        raise EngineError(f"llama.cpp failed with code {code}: {log.reason()}")

    def _rows(self, context: Context, n: int) -> Logits:
        if n == 0:
            return np.empty((0, self._n_vocab), np.float32)
        return np.ctypeslib.as_array(context.logits(), shape=(n, self._n_vocab))

    @cached_property
    def _n_vocab(self) -> int:
        return int(llama_cpp.llama_vocab_n_tokens(self._vocab_pointer))

    # --- sequences -------------------------------------------------------------

    def fork(self, source: int, target: int) -> None:
        self._context.fork(source, target)

    def truncate(self, sequence: int, length: int) -> None:
        self._context.truncate(sequence, length)

    def save(self, sequence: int) -> bytes:
        return self._context.save(sequence)

    def restore(self, sequence: int, state: bytes) -> None:
        self._context.restore(sequence, state)

    def resize(self, context_size: int) -> None:
        context = self._context
        if context_size <= context.cells:
            return
        more = need(self.info, context_size).kv - need(self.info, context.cells).kv
        machine.check_fit(machine.Need(0, more, 0), machine.available_memory(), self._path.name)
        context.close()
        self._open = None
        self._open_context(context_size)

    # --- adapters --------------------------------------------------------------

    def add_adapter(self, path: Path) -> int:
        self._check_open()
        return self._adapters.add(path)

    def remove_adapter(self, adapter: int) -> None:
        if self._open is None:
            return
        if adapter == self._adapter:
            self.use_adapter(None)
        self._adapters.remove(adapter)

    def use_adapter(self, adapter: int | None) -> None:
        if adapter != self._adapter:
            self._context.set_adapter(self._adapters.pointer(adapter))
            self._adapter = adapter

    # --- stopping --------------------------------------------------------------

    def arm(self, deadline: float | None) -> None:
        self._stop.arm(deadline)

    def cancel(self) -> None:
        self._stop.cancel()

    def close(self) -> None:
        self._stop.disarm()
        if self._open is not None:
            self._open.close()
            self._open = None
        if self._model is not None:
            llama_cpp.llama_model_free(self._model)  # its adapters with it
            self._model = None

    @property
    def _context(self) -> Context:
        if self._open is None:
            raise EngineError("the model is closed")
        return self._open

    def _check_open(self) -> None:
        _ = self._context
