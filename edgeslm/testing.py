"""ScriptedEngine and scripted_model: test an app, or edgeslm's own logic, without weights."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeslm.engines.engine import Batch, Logits, Vocab
from edgeslm.errors import CancelledError, DeadlineError, EngineError, ModelFileError

if TYPE_CHECKING:
    from edgeslm.formats.card import Card
    from edgeslm.models.model import Model

#: the template scripted models use; the answer begins after its last line
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TURN = b"<|im_start|>assistant\n"

#: prompt text -> the answer the model would like to give
Script = Callable[[str], str]


def scripted_model(script: Script | str, *, card: Card | None = None, seed: int = 0) -> Model:
    """A Model without weights that answers what it is told, for the tests of an app.

    All else is real: the prompt, the grammar, evidence, budgets and errors. An answer that a
    schema does not allow comes out as the nearest that it does allow.

    Args:
        script: the answer as text (JSON for an extraction, a label for a classification), or a
            function from the whole prompt to it.
        card: what the model promises; None for a model without a task of its own.
        seed: another one makes another noise around the scripted answer.
    """
    from edgeslm.models.gguf import GgufModel

    return GgufModel(ScriptedEngine(script, seed=seed), card)


class ScriptedEngine:
    """An Engine over a byte vocabulary whose wishes are scripted.

    Tokens 0 to 255 are the bytes; then come ``pieces`` (multi-byte tokens, matched
    longest first) and three control tokens. Logits are a fixed function of the
    tokens of a sequence and of ``seed``: noise of unit variance, plus ``sharpness``
    on the token that continues ``script(prompt)``. So every path that evaluates the
    same tokens, in whatever batches, reads the same logits. An adapter is a file name of
    ``adapters``; with it, its own script is followed, the noise is another, and so is what
    a token leaves in its sequence.
    """

    chat_template: str | None = CHATML
    steady = True

    def __init__(
        self,
        script: Script | str | None = None,
        *,
        pieces: Sequence[bytes] = (),
        seed: int = 0,
        sharpness: float = 20.0,
        context_size: int = 4096,
        max_sequences: int = 64,
        batch_size: int = 512,
        max_outputs: int = 128,
        adapters: Mapping[str, Script | str] | None = None,
    ) -> None:
        text_pieces = [bytes([b]) for b in range(256)] + list(pieces)
        n = len(text_pieces)
        self.vocab = Vocab(
            pieces=tuple(text_pieces) + (b"",) * len(_CONTROL),
            control={n + i: name for i, name in enumerate(_CONTROL)},
            bos=None,
            end=(n + 2, n),
        )
        self._control = {name.encode(): token for token, name in self.vocab.control.items()}
        self._by_bytes = {piece: i for i, piece in enumerate(text_pieces)}
        self._longest = max(map(len, text_pieces))
        self._script = script
        self._adapters = dict(adapters or {})
        #: adapters that were added and not removed, by number: their names
        self._added: dict[int, str] = {}
        self._numbers = itertools.count()
        self._adapter: int | None = None
        self._seed = seed
        self._sharpness = sharpness
        self.context_size = context_size
        self.max_context = 16 * context_size
        self.max_outputs = max_outputs
        self.max_sequences = max_sequences
        self.batch_size = batch_size
        #: cells: a token, plus a multiple of the vocabulary's size for each adapter
        self._sequences: dict[int, list[int]] = {}
        self._deadline: float | None = None
        self._cancelled = False
        self._closed = False
        #: batches evaluated so far, for tests that count work
        self.evaluated: list[Batch] = []

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        data = text.encode()
        tokens: list[int] = []
        at = 0
        while at < len(data):
            control = (
                next((c for c in self._control if data.startswith(c, at)), None)
                if special
                else None
            )
            if control is not None:
                tokens.append(self._control[control])
                at += len(control)
                continue
            for length in range(min(self._longest, len(data) - at), 0, -1):
                token = self._by_bytes.get(data[at : at + length])
                if token is not None:
                    tokens.append(token)
                    at += length
                    break
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.vocab.pieces[token] for token in tokens)

    def evaluate(self, batch: Batch) -> Logits:
        self._check(batch)
        added: dict[int, list[int]] = {}
        mark = self._mark() * self.vocab.size
        rows = []
        for token, position, sequences, wanted in zip(
            batch.tokens, batch.positions, batch.sequences, batch.wanted, strict=True
        ):
            paths = set()
            for s in sequences:
                path = added.setdefault(s, list(self._sequences.get(s, [])))
                if len(path) != position:
                    raise EngineError(
                        f"sequence {s} has {len(path)} tokens, position {position} was given"
                    )
                path.append(token + mark)
                paths.add(tuple(path))
            if len(paths) != 1:
                raise EngineError("a token was shared by sequences with different pasts")
            if wanted:
                rows.append(self._row(paths.pop()))
        self._sequences.update(added)
        self.evaluated.append(batch)
        return np.stack(rows) if rows else np.empty((0, self.vocab.size), np.float32)

    def _check(self, batch: Batch) -> None:
        if self._closed:
            raise EngineError("the engine is closed")
        if self._cancelled:
            raise CancelledError("the request was cancelled")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise DeadlineError("the deadline passed")
        if len(batch.tokens) > self.batch_size:
            raise EngineError(f"a batch of {len(batch.tokens)} rows, {self.batch_size} at most")
        if sum(batch.wanted) > self.max_outputs:
            raise EngineError(
                f"{sum(batch.wanted)} rows of logits wanted, {self.max_outputs} at most"
            )
        if any(s >= self.max_sequences for row in batch.sequences for s in row):
            raise EngineError(f"sequences are numbered 0 to {self.max_sequences - 1}")

    def _row(self, path: tuple[int, ...]) -> Logits:
        digest = hashlib.blake2b(
            np.asarray(path, np.int32).tobytes(),
            key=self._seed.to_bytes(8, "little"),
            digest_size=8,
        )
        noise = np.random.default_rng(int.from_bytes(digest.digest(), "little"))
        row = noise.standard_normal(self.vocab.size, dtype=np.float32)
        wish = self._wish(path)
        if wish is not None:
            row[wish] += self._sharpness
        return row

    def _wish(self, path: tuple[int, ...]) -> int | None:
        name = self._name()
        wanted = self._script if name is None else self._adapters[name]
        if wanted is None:
            return None
        path = tuple(cell % self.vocab.size for cell in path)
        names = {token: name.encode() for token, name in self.vocab.control.items()}
        data = b"".join(names.get(token) or self.vocab.pieces[token] for token in path)
        prompt, turn, so_far = data.rpartition(_TURN)
        if not turn:
            return None
        script = wanted if isinstance(wanted, str) else wanted(prompt.decode("utf-8", "replace"))
        answer = script.encode()
        if answer == so_far:
            return self.vocab.end[0]
        if not answer.startswith(so_far):
            return None
        return self._first_token(answer[len(so_far) :])

    def _first_token(self, data: bytes) -> int:
        """The first token of a run of bytes, longest match first."""
        for length in range(min(self._longest, len(data)), 0, -1):
            token = self._by_bytes.get(data[:length])
            if token is not None:
                return token
        raise EngineError("no bytes to tokenize")

    def fork(self, source: int, target: int) -> None:
        self._sequences[target] = list(self._sequences.get(source, []))

    def truncate(self, sequence: int, length: int) -> None:
        self._sequences[sequence] = self._sequences.get(sequence, [])[:length]

    def save(self, sequence: int) -> bytes:
        return np.asarray(self._sequences.get(sequence, []), np.int32).tobytes()

    def restore(self, sequence: int, state: bytes) -> None:
        if len(state) % 4:
            raise EngineError("the saved state does not fit this engine")
        self._sequences[sequence] = np.frombuffer(state, np.int32).tolist()

    def resize(self, context_size: int) -> None:
        self.context_size = max(self.context_size, context_size)
        self._sequences.clear()

    def add_adapter(self, path: Path) -> int:
        if path.name not in self._adapters:
            raise ModelFileError(f"{path}: not one of this engine's adapters")
        number = next(self._numbers)
        self._added[number] = path.name
        return number

    def remove_adapter(self, adapter: int) -> None:
        if self._adapter == adapter:
            self._adapter = None
        self._added.pop(adapter, None)

    def use_adapter(self, adapter: int | None) -> None:
        if adapter is not None and adapter not in self._added:
            raise EngineError("the adapter is closed")
        self._adapter = adapter

    def _name(self) -> str | None:
        """The adapter in use."""
        return None if self._adapter is None else self._added[self._adapter]

    def _mark(self) -> int:
        """What tells the cells of the adapter in use from others: 0 for none."""
        name = self._name()
        return 0 if name is None else 1 + list(self._adapters).index(name)

    def arm(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self._closed = True
