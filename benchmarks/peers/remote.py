"""A peer's process from outside: asked for answers, given time for each, and ended."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.data.receipts import ROOT
from benchmarks.peers.environments import PeerError

#: loading a library and a model, or compiling a schema; outlines takes minutes for an invoice's
PREPARE_SECONDS = 600.0
ANSWER_SECONDS = 600.0


class Remote:
    """One running peer.

    Args:
        command: the interpreter of its environment and what follows it.
        log: takes what the peer's libraries print.

    Raises:
        PeerError: it does not start, or cannot load the model.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
        )
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.about = str(self._reply(PREPARE_SECONDS)["about"])
        except BaseException:
            self.close()
            raise

    def prepare(self, wanted: dict[str, Any]) -> None:
        """What worker.PeerResult.prepare takes.

        PeerError if the peer refuses it or takes longer than PREPARE_SECONDS.
        """
        self._ask({"prepare": wanted}, PREPARE_SECONDS)

    def answer(self, tokens: Sequence[int], text: str, max_tokens: int) -> dict[str, Any]:
        """What worker.PeerResult.answer gives. PeerError if it fails or takes too long."""
        request = {"tokens": list(tokens), "text": text, "max_tokens": max_tokens}
        return self._ask(request, ANSWER_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with suppress(OSError):  # what was written to a peer that is gone
                    pipe.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PeerError(f"{self.name} is gone: {error}; see {self._log.name}") from error
        return self._reply(seconds)

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._replies.put(line)
        except ValueError:  # closed meanwhile
            return
        self._replies.put("")

    def _reply(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            self._process.kill()
            raise PeerError(f"{self.name} took longer than {seconds:.0f} seconds") from None
        if not line:
            raise PeerError(f"{self.name} ended without a reply; see {self._log.name}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self.name}: {reply['error']}")
        return reply
