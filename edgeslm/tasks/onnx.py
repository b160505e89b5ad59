"""Answers by onnxruntime: classifiers and taggers of encoders and of linear models."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeslm import arguments
from edgeslm.engines.onnx.inputs import Reader
from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.onnx.tokens import stack
from edgeslm.engines.requests import CancelToken
from edgeslm.errors import CancelledError, DeadlineError, EdgeslmError, EngineError
from edgeslm.formats.card_facts import LabelSet
from edgeslm.formats.text import Truncate, check_text
from edgeslm.results import Classification, Labels, Tags, Timing
from edgeslm.tasks.classifier import DEFAULT_WIDTH, CallOptions, Classifier
from edgeslm.tasks.decision import Decision, Rule, picked, sigmoid, softmax

if TYPE_CHECKING:
    from edgeslm.formats.onnx.known_inputs import KnownInputs

R = TypeVar("R")

#: so many times its width ``map`` reads ahead, so that no core waits for who takes the answers
_AHEAD: Final = 2
#: from the text of this number on ``map`` gives each run one thread; loading the graph for that
#: takes as long as it saves in some 60 texts
_MANY: Final = 64
#: so many of those runs for each thread: beside busy programs fewer would get less of the processor
_BESIDE: Final = 2


class Answerer(ABC, Generic[R]):
    """Runs texts through an ONNX session, one by one or side by side."""

    #: from the text of this number on ``map`` runs each beside others; None where texts are long
    _many_from: ClassVar[int | None] = None

    def __init__(self, session: OnnxSession) -> None:
        self._session = session

    @abstractmethod
    def _run(self, text: str, options: CallOptions) -> R:
        """The answer to one text."""

    def _run_beside(self, text: str, options: CallOptions) -> R:
        """The same, in a run of one thread beside others."""
        return self._run(text, options)

    def _many(
        self, texts: Iterable[str], width: int, options: CallOptions
    ) -> Generator[R | EdgeslmError, None, None]:
        arguments.many(texts)
        return self._map(iter(texts), arguments.count("width", width), options)

    def _map(
        self, texts: Iterator[str], width: int, options: CallOptions
    ) -> Generator[R | EdgeslmError, None, None]:
        """Texts side by side, a run for each: an int8 file scales its numbers by all that is in a
        run, and a longer neighbour pads a text, so that company would change its answer."""
        pools = [ThreadPoolExecutor(min(width, self._session.threads))]
        run, threads = self._run, self._session.threads
        waiting: deque[Future[R | EdgeslmError]] = deque()
        try:
            for number, text in enumerate(texts):
                if options.cancel is not None and options.cancel.cancelled:
                    yield from self._finished(waiting)
                    raise CancelledError("the request was cancelled")
                self._session.check_process()
                if number == self._many_from and width >= threads and self._session.splits:
                    run = self._run_beside
                    pools.append(ThreadPoolExecutor(min(width, _BESIDE * threads)))
                waiting.append(pools[-1].submit(self._in_place, run, text, options))
                if len(waiting) >= width * _AHEAD:
                    yield waiting.popleft().result()
            yield from self._finished(waiting)
        finally:
            for pool in pools:
                pool.shutdown(cancel_futures=True)

    def _finished(self, waiting: deque[Future[R | EdgeslmError]]) -> Iterator[R | EdgeslmError]:
        while waiting:
            self._session.check_process()  # in a fork nobody would ever finish them
            yield waiting.popleft().result()

    @staticmethod
    def _in_place(
        run: Callable[[str, CallOptions], R], text: str, options: CallOptions
    ) -> R | EdgeslmError:
        try:
            return run(text, options)
        except EngineError:
            raise  # it concerns all texts that follow, too
        except EdgeslmError as error:
            return error


class TextAnswerer(Answerer[R]):
    """A run gives the logits of a text; subclasses turn them into answers."""

    _many_from = _MANY

    def __init__(self, session: OnnxSession, read: Reader) -> None:
        super().__init__(session)
        self._read = read

    @abstractmethod
    def _answer(self, text: str, logits: NDArray[np.float32], timing: Timing) -> R:
        """The answer to one text, from its logits [labels]."""

    def _run_beside(self, text: str, options: CallOptions) -> R:
        return self._run(text, options, side_by_side=True)

    def _run(self, text: str, options: CallOptions, *, side_by_side: bool = False) -> R:
        job = EncoderJob(text, options.deadline_ms)
        with self._session.begin(options.cancel) as call:
            row = self._read(job.text, options.truncate)
            job.check()
            start = time.perf_counter()
            [logits] = call.run(stack([row]), side_by_side=side_by_side)
            ms = (time.perf_counter() - start) * 1000
        length = len(next(iter(row.values())))  # features of a linear model
        answer = self._answer(job.text, logits, job.timing(length, ms))
        job.check()
        return answer


class EncoderJob:
    """One text on its way, and its time."""

    def __init__(self, text: str, deadline_ms: float | None) -> None:
        self._start = time.perf_counter()
        self._budget_ms = deadline_ms
        self.text = check_text(text)
        self.check()

    def check(self) -> None:
        """Raises DeadlineError where the text's time is over."""
        if self._budget_ms is not None and self._spent_ms() > self._budget_ms:
            raise DeadlineError("the deadline passed before there was an answer")

    def timing(self, length: int, run_ms: float) -> Timing:
        """What it cost; ``length`` counts the tokens of the text."""
        return Timing(
            prefill_ms=run_ms,
            decode_ms=0.0,
            total_ms=self._spent_ms(),
            prompt_tokens=length,
            cached_tokens=0,
            output_tokens=0,
            decodes=1,
        )

    def _spent_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000


class EncoderClassifier(TextAnswerer[Classification], Classifier):
    """Puts texts into the closed label set of a card."""

    def __init__(
        self,
        session: OnnxSession,
        read: Reader,
        *,
        labels: tuple[str, ...],
        chosen: tuple[int, ...],
        rule: Rule,
        known: KnownInputs | None,
    ) -> None:
        """``chosen`` are the places of ``labels`` among the logits."""
        super().__init__(session, read)
        self.labels = labels
        self._chosen = list(chosen)
        self._rule = rule
        self._known = known

    def _classify(self, text: str, options: CallOptions) -> Classification:
        return self._run(text, options)  # one run gives all labels

    def _classify_many(
        self, texts: Iterable[str], width: int, options: CallOptions
    ) -> Generator[Classification | EdgeslmError, None, None]:
        return self._many(texts, width, options)

    def _answer(self, text: str, logits: NDArray[np.float32], timing: Timing) -> Classification:
        decision = self._remembered(text, logits) or self._rule(logits[self._chosen])
        return _classified(self.labels, decision, timing)

    def _remembered(self, text: str, logits: NDArray[np.float32]) -> Decision | None:
        """What the labels of a text in training decide: it is in scope, however odd it looks."""
        if self._known is None:
            return None
        shares = self._known.posterior(text, softmax(logits, self._rule.temperature))
        if shares is None or not (total := shares[self._chosen].sum()):
            return None
        own = shares[self._chosen] / total
        return Decision.likeliest(own)


class Tagger(TextAnswerer[Tags]):
    """Answers with several label sets from one pass. Safe to call from many threads."""

    def __init__(
        self, session: OnnxSession, read: Reader, heads: Sequence[LabelSet], temperature: float
    ) -> None:
        super().__init__(session, read)
        self.heads = {head.name: head.labels for head in heads}
        self._heads = tuple(heads)
        self._temperature = temperature

    def __call__(
        self,
        text: str,
        *,
        deadline_ms: float | None = None,
        truncate: Truncate = None,
        cancel: CancelToken | None = None,
    ) -> Tags:
        """Answer one text.

        Args:
            deadline_ms: budget of the call, in milliseconds; looked at before and after the
                model's run, which takes some milliseconds and is not cut short.
            truncate: ``"middle"`` drops the middle of a text that does not fit.
            cancel: a token that stops this call.

        Raises:
            ArgumentError: an argument has no meaning.
            InputError: empty or not text. InputTooLongError: more tokens than the model reads.
            DeadlineError: the deadline passed. CancelledError: ``cancel`` or ``model`` was
            cancelled.
            EngineError: the model is closed.
        """
        return self._run(text, CallOptions(deadline_ms, truncate, cancel=cancel))

    def map(
        self,
        texts: Iterable[str],
        *,
        width: int = DEFAULT_WIDTH,
        deadline_ms: float | None = None,
        truncate: Truncate = None,
        cancel: CancelToken | None = None,
    ) -> Generator[Tags | EdgeslmError, None, None]:
        """Answer many texts in order, several side by side; as ``Classifier.map``."""
        return self._many(texts, width, CallOptions(deadline_ms, truncate, cancel=cancel))

    def _answer(self, text: str, logits: NDArray[np.float32], timing: Timing) -> Tags:
        by_head: dict[str, Classification | Labels] = {}
        start = 0
        for head in self._heads:
            labels = head.labels
            own = logits[start : start + len(labels)]
            start += len(labels)
            if head.multi_label:
                by_head[head.name] = _picked(labels, own, self._temperature, head.threshold)
            else:
                by_head[head.name] = _classified(labels, Rule(self._temperature)(own), timing)
        return Tags(by_head, timing)


def _classified(labels: Sequence[str], decision: Decision, timing: Timing) -> Classification:
    shares = decision.probabilities.tolist()
    return Classification(
        label=labels[decision.label],
        confidence=decision.confidence,
        probabilities=dict(zip(labels, shares, strict=True)),
        timing=timing,
    )


def _picked(
    labels: Sequence[str], logits: NDArray[np.float32], temperature: float, threshold: float
) -> Labels:
    shares = sigmoid(logits, temperature)
    return Labels(
        labels=tuple(labels[i] for i in picked(shares, threshold)),
        probabilities=dict(zip(labels, shares.tolist(), strict=True)),
    )
