"""One task through edgeslm and its peers, taking turns: times, validity, and agreement."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from statistics import median
from typing import Any, Protocol

from benchmarks.peers.environments import PeerError
from benchmarks.peers.llama import Llama, compiled
from benchmarks.peers.questions import Question, Task
from benchmarks.peers.remote import Remote
from benchmarks.report.results.decode import Comparison, PeerResult
from benchmarks.report.results.extraction import OWN, TUNED
from edgeslm.engines.engine import Batch
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import EngineError
from edgeslm.evaluation.intervals import median_of

#: put before each timed call, so that all hold the fixed prompt and no more
OTHER_TEXT = "Corner Kiosk, 3 May 2024, one newspaper, total 2.40"

Tick = Callable[[], None]
Leaves = dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call gave and cost; see decode_results.PeerResult."""

    text: str
    ms: float
    decodes: int | None
    same_prompt: bool


class Peer(Protocol):
    """edgeslm or a peer, ready to answer. PeerError from either call takes it out of the task."""

    name: str
    about: str

    def prepare(self, question: Question) -> None:
        """Make the form of a question the one that is answered in; its time is not counted."""

    def answer(self, question: Question, text: str, max_tokens: int) -> Reply: ...


class Own:
    """edgeslm with its defaults, but for grounding, which no peer has."""

    name = OWN

    def __init__(self, about: str) -> None:
        self.about = about

    def prepare(self, question: Question) -> None:
        pass

    def answer(self, question: Question, text: str, max_tokens: int) -> Reply:
        answer = question.own(text, max_tokens)
        timing = answer.timing
        same = timing.prompt_tokens == len(question.tokens(text))
        return Reply(answer.text, timing.total_ms, timing.decodes, same)


class InProcess:
    """llama-cpp-python's ``Llama`` with ``LlamaGrammar``, settings as edgeslm's."""

    name = TUNED

    def __init__(self, llama: Llama, about: str) -> None:
        self.about = about
        self._llama = llama
        self._prepared: Question | None = None
        self._grammar: Any = None

    def prepare(self, question: Question) -> None:
        if self._prepared is not question:
            self._grammar = compiled(question.grammar)
            self._prepared = question

    def answer(self, question: Question, text: str, max_tokens: int) -> Reply:
        done = self._llama.answer(question.tokens(text), self._grammar, max_tokens)
        return Reply(done.text, done.ms, done.decodes, same_prompt=True)


class Apart:
    """A peer in a process of its own."""

    def __init__(self, remote: Remote) -> None:
        self.name, self.about = remote.name, remote.about
        self._remote = remote
        self._prepared: Question | None = None

    def prepare(self, question: Question) -> None:
        if self._prepared is not question:
            self._prepared = None
            self._remote.prepare(question.wanted)
            self._prepared = question

    def answer(self, question: Question, text: str, max_tokens: int) -> Reply:
        return Reply(
            **self._remote.answer(question.tokens(text), question.rendered(text), max_tokens)
        )


@dataclass
class Given:
    """The replies of one peer so far, and the longest time it took to take a schema in."""

    replies: list[Reply] = field(default_factory=list)
    prepare_ms: float = 0.0


def compare(
    task: Task, peers: Sequence[Peer], missing: dict[str, str], bare: Bare | None, tick: Tick
) -> Comparison:
    """All on all texts; ``peers[0]`` is edgeslm. ``missing`` peers never started, and why.

    Raises:
        EngineError: edgeslm's prompt is not the one that peers are given.
    """
    given, failed, prefill_ms = take_turns(task.pairs, peers, bare, tick)
    own = given[OWN].replies
    abouts = {peer.name: peer.about for peer in peers}
    return Comparison(
        task=task.name,
        inputs=task.inputs,
        n=len(task.pairs),
        peers=[_result(name, abouts[name], got, own, task) for name, got in given.items()],
        unavailable=missing | failed,
        prefill=median_of([r.ms / b for r, b in zip(own, prefill_ms, strict=True)])
        if prefill_ms
        else None,
        prefill_ms=median(prefill_ms) if prefill_ms else None,
    )


def take_turns(
    pairs: Sequence[tuple[Question, str]], peers: Sequence[Peer], bare: Bare | None, tick: Tick
) -> tuple[dict[str, Given], dict[str, str], list[float]]:
    """Replies by peer, why others are out, and the times of bare prefill in milliseconds.

    The order of the peers turns around from one text to the next; ``peers[0]`` is edgeslm.

    Raises:
        EngineError: edgeslm's prompt is not the one that peers are given.
    """
    given = {peer.name: Given() for peer in peers}
    failed: dict[str, str] = {}
    prefill_ms: list[float] = []
    for i, (question, text) in enumerate(pairs):
        if bare is not None:
            prefill_ms.append(bare.evaluate(question, text))
        for peer in peers[:: 1 if i % 2 == 0 else -1]:
            if peer.name in given:
                try:
                    _turn(peer, given[peer.name], question, text)
                except PeerError as error:
                    failed[peer.name] = str(error)
                    del given[peer.name]
            tick()
    if not all(reply.same_prompt for reply in given[OWN].replies):
        raise EngineError("the peers' prompt must be edgeslm's, or the comparison is unfair")
    return given, failed, prefill_ms


def _turn(peer: Peer, given: Given, question: Question, text: str) -> None:
    start = time.perf_counter()
    peer.prepare(question)
    given.prepare_ms = max(given.prepare_ms, (time.perf_counter() - start) * 1000)
    peer.answer(question, OTHER_TEXT, 1)
    given.replies.append(peer.answer(question, text, question.max_tokens))


def _result(name: str, about: str, given: Given, own: Sequence[Reply], task: Task) -> PeerResult:
    replies = given.replies
    pairs = list(zip(replies, own, strict=True))
    tokens = [
        question.count(reply.text) for (question, _), reply in zip(task.pairs, replies, strict=True)
    ]
    return PeerResult(
        name=name,
        about=about,
        ms=median(reply.ms for reply in replies),
        ratio=None if name == OWN else median_of([theirs.ms / ours.ms for theirs, ours in pairs]),
        output_tokens=median(tokens),
        ms_per_token=median(r.ms / max(n, 1) for r, n in zip(replies, tokens, strict=True)),
        decodes=median_if_told([reply.decodes for reply in replies]),
        valid=sum(
            question.valid(reply.text)
            for (question, _), reply in zip(task.pairs, replies, strict=True)
        ),
        agreement=agreement([(theirs.text, ours.text) for theirs, ours in pairs]),
        same_prompt=sum(reply.same_prompt for reply in replies),
        prepare_ms=given.prepare_ms,
    )


def median_if_told(values: Sequence[int | None]) -> float | None:
    """The median; None where a value is not known."""
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None


# --- agreement --------------------------------------------------------------------


def agreement(pairs: Sequence[tuple[str, str]]) -> float:
    """The share of leaves, of all answers together, that are there and equal in both.

    An answer that is no JSON has no leaves. Numbers are compared as numbers, also in strings.
    """
    same = total = 0
    for one, other in pairs:
        left, right = _leaves(one), _leaves(other)
        total += len(left.keys() | right.keys())
        same += sum(right.get(path) == value for path, value in left.items())
    return same / total if total else 1.0


def _leaves(text: str) -> Leaves:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    leaves: Leaves = {}
    _collect(value, "$", leaves)
    return leaves


def _collect(value: Any, path: str, leaves: Leaves) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _collect(part, f"{path}.{key}", leaves)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            _collect(part, f"{path}[{i}]", leaves)
    else:
        leaves[path] = _spelled(value)


def _spelled(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return repr(value)
    try:
        return f"{Decimal(str(value)).normalize():f}"
    except InvalidOperation:
        return " ".join(str(value).split())


# --- the lower bound --------------------------------------------------------------


class Bare:
    """Evaluates prompts and nothing else, in a context of its own: no request can be faster."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self._held: Question | None = None

    def evaluate(self, question: Question, text: str) -> float:
        """Milliseconds for the tokens behind the fixed prompt, which is there already."""
        tokens, start = question.tokens(text), len(question.prefix)
        if self._engine.context_size < len(tokens):
            self._engine.resize(len(tokens))
            self._held = None
        if self._held is not question:
            self._engine.truncate(0, 0)
            self._run(tokens[:start], 0)
            self._held = question
        self._engine.truncate(0, start)
        begun = time.perf_counter()
        self._run(tokens[start:], start)
        return (time.perf_counter() - begun) * 1000

    def _run(self, tokens: Sequence[int], start: int) -> None:
        size = self._engine.batch_size
        for i in range(0, len(tokens), size):
            last = i + size >= len(tokens)
            self._engine.evaluate(Batch.run(tokens[i : i + size], start + i, 0, int(last)))
