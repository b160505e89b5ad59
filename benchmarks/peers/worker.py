"""The process of a peer: lines of JSON in, lines of JSON out. Runs in the peer's environment.

python -m benchmarks.peers.worker MODULE KIND MODEL THREADS CONTEXT
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, Protocol, TextIO


class Peer(Protocol):
    """What a peer does here. ``about`` says which versions and build it is."""

    about: str

    def prepare(self, wanted: dict[str, Any]) -> None:
        """Take what the answers to come must be: a ``schema``, or one of ``labels``.

        ``grammar`` is either as GBNF, without spaces; ``prefix`` the tokens that all prompts
        begin with.
        """

    def answer(self, tokens: list[int], text: str, max_tokens: int) -> dict[str, Any]:
        """Answer a prompt greedily: text, ms, decodes, same_prompt.

        The prompt is given as tokens and as text; a peer that takes no tokens takes the text.
        """


def open_peer(module: str, kind: str, model: str, threads: int, context: int) -> Peer:
    """Load a peer's library and the model."""
    if module == "server":
        from benchmarks.peers.server import Server

        return Server(model, kind, threads, context)
    if module == "transformers":
        from benchmarks.peers.torch_cpu import Transformers

        return Transformers(model, kind, threads)
    from benchmarks.peers import local_llama

    if module == "llama":
        return local_llama.Llama(model, threads, context)
    if module == "outlines":
        return local_llama.Outlines(model, kind, threads, context)
    return local_llama.Guidance(model, threads, context)


def serve(peer: Peer, lines: Iterable[str], out: TextIO) -> None:
    """Answer each line until there are no more; what fails is the reply to its line."""
    for line in lines:
        request = json.loads(line)
        try:
            if "prepare" in request:
                peer.prepare(request["prepare"])
                _send(out, {})
            else:
                _send(out, peer.answer(request["tokens"], request["text"], request["max_tokens"]))
        except Exception as error:  # noqa: BLE001  whatever a foreign library raises is its reply
            _send(out, {"error": _words(error)})


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}"


def _send(out: TextIO, reply: dict[str, Any]) -> None:
    out.write(json.dumps(reply) + "\n")
    out.flush()


def main() -> None:
    """Open the peer, say what it is, and serve."""
    # what the libraries print goes to stderr, so that stdout holds replies alone
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, kind, model, threads, context = sys.argv[1:]
    try:
        peer = open_peer(module, kind, model, int(threads), int(context))
    except Exception as error:  # noqa: BLE001  as in serve
        _send(out, {"error": _words(error)})
        return
    _send(out, {"about": peer.about})
    serve(peer, sys.stdin, out)


if __name__ == "__main__":
    main()
