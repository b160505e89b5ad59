"""OnnxSession: arrays in, logits out, on onnxruntime; the only file that imports it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.device.machine import default_threads
from edgeslm.engines.requests import CancelToken, check_process, check_token
from edgeslm.errors import (
    CancelledError,
    EngineError,
    MachineError,
    MissingExtraError,
    ModelFileError,
    ResourceError,
)

Inputs = Mapping[str, NDArray[np.int64] | NDArray[np.float32]]

#: execution providers that edgeslm takes, the first that is there
_PREFERRED: Final = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")
_CPU: Final = "CPUExecutionProvider"
_SILENT: Final = 4  # its log; what is wrong comes as an exception
_OUTPUT: Final = "logits"
#: a run of more tokens gives its memory back; a smaller one's is kept for the next, for asking
#: the system for it anew takes as long as the run itself
_LARGE: Final = 256
#: beside busy programs an encoder's run takes .6 to .9 of the time that it does without a bound
_SPIN_MICROSECONDS: Final = "100"
_REINSTALL: Final = "pip install --force-reinstall onnxruntime"


def load_library() -> Any:
    """The module onnxruntime, told to send and print nothing; raises MachineError."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise MachineError(
                f"onnxruntime cannot be loaded: {error}; reinstall it: {_REINSTALL}"
            ) from error
        raise MissingExtraError(
            "this model is an encoder, and onnxruntime is not installed; install it: "
            'pip install "edgeslm-core[onnx]"',
            extra="onnx",
        ) from error
    except ImportError as error:
        raise MachineError(
            f"onnxruntime cannot be loaded: {error}; reinstall it: {_REINSTALL}"
        ) from error
    onnxruntime.set_default_logger_severity(_SILENT)
    return onnxruntime


def providers() -> tuple[str, ...]:
    """The execution providers of this build that edgeslm takes, best first; raises MachineError."""
    there = set(load_library().get_available_providers())
    return tuple(name for name in (*_PREFERRED, _CPU) if name in there)


class OnnxSession:
    """A graph that onnxruntime has loaded. Safe to call from many threads, at the same time.

    ``provider`` is the execution provider that computes, such as "CPUExecutionProvider".
    """

    def __init__(self, path: Path, *, threads: int | None = None, gpu: bool = True) -> None:
        """Load the file.

        Args:
            threads: of one run; None chooses for this machine.
            gpu: False keeps to the CPU.

        Raises:
            ModelFileError: onnxruntime refuses the file.
            ResourceError: no memory for it. MachineError: there is no onnxruntime.
        """
        runtime = load_library()
        self._new_options = runtime.RunOptions
        self._failures = _failures(runtime)
        self._process = os.getpid()
        self._lock = Lock()
        self._running: list[OnnxCall] = []
        names = providers() if gpu else (_CPU,)
        #: threads that one run shares its work with
        self.threads = default_threads() if threads is None else threads
        self._source = _Source.of(path)
        #: the graph again, for runs of one thread each; None before it is loaded
        self._single: Any = None
        self._first_of_many = Lock()  # taken once, for loading that
        try:
            self._session: Any = _load(runtime, path, self.threads, names)
        except MemoryError as error:
            raise ResourceError(f"{path}: no memory is left to load it") from error
        except self._failures as error:
            raise ModelFileError(
                f"{path}: onnxruntime cannot load it: {_first_line(error)}; make the file again "
                "with `python -m converters`, or pull it again"
            ) from error
        self.provider: str = self._session.get_providers()[0]

    def begin(self, token: CancelToken | None = None) -> OnnxCall:
        """A call that ``token``, ``cancel`` and ``close`` stop from now on.

        Raises:
            EngineError: closed. ForkError: another process loaded the file.
        """
        self.check_open()  # before any lock: a thread that is not here may hold it
        check_token(token)
        call = OnnxCall(self, self._new_options(), token)
        with self._lock:
            if self._session is None:
                raise EngineError("the model is closed")
            self._running.append(call)
        return call

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """The logits of a batch: float32 [batch, labels]; raises what `OnnxCall.run` does."""
        with self.begin() as call:
            return call.run(inputs)

    @property
    def splits(self) -> bool:
        """Whether threads of a CPU share a run, so that many runs go faster with one each."""
        return self.threads > 1 and self.provider == _CPU

    def _graph(self, side_by_side: bool) -> Any:
        """The loaded graph that a run takes; None after ``close``."""
        session = self._session
        if not side_by_side or session is None or not self.splits:
            return session
        if self._single is None and self._first_of_many.acquire(blocking=False):  # no other waits
            single = self._loaded_again() or session
            with self._lock:
                self._single = None if self._session is None else single
        return self._single or session

    def _loaded_again(self) -> Any:
        """The graph with one thread a run; None where the file has changed or memory ends."""
        runtime = load_library()
        try:
            single = _load(runtime, self._source.path, 1, (_CPU,))
            return single if _Source.of(self._source.path) == self._source else None
        except MemoryError:
            return None
        except self._failures:
            return None

    def _end(self, call: OnnxCall) -> None:
        with self._lock:
            self._running = [other for other in self._running if other is not call]

    def _run(self, call: OnnxCall, inputs: Inputs, side_by_side: bool) -> NDArray[np.float32]:
        call.check()
        if (
            self.provider == _CPU
            and min((value.size for value in inputs.values()), default=0) > _LARGE
        ):
            call.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        session = self._graph(side_by_side)
        if session is None:
            raise EngineError("the model was closed")
        try:
            logits = session.run([_OUTPUT], inputs, call.options)[0]
        except MemoryError as error:
            raise ResourceError("no memory is left to answer this input") from error
        except self._failures as error:
            call.check()
            raise EngineError(f"onnxruntime failed: {_first_line(error)}") from error
        return _checked(logits)

    def check_process(self) -> None:
        """Raises ForkError where another process loaded the file."""
        check_process(self._process)

    def check_open(self) -> None:
        """Raises EngineError after ``close``, ForkError where another process loaded the file."""
        self.check_process()
        if self._session is None:
            raise EngineError("the model is closed")

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._process

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._session is None

    def cancel(self) -> None:
        """Stop the calls under way, from any thread."""
        if self._forked:
            return
        with self._lock:
            for call in self._running:
                call.options.terminate = True

    def close(self) -> None:
        """Stop what runs and free the memory; a second call does nothing.

        Nor does one in a forked child: what has threads waits for them to free it, and they are
        not there.
        """
        if self._forked:
            return
        with self._lock:
            self._session = self._single = None
        self.cancel()


class OnnxCall:
    """One call of a session: its text is made ready and run, until it is stopped."""

    def __init__(self, session: OnnxSession, options: Any, token: CancelToken | None) -> None:
        self.options = options
        self._session = session
        self._token = nullcontext() if token is None else token.stops(self.stop)

    def __enter__(self) -> OnnxCall:
        try:
            self._token.__enter__()
        except BaseException:
            self._session._end(self)
            raise
        return self

    def stop(self) -> None:
        """Stop it, from any thread."""
        self.options.terminate = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._token.__exit__(kind, error, traceback)
        self._session._end(self)

    def check(self) -> None:
        """Raises CancelledError if it was cancelled, EngineError if the session was closed."""
        if self.options.terminate:
            if self._session.closed:
                raise EngineError("the model was closed")
            raise CancelledError("cancelled")

    def run(self, inputs: Inputs, *, side_by_side: bool = False) -> NDArray[np.float32]:
        """The logits of a batch: float32 [batch, labels].

        Args:
            side_by_side: others are under way, and where the session ``splits``, all go faster
                with one thread each. The first such run loads the graph again for them; no bit of
                an answer changes.

        Raises:
            CancelledError: ``cancel`` was called since the call began.
            EngineError: closed, or onnxruntime failed. ResourceError: no memory is left.
        """
        return self._session._run(self, inputs, side_by_side)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file, and what tells its content from a later one's."""

    path: Path
    stamp: tuple[int, int, int, int] | None

    @classmethod
    def of(cls, path: Path) -> _Source:
        try:
            status = path.stat()
        except OSError:
            return cls(path, None)
        return cls(path, (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev))


def _load(runtime: Any, path: Path, threads: int, names: tuple[str, ...]) -> Any:
    return runtime.InferenceSession(
        path,
        _options(runtime, threads),
        providers=list(names),
        enable_fallback=0,  # it would print, and try the same again
    )


def _options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Texts differ in length, so memory laid out for one shape serves no other.
    options.enable_mem_pattern = False
    # Threads wait busily within a run, which is faster, but not for longer than between two of its
    # operators: beside busy programs that would take the core from who is waited for. Versions that
    # do not know the bound wait as long as they like. Between runs threads sleep.
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _failures(runtime: Any) -> tuple[type[Exception], ...]:
    """What onnxruntime raises: classes of its own, and what its C++ turns into Python's."""
    own = vars(runtime.capi.onnxruntime_pybind11_state).values()
    errors = [kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*errors, RuntimeError, ValueError, TypeError)


def _checked(logits: Any) -> NDArray[np.float32]:
    if (
        not isinstance(logits, np.ndarray)
        or logits.ndim != 2
        or logits.dtype != np.float32
        or not np.isfinite(logits).all()
    ):
        raise EngineError(
            "the graph's logits are no finite numbers [batch, labels]: the file is damaged; pull "
            "it again"
        )
    return logits


def _first_line(error: Exception) -> str:
    """What an error says in one line, without what would steer a terminal."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return "".join(character for character in line if character.isprintable())[:300]
