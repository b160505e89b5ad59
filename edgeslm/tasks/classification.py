"""Classification by a language model: the probability of each label behind a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edgeslm.decoding.batching import answer_all
from edgeslm.decoding.label_scores import score_labels, tokenize_labels
from edgeslm.decoding.label_search import LabelTrie, search_labels
from edgeslm.decoding.prompt import Prompt, compile_prompt, text_tokens
from edgeslm.decoding.session import Session
from edgeslm.engines.engine import Engine, Steps
from edgeslm.errors import DeadlineError, EdgeslmError, LabelError
from edgeslm.formats.card import LabelSpec, PromptSpec
from edgeslm.formats.text import bounded, check_text
from edgeslm.results import Classification, Timing
from edgeslm.tasks.classifier import CallOptions, Classifier
from edgeslm.tasks.decision import Rule

#: the likeliest label, with the model's own probabilities
_LIKELIEST = Rule()


class LanguageClassifier(Classifier):
    """Scores labels as what a language model would write behind a prompt.

    ``rule`` is the card's: its temperature, and when to say that a text is out of scope.
    """

    def __init__(
        self,
        session: Session,
        labels: Sequence[LabelSpec],
        prompt: PromptSpec,
        *,
        rule: Rule = _LIKELIEST,
    ) -> None:
        self.labels = tuple(label.name for label in labels)
        self._session = session
        with session.request(None):
            compiled = compile_prompt(prompt, session.engine)
            tokens = tokenize_labels([label.text for label in labels], session.engine)
        self._task = _Task(session, self.labels, LabelTrie(tokens), compiled, rule)

    def _classify(self, text: str, options: CallOptions) -> Classification:
        def make() -> ClassificationJob:
            return ClassificationJob(self._task, text, options)

        return self._session.answer(make, options.deadline_ms, options.cancel)

    def _classify_many(
        self, texts: Iterable[str], width: int, options: CallOptions
    ) -> Generator[Classification | EdgeslmError, None, None]:
        return answer_all(
            self._session,
            texts,
            lambda text: ClassificationJob(self._task, text, options),
            width=width,
            deadline_ms=options.deadline_ms,
            cancel=options.cancel,
        )


@dataclass(frozen=True, slots=True)
class _Task:
    """What all texts of a classifier share."""

    session: Session
    labels: tuple[str, ...]
    trie: LabelTrie
    prompt: Prompt
    rule: Rule


class ClassificationJob:
    """One text to classify."""

    def __init__(self, task: _Task, text: str, options: CallOptions) -> None:
        self._start = time.perf_counter()
        self._task = task
        self._options = options
        room = task.session.engine.max_context
        self._text = bounded(check_text(text), room, options.truncate).text
        self.prompt = task.prompt
        read_only = task.trie.longest == 1  # labels of one token are read behind the prompt
        self.reserve = 0 if read_only else sum(map(len, task.trie.labels))
        #: its own, and a fork for each label as far as there are
        forks = 0 if read_only else min(len(task.labels), task.session.leases.size - 1)
        self.sequences = 1 + forks

    @cached_property
    def tokens(self) -> list[int]:
        session = self._task.session
        engine = session.engine
        truncate = self._options.truncate
        tokens, _ = text_tokens(
            self._text,
            engine,
            self.prompt,
            room=engine.max_context,
            reserve=self.reserve,
            truncate=truncate,
            check=session.check,
        )
        return tokens

    def steps(self, sequences: Sequence[int], company: Callable[[], int] | None) -> Steps[None]:
        session = self._task.session
        sequence, *forks = sequences
        self._prefilled = yield from session.fill_steps(self.prompt, self.tokens, sequence)
        start = time.perf_counter()
        self._scores, self._decodes = yield from self._score(session.engine, sequence, forks)
        self._decode_ms = (time.perf_counter() - start) * 1000

    def _score(
        self, engine: Engine, sequence: int, forks: Sequence[int]
    ) -> Steps[tuple[NDArray[np.float64], int]]:
        trie, length, row = self._task.trie, self._prefilled.length, self._prefilled.row
        if self._options.all_labels:
            return score_labels(
                engine, trie.labels, sequence=sequence, length=length, row=row, forks=forks
            )
        return search_labels(
            engine,
            trie,
            sequence=sequence,
            length=length,
            row=row,
            forks=forks,
            temperature=self._task.rule.temperature,
        )

    def finish(self, late: DeadlineError | None = None) -> Classification:
        if late is not None:
            raise late
        decision = self._task.rule(self._scores)
        best, shares = decision.label, decision.probabilities
        timing = Timing(
            prefill_ms=self._prefilled.ms,
            decode_ms=self._decode_ms,
            total_ms=(time.perf_counter() - self._start) * 1000,
            prompt_tokens=self._prefilled.length,
            cached_tokens=self._prefilled.cached,
            output_tokens=len(self._task.trie.labels[best]),
            decodes=self._decodes,
        )
        return Classification(
            label=self._task.labels[best],
            confidence=decision.confidence,
            probabilities=dict(zip(self._task.labels, shares.tolist(), strict=True)),
            timing=timing,
        )


def default_prompt(labels: Sequence[LabelSpec]) -> PromptSpec:
    """A prompt for a model that was not trained for the task: names labels and meanings.

    The labels come before the text, so that all but the text is evaluated once.

    Raises:
        LabelError: labels and descriptions are together too long for a prompt.
    """
    lines = [
        f"- {label.text}: {label.description}" if label.description else f"- {label.text}"
        for label in labels
    ]
    listed = "\n".join(lines)
    try:
        return PromptSpec(
            system=f"Classify the user's text as one of these labels:\n{listed}\n"
            "Answer with the label alone.",
            user="{{ text }}",
        )
    except ValidationError as error:
        raise LabelError(
            f"{len(labels)} labels and their descriptions have {len(listed):,} characters, too "
            "many for a prompt; give shorter ones, or a prompt that does not list them"
        ) from error
