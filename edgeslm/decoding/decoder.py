"""The constrained loop: sample, then check; forced tokens in a batch; a budget that closes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeslm.decoding.drafts.drafter import CopyDrafter
from edgeslm.decoding.drafts.length import BatchCost, DraftLength
from edgeslm.decoding.grammar import Matcher
from edgeslm.engines.engine import Batch, Engine, Logits, Steps, drive
from edgeslm.errors import DeadlineError

#: logits after a position, and the tokens the grammar allows there -> the token to take
Sampler = Callable[[Logits], int]


@dataclass(frozen=True, slots=True)
class Choice:
    """A token where the grammar left a choice: its bytes' place and its probability.

    ``probability`` is renormalised over the allowed tokens, ``allowed`` is their share of
    the whole vocabulary's. ``index`` is the token's place in the answer, ``options`` how
    many tokens could have stood there.
    """

    start: int
    end: int
    probability: float
    index: int = 0
    options: int = 2
    allowed: float = 1.0


@dataclass(slots=True)
class Decoded:
    """Tokens of an answer. ``stopped`` is False if the budget ended before the grammar did."""

    tokens: list[int] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    stopped: bool = False
    decodes: int = 0
    ms: float = 0.0


def seeded_sampler(temperature: float, seed: int) -> Sampler:
    """Sample from softmax(logits / temperature), repeatably."""
    generator = np.random.default_rng(seed)

    def sample(allowed: Logits) -> int:
        scaled = (allowed.astype(np.float64) - float(allowed.max())) / temperature
        weights = np.exp(scaled)
        cumulative = np.cumsum(weights)
        return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))

    return sample


class Decoder:
    """Decodes one answer into a sequence.

    At every position the forced tokens come first, then the token with the highest
    logit among those the grammar allows (or the sampler's). The argmax over the whole
    vocabulary is tried first, since the model usually keeps to the grammar by itself;
    the mask is computed only when the grammar refuses it, or for ``measure``.
    ``company`` says how many other answers are decoded in the same batches; None is
    for one that is decoded alone, whose batches are timed.
    """

    def __init__(
        self,
        engine: Engine,
        matcher: Matcher,
        *,
        sequence: int,
        position: int,
        max_tokens: int,
        sampler: Sampler | None = None,
        measure: bool = True,
        drafter: CopyDrafter | None = None,
        cost: BatchCost | None = None,
        company: Callable[[], int] | None = None,
    ) -> None:
        self._engine = engine
        self._matcher = matcher
        self._sequence = sequence
        self._begin = self._position = position
        self._max_tokens = max_tokens
        self._sampler = sampler
        self._measure = measure
        self._drafter = drafter
        self._draft_length = DraftLength(cost or BatchCost(measured=False))
        self._company = company
        self._kind = ""
        self._end = frozenset(engine.vocab.end)
        self.out = Decoded()
        self._length = 0
        self._first_row: Logits | None = None
        self._scratch = np.empty(engine.vocab.size if measure else 0, np.float32)
        #: tokens that were tried at a place of the answer and led to an invalid value
        self._refused: dict[int, set[int]] = {}

    def run(self, row: Logits) -> Decoded:
        """Decode from the logits after the prompt's last token.

        A deadline that passes ends the answer unstopped, like the token budget.

        Raises:
            CancelledError, EngineError.
        """
        drive(self._engine, self.steps(row))
        return self.out

    def steps(self, row: Logits) -> Steps[None]:
        """``run`` step by step, so that many answers can share an evaluation; ``out`` has it."""
        start = time.perf_counter()
        if self._first_row is None:
            self._first_row = row.copy()
        with contextlib.suppress(DeadlineError):
            yield from self._decode(row)
        self.out.ms += (time.perf_counter() - start) * 1000

    def back_off(self, choice: Choice) -> Steps[Logits]:
        """Go back to a choice and refuse what was taken there; ``run`` goes on from the logits.

        Only after ``run`` has returned, with one of its choices.
        """
        index = choice.index
        self._refused = {i: kept for i, kept in self._refused.items() if i <= index}
        self._refused.setdefault(index, set()).add(self.out.tokens[index])
        self._take_back(index, choice.start)
        if index == 0:
            return self._restart()
        last = self._begin + index - 1
        self._engine.truncate(self._sequence, last)
        rows = yield Batch.run([self.out.tokens[-1]], last, self._sequence)
        self._position = last + 1
        self.out.decodes += 1
        row: Logits = rows[-1]
        return row

    def resume(
        self, choice: Choice, tokens: Sequence[int], *, held: int, before: int
    ) -> Steps[None]:
        """Go back to a choice, take these tokens as this one choice there, and decode on, unless
        the end of an answer is one of them.

        Args:
            choice: where it is, and what it is to be; its bytes may end before the tokens do.
            held: tokens of the answer that the sequence still has, at most those before the
                choice; -1 where it lacks the prompt's last one, ``before``, too.
        """
        self._take_back(choice.index, choice.start)
        self._append([token for token in tokens if token not in self._end])
        self.out.choices.append(choice)
        self._engine.truncate(self._sequence, self._begin + held)
        self._position = self._begin + held
        if not self._end.isdisjoint(tokens):
            self.out.stopped = True
            return
        rows = yield from self._evaluate([before, *self.out.tokens][held + 1 :], [])
        yield from self.steps(rows[-1])

    @property
    def measures(self) -> bool:
        """Whether choices are kept, which going back to one needs."""
        return self._measure

    def start_over(self) -> Logits:
        """Go back to the beginning, to measure choices that were not measured."""
        self._measure = True
        self._scratch = np.empty(self._engine.vocab.size, np.float32)
        self._take_back(0, 0)
        return self._restart()

    def _take_back(self, index: int, length: int) -> None:
        """Take back all tokens from ``index`` on, before which the answer has ``length`` bytes."""
        out = self.out
        self._matcher.rollback(len(out.tokens) - index)
        del out.tokens[index:]
        out.choices = [other for other in out.choices if other.index < index]
        out.stopped = False
        self._length = length

    def _restart(self) -> Logits:
        assert self._first_row is not None
        self._engine.truncate(self._sequence, self._begin)
        self._position = self._begin
        return self._first_row

    def _decode(self, row: Logits) -> Steps[None]:
        pending = self._take_forced()
        rows, draft = row[None, :], []
        while not self._matcher.is_stopped:
            if len(self.out.tokens) >= self._max_tokens:
                return
            if pending:
                draft = self._draft(len(pending))
                rows = yield from self._evaluate(pending, draft)
            accepted, pending, ended = self._follow(rows, draft)
            self._settle(draft, accepted)
            if ended:
                break
        self.out.stopped = True

    def _follow(self, rows: Logits, draft: list[int]) -> tuple[int, list[int], bool]:
        """Take tokens as long as their past is evaluated: the draft is, as far as it is right.

        Returns:
            how many drafted tokens were right, the tokens behind them that are not
            evaluated yet, and whether the answer has ended.
        """
        accepted = 0
        while True:
            token = self._choose(rows[accepted])
            if token in self._end:
                return accepted, [], True
            self._append([token])
            step = [token, *self._take_forced()]
            same = _common(step, draft[accepted:])
            accepted += same
            budget = len(self.out.tokens) < self._max_tokens
            if same < len(step) or self._matcher.is_stopped or not budget:
                return accepted, step[same:], False

    def _settle(self, draft: list[int], accepted: int) -> None:
        """Drop from the sequence what was drafted wrongly."""
        if not draft:
            return
        self._position += accepted
        if accepted < len(draft):
            self._engine.truncate(self._sequence, self._position)
        self._draft_length.judge(self._kind, len(draft), accepted)
        draft.clear()

    def _draft(self, pending: int) -> list[int]:
        if self._drafter is None:
            return []
        company = self._company() if self._company is not None else 0
        room = min(
            self._max_tokens - len(self.out.tokens),
            self._engine.max_outputs // (1 + company) - pending,
        )
        self._draft_length.begin(pending, company=company, room=room)
        draft = self._drafter.propose(self.out.tokens, self._matcher, self._draft_length)
        self._kind = draft.kind
        return draft.tokens

    def _take_forced(self) -> list[int]:
        forced = self._matcher.forced()
        forced = forced[: self._max_tokens - len(self.out.tokens)]
        self._append(forced)
        return forced

    def _append(self, tokens: list[int]) -> None:
        if tokens:
            self._matcher.consume(tokens)
            self.out.tokens += tokens
            pieces = self._engine.vocab.pieces
            self._length += sum(len(pieces[token]) for token in tokens)

    def _evaluate(self, tokens: list[int], draft: list[int]) -> Steps[Logits]:
        """Evaluate tokens and a draft: the logits after the last token and each drafted one."""
        size = self._engine.batch_size
        while len(tokens) > size:
            yield Batch.run(tokens[:size], self._position, self._sequence, wanted=0)
            tokens = tokens[size:]
            self._position += size
            self.out.decodes += 1
        start = time.perf_counter()
        both = tokens + draft
        rows = yield Batch.run(both, self._position, self._sequence, wanted=1 + len(draft))
        if self._company is None:
            self._draft_length.cost.record(len(both), (time.perf_counter() - start) * 1000)
        self._position += len(tokens)
        self.out.decodes += 1
        return rows

    def _choose(self, row: Logits) -> int:
        index = len(self.out.tokens)
        refused = self._refused.get(index)
        if not self._measure and self._sampler is None and not refused:
            token = int(row.argmax())
            if self._matcher.accepts(token):
                return token
        allowed = np.flatnonzero(self._matcher.mask())
        options = len(allowed)
        if refused:
            allowed = allowed[~np.isin(allowed, list(refused))]
        logits = row[allowed]
        best = int(logits.argmax()) if self._sampler is None else self._sampler(logits)
        token = int(allowed[best])
        if self._measure and options > 1:
            share = float(np.exp(logits - logits[best]).sum(dtype=np.float64))
            top = row.max()
            inside = share * math.exp(float(logits[best]) - float(top))
            mass = min(1.0, inside / self._mass(row, top))
            end = self._length + len(self._engine.vocab.pieces[token])
            self.out.choices.append(Choice(self._length, end, 1.0 / share, index, options, mass))
        return token

    def _mass(self, row: Logits, top: np.float32) -> float:
        """The sum of exp(row - top), in one pass over memory that is allocated once."""
        np.subtract(row, top, out=self._scratch)
        np.exp(self._scratch, out=self._scratch)
        return float(self._scratch.sum())

    def open_choices(self) -> list[Choice]:
        """Choices where something is left to take, the least sure one first."""
        unsettled = [
            choice
            for choice in self.out.choices
            if choice.index < len(self.out.tokens)
            and choice.options > 1 + len(self._refused.get(choice.index, ()))
        ]
        return sorted(unsettled, key=lambda choice: choice.probability)


def _common(a: list[int], b: list[int]) -> int:
    """Length of the common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
