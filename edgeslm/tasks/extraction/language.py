"""LanguageExtractor: a language model writes a value, with confidence and evidence for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar

from edgeslm.decoding.batching import answer_all
from edgeslm.decoding.closing import close_validly
from edgeslm.decoding.decoder import Decoded, Decoder, seeded_sampler
from edgeslm.decoding.grammar import Grammar, Matcher, lark_matcher
from edgeslm.decoding.prompt import Prompt, compile_prompt, text_tokens
from edgeslm.decoding.session import Prefilled, Session
from edgeslm.engines.engine import Steps
from edgeslm.engines.requests import CancelToken
from edgeslm.errors import (
    DeadlineError,
    EdgeslmError,
    OutputInvalidError,
    OutputTruncatedError,
)
from edgeslm.formats.card import FieldCalibration, Style
from edgeslm.formats.text import Kept, bounded, check_text
from edgeslm.results import Extraction, Field, Timing
from edgeslm.schema.schema import Schema
from edgeslm.tasks.extraction.evidence import UNREAD, calibrated, fields
from edgeslm.tasks.extraction.extractor import Extractor
from edgeslm.tasks.extraction.grounding import Names, ground, ground_copied, grounded_fields
from edgeslm.tasks.extraction.listed_values import ListedValues, Weighed, Work, decide, with_weights
from edgeslm.tasks.extraction.nothing_read import lacks_offsets, nothing_stands, without_inventions
from edgeslm.tasks.extraction.options import ExtractOptions
from edgeslm.tasks.extraction.plan import ExtractionPlan

T = TypeVar("T")

#: how often an answer that breaks a rule outside the grammar is taken back in part
MAX_RETRIES = 8


class LanguageExtractor(Extractor[T]):
    """Lets a language model write the value under a grammar.

    The prompt's fixed part is evaluated at the first call and reused by later ones.
    """

    def __init__(self, session: Session, plan: ExtractionPlan[T]) -> None:
        self.schema = plan.schema
        self._plan = plan
        self._session = session
        with session.request(None):
            compiled = compile_prompt(plan.prompt, session.engine)
            grammar = Grammar(plan.schema, session.grammar_tokenizer, plan.style)
        listed = ListedValues(plan.schema.closed)
        self._task = _Task(session, plan.schema, compiled, grammar, plan.style, listed, plan.reads)

    def _extract(
        self,
        text: str,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Extraction[T]:
        job_of = self._jobs(options)
        return self._session.answer(lambda: job_of(text), deadline_ms, cancel)

    def _extract_many(
        self,
        texts: Iterable[str],
        width: int,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Generator[Extraction[T] | EdgeslmError, None, None]:
        job_of = self._jobs(options)
        return answer_all(
            self._session, texts, job_of, width=width, deadline_ms=deadline_ms, cancel=cancel
        )

    def _jobs(self, options: ExtractOptions) -> Callable[[str], ExtractionJob[T]]:
        """What makes the job of each text of a call."""
        names = self._plan.grounded
        if options.grounded is not None:
            names = grounded_fields(self.schema, options.grounded)
        # a calibration is of answers that were decoded as those that it was fitted on
        fitted = options.temperature == 0 and names == self._plan.grounded
        calibration = self._plan.calibration if fitted else {}
        budget = options.max_tokens or self._plan.max_tokens
        call = _Call(options, budget, names, calibration)
        return lambda text: ExtractionJob(self._task, text, call)


@dataclass(frozen=True, slots=True)
class _Task(Generic[T]):
    """What all texts of an extractor share."""

    session: Session
    schema: Schema[T]
    prompt: Prompt
    grammar: Grammar
    style: Style
    listed: ListedValues
    reads: bool


@dataclass(frozen=True, slots=True)
class _Call:
    """The options of a call, and what the extractor makes of them.

    ``budget`` is in tokens; ``grounded`` are names of fields, None for all, or "auto".
    """

    options: ExtractOptions
    budget: int
    grounded: Names
    calibration: Mapping[str, FieldCalibration]


class ExtractionJob(Generic[T]):
    """One text to extract from."""

    def __init__(self, task: _Task[T], text: str, call: _Call) -> None:
        self._start = time.perf_counter()
        self._task = task
        self._session = task.session
        room = task.session.engine.max_context
        self._kept = bounded(check_text(text), room, call.options.truncate)
        #: what the model reads of it, once ``tokens`` are known
        self._text = self._kept.text
        self._call, options = call, call.options
        self._prefilled, self._decoded = Prefilled.nothing(), Decoded()
        self.prompt = task.prompt
        self.reserve = call.budget
        decides = options.evidence or options.temperature == 0
        #: its own, and forks for the values of a list
        self.sequences = 1 + (task.listed.forks if decides else 0)
        self._weighed: dict[str, Weighed] = {}

    @cached_property
    def tokens(self) -> list[int]:
        engine = self._session.engine
        fitted, is_cut = text_tokens(
            self._text,
            engine,
            self.prompt,
            room=engine.max_context,
            reserve=self.reserve,
            truncate=self._call.options.truncate,
            check=self._session.check,
        )
        if is_cut:
            half = len(fitted) // 2
            ends = fitted[: len(fitted) - half], fitted[len(fitted) - half :]
            self._text = " ".join(engine.detokenize(e).decode("utf-8", "ignore") for e in ends)
        return fitted

    @cached_property
    def _matcher(self) -> Matcher:
        task, names = self._task, self._call.grounded
        if names is not None and not names:
            return task.grammar.matcher()
        if names == "auto":
            copied = ground_copied(task.schema, self._text, task.style, self._session.check)
            if copied is None:
                return task.grammar.matcher()
            return lark_matcher(copied, self._session.grammar_tokenizer)
        grammar = ground(task.schema, self._text, task.style, names, self._session.check)
        return lark_matcher(grammar, self._session.grammar_tokenizer)

    def steps(self, sequences: Sequence[int], company: Callable[[], int] | None) -> Steps[None]:
        options, session, tokens = self._call.options, self._session, self.tokens
        matcher = self._matcher  # a text that has nothing to say is refused before inference
        self._prefilled = yield from session.fill_steps(self.prompt, tokens, sequences[0])
        sampling = options.temperature > 0
        decoder = Decoder(
            session.engine,
            matcher,
            sequence=sequences[0],
            position=self._prefilled.length,
            max_tokens=self.reserve,
            sampler=seeded_sampler(options.temperature, options.seed) if sampling else None,
            measure=options.evidence or self.sequences > 1,
            drafter=session.drafter(tokens) if options.drafts else None,
            cost=session.batch_cost,
            company=company,
        )
        self._decoded = decoder.out
        yield from decoder.steps(self._prefilled.row)
        if options.on_invalid == "retry":
            yield from self._retry(decoder)
        if sequences[1:] and self._decoded.stopped:
            with suppress(DeadlineError):
                self._weighed = yield from self._decide(decoder, sequences)

    def _decide(self, decoder: Decoder, sequences: Sequence[int]) -> Steps[dict[str, Weighed]]:
        """The probabilities of listed values, once the answer is there; greedily, the likeliest
        ones are taken."""
        work = Work(
            sequence=sequences[0],
            forks=sequences[1:],
            begin=self._prefilled.length,
            before=(*self.prompt.prefix, *self.tokens, *self.prompt.suffix)[-1],
            room=self.reserve,
        )
        greedy = self._call.options.temperature == 0
        return decide(
            decoder,
            self._session.engine,
            self._task.listed,
            self._matcher,
            work,
            is_valid=self._is_valid if greedy else None,
        )

    def _retry(self, decoder: Decoder) -> Steps[None]:
        """Go back to the least sure token until the value keeps all rules, or give up."""
        for _ in range(MAX_RETRIES):
            if not decoder.out.stopped or self._is_valid():
                return
            if not decoder.measures:
                yield from decoder.steps(decoder.start_over())
                continue
            choices = decoder.open_choices()
            if not choices:
                return
            row = yield from decoder.back_off(choices[0])
            yield from decoder.steps(row)

    def _is_valid(self) -> bool:
        try:
            self._read(self._session.engine.detokenize(self._decoded.tokens).decode())
        except OutputInvalidError:
            return False
        return True

    def finish(self, late: DeadlineError | None = None) -> Extraction[T]:
        if late is not None and self._call.options.on_budget == "raise":
            raise late
        decoded, prefilled = self._decoded, self._prefilled
        value, answer, cut = self._whole()
        unread = decoded.stopped and self._task.reads
        unread = unread and nothing_stands(answer, self._task.listed, self._kept.text)
        evidence = self._call.options.evidence
        measured: dict[str, Field] = {}
        if evidence:
            exact = self._task.schema.keeps_decimals
            marks = self._call.grounded == "auto"
            choices, text = decoded.choices, self._kept.text
            measured = fields(answer, choices, cut, text, keeps_decimals=exact, marks=marks)
        if unread:
            names, listed = self._call.grounded, self._task.listed
            answer, made_up = without_inventions(answer, listed, names, self._read)
            value = self._read(answer) if made_up else value
            measured.update({path: Field(0.0, None) for path in made_up if evidence})
        measured = with_weights(measured, self._weighed if evidence else {})
        for path in self._lacking_offsets(answer) if evidence else ():
            measured[path] = replace(measured[path], reading=UNREAD)
        measured = calibrated(_placed(measured, self._kept), self._call.calibration)
        timing = Timing(
            prefill_ms=prefilled.ms,
            decode_ms=decoded.ms,
            total_ms=(time.perf_counter() - self._start) * 1000,
            prompt_tokens=prefilled.length,
            cached_tokens=prefilled.cached,
            output_tokens=len(decoded.tokens),
            decodes=decoded.decodes,
        )
        return Extraction(value, answer, decoded.stopped, measured, timing, unread)

    def _lacking_offsets(self, answer: str) -> frozenset[str]:
        return lacks_offsets(answer, self._task.listed, self._call.grounded, self._kept.text)

    def _whole(self) -> tuple[T, str, int | None]:
        """The value, the whole answer, and where a budget cut it, in bytes."""
        data = self._session.engine.detokenize(self._decoded.tokens)
        if self._decoded.stopped:
            answer = data.decode()
            return self._read(answer), answer, None
        if self._call.options.on_budget == "raise":
            raise OutputTruncatedError(
                f"the budget ended after {len(self._decoded.tokens)} tokens of the answer; allow "
                'more max_tokens or deadline_ms, or use on_budget="close"',
                prefix=data.decode("utf-8", "replace"),
            )
        vocab, tokens = self._session.engine.vocab, self._decoded.tokens
        return close_validly(self._closing_matcher, vocab, tokens, self._read)

    @property
    def _closing_matcher(self) -> Matcher:
        """What closes an answer. Where time was up before the text was searched for values to
        copy, that is not begun again: the answer is of the schema alone, and nothing was read."""
        if self._call.grounded == "auto" and "_matcher" not in self.__dict__:
            return self._task.grammar.matcher()
        return self._matcher

    def _read(self, answer: str) -> T:
        try:
            return self._task.schema.read(answer)
        except RecursionError as error:
            raise OutputInvalidError(
                "the answer is nested too deeply to be read; bound how deep the schema nests",
                json=answer,
            ) from error


def _placed(fields: dict[str, Field], kept: Kept) -> dict[str, Field]:
    """Fields whose spans are in the caller's text, of those in what was kept of it."""
    if not kept.dropped:
        return fields
    return {
        path: field if field.span is None else replace(field, span=kept.place(*field.span))
        for path, field in fields.items()
    }
