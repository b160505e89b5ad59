"""llama.cpp's library as the engine uses it: loading, log, abort flag, batch arrays."""

from __future__ import annotations

import ctypes
import logging
import threading
import time

import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.device import machine
from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.kernels import leave_out_amx
from edgeslm.errors import CancelledError, DeadlineError

machine.prepare_openmp()
machine.check_build()

import llama_cpp  # noqa: E402  the two calls above must come before the library is loaded
from llama_cpp._ggml import libggml  # noqa: E402

__all__ = ["BatchArrays", "StopFlag", "libggml", "llama_cpp", "log", "logger"]

logger = logging.getLogger("edgeslm.llama")
logger.addHandler(logging.NullHandler())  # or `logging` would print warnings to stderr by itself


class Log:
    """llama.cpp's log, passed on to `logging`; the errors of a call are kept for messages."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._level = logging.DEBUG
        self.callback = llama_cpp.llama_log_callback(self._write)

    def _write(self, level: int, text: bytes, _user_data: object) -> None:
        if level != 5:  # 5 continues the line before
            self._level = {3: logging.WARNING, 4: logging.ERROR}.get(level, logging.DEBUG)
        line = text.decode("utf-8", "replace").rstrip()
        if not line:
            return
        if self._level == logging.ERROR:
            self.errors.append(line)
        # what becomes an exception is not also an error on somebody's console
        logger.log(logging.DEBUG if self._level == logging.ERROR else self._level, "%s", line)

    def reason(self) -> str:
        """The first error since ``errors`` was emptied: later ones only say that it failed."""
        return self.errors[0] if self.errors else "no reason was given"


log = Log()
llama_cpp.llama_log_set(log.callback, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
if leave_out_amx(libggml):
    logger.debug("this llama.cpp would use AMX; it uses AVX-512 instead")


class StopFlag:
    """The abort callback, without Python in it.

    llama.cpp asks it before every node of the graph, so a Python callback would
    cost about 15 % of a small model's decode. `strlen` of a one-byte string is the
    same question: 0 while the byte is zero, 1 once it is set.
    """

    def __init__(self) -> None:
        libc = ctypes.cdll.msvcrt if hasattr(ctypes, "windll") else ctypes.CDLL(None)
        self.callback = ctypes.cast(libc.strlen, llama_cpp.ggml_abort_callback)
        self._byte = ctypes.create_string_buffer(2)
        self.data = ctypes.cast(self._byte, ctypes.c_void_p)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._cancelled = False

    def arm(self, deadline: float | None) -> None:
        self.disarm()
        with self._lock:
            self._cancelled = False
            self._byte[0] = b"\0"
        if deadline is None:
            return
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            self._byte[0] = b"\1"
            return
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._expire)
        timer.args = [timer]
        timer.daemon = True
        self._timer = timer
        timer.start()

    def disarm(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            self._byte[0] = b"\1"

    def _expire(self, timer: threading.Timer) -> None:
        with self._lock:
            if timer is self._timer:  # and not that of a request that has just ended
                self._byte[0] = b"\1"

    def check(self) -> None:
        if self._byte[0] == b"\0":
            return
        if self._cancelled:
            raise CancelledError("the request was cancelled")
        raise DeadlineError(
            "the deadline passed before the answer was complete; allow more deadline_ms"
        )


class BatchArrays:
    """The memory of one llama_batch, written through numpy and used for every call."""

    def __init__(self, rows: int, sequences: int) -> None:
        self.tokens: NDArray[np.int32] = np.zeros(rows, np.int32)
        self.positions: NDArray[np.int32] = np.zeros(rows, np.int32)
        self.counts: NDArray[np.int32] = np.zeros(rows, np.int32)
        self.ids: NDArray[np.int32] = np.zeros((rows, sequences), np.int32)
        self.wanted: NDArray[np.int8] = np.zeros(rows, np.int8)
        row_bytes = self.ids.strides[0]
        self._pointers = np.arange(rows, dtype=np.uintp) * row_bytes + self.ids.ctypes.data
        pointer = ctypes.POINTER
        i32 = pointer(ctypes.c_int32)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self.tokens.ctypes.data_as(i32),
            embd=None,
            pos=self.positions.ctypes.data_as(i32),
            n_seq_id=self.counts.ctypes.data_as(i32),
            seq_id=self._pointers.ctypes.data_as(pointer(i32)),
            logits=self.wanted.ctypes.data_as(pointer(ctypes.c_int8)),
        )

    def fill(self, batch: Batch) -> None:
        n = len(batch.tokens)
        self.tokens[:n] = batch.tokens
        self.positions[:n] = batch.positions
        self.wanted[:n] = batch.wanted
        for i, sequences in enumerate(batch.sequences):
            self.counts[i] = len(sequences)
            self.ids[i, : len(sequences)] = sequences
        self.struct.n_tokens = n
