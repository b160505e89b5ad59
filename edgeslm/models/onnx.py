"""OnnxModel: an .onnx specialist that classifies or tags; the counterpart of a GGUF's Model."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeslm.engines.onnx.inputs import Reader, reader_of
from edgeslm.engines.onnx.session import OnnxSession, load_library
from edgeslm.engines.onnx.tokens import Row, stack
from edgeslm.errors import (
    CardError,
    DeadlineError,
    EdgeslmError,
    EngineError,
    InputError,
    LabelError,
    ModelFileError,
)
from edgeslm.formats.card_facts import LabelSet
from edgeslm.formats.onnx.info import ONNXInfo, label_sets, read_onnx
from edgeslm.formats.text import Truncate, check_text
from edgeslm.results import Classification, Labels, Tags, Timing
from edgeslm.tasks.decision import Decision, Rule, picked, sigmoid

if TYPE_CHECKING:
    from edgeslm.formats.card import Card
    from edgeslm.formats.onnx.known_inputs import KnownInputs

R = TypeVar("R")

#: texts that ``map`` puts into one run of the model
DEFAULT_WIDTH: Final = 8
#: so many times its width ``map`` reads ahead, to run texts of like length together
_AHEAD: Final = 4


class OnnxModel:
    """A loaded .onnx specialist. Safe to share between threads: calls run side by side."""

    def __init__(
        self,
        info: ONNXInfo,
        session: OnnxSession,
        read: Reader,
        trial: Row,
        known: KnownInputs | None,
    ) -> None:
        """Try the graph with ``trial``, inputs that ``read`` could make of a text.

        Raises:
            ModelFileError: its tokenizer or features do not fit the graph.
            CardError: its card has more or fewer labels than the graph.
        """
        self.info = info
        #: what it knows by heart; None for most files
        self.known = known
        self._session = session
        self._read = read
        self._try(trial)

    @property
    def card(self) -> Card:
        """What the model promises."""
        return self.info.card

    @property
    def provider(self) -> str:
        """The execution provider that computes, such as "CPUExecutionProvider"."""
        return self._session.provider

    def classifier(
        self, labels: Sequence[str] | Mapping[str, str] | None = None, *, prompt: object = None
    ) -> OnnxClassifier:
        """A classifier into the card's labels. ``labels`` and ``prompt`` are for other models.

        Raises:
            LabelError: other labels than the card's.
            CardError: the card is for tagging, or a prompt was given.
        """
        facts = self.info.facts
        if prompt is not None:
            raise CardError(f"{facts.name} reads the text alone; give it no prompt")
        if facts.kind != "classify":
            raise CardError(f"{facts.name} answers with several label sets; use tagger()")
        own = label_sets(facts)[0]
        if labels is not None and (isinstance(labels, str) or set(labels) != set(own)):
            raise LabelError(
                f"{facts.name} knows only the labels it was trained for; leave labels out, or "
                "use a language model such as smollm2-135m for others"
            )
        rule = Rule.within(facts.bounds, own, facts.out_of_scope)
        return OnnxClassifier(self._session, self._read, own, rule, self.known)

    def tagger(self) -> Tagger:
        """A tagger into the label sets of the card; raises CardError where it has but one."""
        facts = self.info.facts
        if facts.kind != "tag":
            raise CardError(f"{facts.name} answers with one label; use classifier()")
        return Tagger(self._session, self._read, facts.heads, facts.bounds.temperature)

    def extractor(self, schema: object = None, *, prompt: object = None) -> NoReturn:
        """Raises CardError: an encoder writes nothing."""
        raise CardError(
            f"{self.info.facts.name} is an encoder specialist: it classifies, it cannot extract; "
            "use a language model such as smollm2-135m"
        )

    def adapter(self, path: str | Path) -> NoReturn:
        """Raises ModelFileError: there are no adapters for an .onnx."""
        raise ModelFileError(
            f"{path}: an adapter is for a .gguf model, {self.info.path} is an .onnx one"
        )

    def cancel(self) -> None:
        """Stop the calls that run now, from another thread; they raise CancelledError."""
        self._session.cancel()

    def close(self) -> None:
        """Stop what runs and free the memory. Later calls raise EngineError."""
        self._session.close()

    def __enter__(self) -> OnnxModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _try(self, row: Row) -> None:
        path = self.info.path
        try:
            logits = self._session.run(stack([row]))
        except EngineError as error:
            raise ModelFileError(
                f"{path}: its graph does not take what its {self.info.reads_with} gives ({error}); "
                "use the file that it was made for"
            ) from error
        if logits.shape != (1, self.info.label_count):
            raise CardError(
                f"{path}: the card has {self.info.label_count} labels, but the graph answers with "
                f"{list(logits.shape)} numbers; use the file that the card was made for"
            )


def open_onnx(
    path: Path,
    *,
    threads: int | None = None,
    gpu: bool = True,
    max_tokens: int | None = None,
) -> OnnxModel:
    """Check and load an .onnx file: its graph, and in a thread beside it what reads texts for it.

    Raises:
        ModelFileError, CardError: the file cannot be read, or its card is not kept.
        ResourceError: no memory for it. MachineError: there is no onnxruntime.
    """
    info = read_onnx(path)
    limit = info.max_tokens if max_tokens is None else min(max_tokens, info.max_tokens)
    load_library()  # first, for its import would wait for Python's lock, which a tokenizer holds
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(_read_beside, info, limit)
        session = OnnxSession(path, threads=threads, gpu=gpu)
    try:
        return OnnxModel(info, session, *reading.result())
    except BaseException:
        session.close()
        raise


def _read_beside(info: ONNXInfo, max_tokens: int) -> tuple[Reader, Row, KnownInputs | None]:
    """What turns texts into inputs, inputs to try the graph with, and what is known of texts."""
    read, trial = reader_of(info, max_tokens)
    if info.known is None:
        return read, trial, None
    from edgeslm.formats.onnx.known_inputs import read_known  # most files know nothing

    return read, trial, read_known(info.known, info.label_count, where=str(info.path))


class _Answering(ABC, Generic[R]):
    """One text, or many, through a session; what an answer is made of its logits is told below."""

    def __init__(self, session: OnnxSession, read: Reader) -> None:
        self._session = session
        self._read = read

    @abstractmethod
    def _answer(self, text: str, logits: NDArray[np.float32], timing: Timing) -> R:
        """The answer to one text, from its logits [labels]."""

    def __call__(
        self, text: str, *, deadline_ms: float | None = None, truncate: Truncate = None
    ) -> R:
        """Answer one text.

        Args:
            deadline_ms: budget of the call, in milliseconds; looked at before and after the
                model's run, which takes some milliseconds and is not cut short.
            truncate: ``"middle"`` drops the middle of a text that does not fit.

        Raises:
            InputError: empty or not text. InputTooLongError: more tokens than the model reads.
            DeadlineError: the deadline passed. CancelledError: ``model.cancel()`` was called.
            EngineError: the model is closed.
        """
        job = _Job(text, self._read, truncate, deadline_ms)
        [answer] = self._run([job])
        if isinstance(answer, EdgeslmError):
            raise answer
        return answer

    def map(
        self,
        texts: Iterable[str],
        *,
        width: int = DEFAULT_WIDTH,
        deadline_ms: float | None = None,
        truncate: Truncate = None,
    ) -> Generator[R | EdgeslmError, None, None]:
        """Answer many texts in order, those of like length in one run of the model.

        Lazy: ``texts`` may be endless; a few times ``width`` of them are read ahead. A text that
        cannot be answered has its error in its place, and ``model.cancel()`` does so to those
        in progress. Probabilities are those of a call but for rounding, which is coarser in an
        int8 file: it scales its numbers by all texts of a run.

        Args:
            width: the most texts in one run; 1 gives each the bits of a call.
            deadline_ms: budget of one text, from when it was taken.
            truncate: as in a call.

        Raises:
            InputError: ``texts`` is one str, or ``width`` is less than 1.
            EngineError: the model is closed.
        """
        if isinstance(texts, str):
            raise InputError(
                "map takes many texts, such as a list of them; one is answered by a call"
            )
        if width < 1:
            raise InputError(f"width must be at least 1: {width}")
        return self._map(iter(texts), width, deadline_ms, truncate)

    def _map(
        self, texts: Iterator[str], width: int, deadline_ms: float | None, truncate: Truncate
    ) -> Generator[R | EdgeslmError, None, None]:
        while taken := list(islice(texts, width * _AHEAD)):
            answers: dict[int, R | EdgeslmError] = {}
            jobs: list[tuple[int, _Job]] = []
            for place, text in enumerate(taken):
                try:
                    jobs.append((place, _Job(text, self._read, truncate, deadline_ms)))
                except InputError as error:
                    answers[place] = error
            jobs.sort(key=lambda item: item[1].size)
            for start in range(0, len(jobs), width):
                together = jobs[start : start + width]
                found = self._run_in_place([job for _, job in together])
                answers |= zip((place for place, _ in together), found, strict=True)
            yield from (answers[place] for place in range(len(taken)))

    def _run_in_place(self, jobs: Sequence[_Job]) -> Sequence[R | EdgeslmError]:
        try:
            return self._run(jobs)
        except EngineError:
            raise  # it concerns all texts that follow, too
        except EdgeslmError as error:
            return [error] * len(jobs)

    def _run(self, jobs: Sequence[_Job]) -> list[R | EdgeslmError]:
        """One run of the model for all jobs; one that is late by then gets its error."""
        late = DeadlineError("the deadline passed before there was an answer")
        if all(job.late for job in jobs):
            return [late] * len(jobs)
        start = time.perf_counter()
        logits = self._session.run(stack([job.row for job in jobs]))
        ms = (time.perf_counter() - start) * 1000
        return [
            late if job.late else self._answer(job.text, own, job.timing(ms))
            for job, own in zip(jobs, logits, strict=True)
        ]


class _Job:
    """One text on its way: its inputs, and its time."""

    def __init__(
        self, text: str, read: Reader, truncate: Truncate, deadline_ms: float | None
    ) -> None:
        self._start = time.perf_counter()
        self._budget_ms = deadline_ms
        self.text = check_text(text)
        self.row = read(text, truncate)
        #: tokens; features of a linear model
        self.size = len(next(iter(self.row.values())))

    @property
    def late(self) -> bool:
        return self._budget_ms is not None and self._spent_ms() > self._budget_ms

    def timing(self, run_ms: float) -> Timing:
        return Timing(
            prefill_ms=run_ms,
            decode_ms=0.0,
            total_ms=self._spent_ms(),
            prompt_tokens=self.size,
            cached_tokens=0,
            output_tokens=0,
            decodes=1,
        )

    def _spent_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000


class OnnxClassifier(_Answering[Classification]):
    """Puts texts into the closed label set of a card. Safe to call from many threads."""

    def __init__(
        self,
        session: OnnxSession,
        read: Reader,
        labels: tuple[str, ...],
        rule: Rule,
        known: KnownInputs | None,
    ) -> None:
        super().__init__(session, read)
        self.labels = labels
        self._rule = rule
        self._known = known

    def _answer(self, text: str, logits: NDArray[np.float32], timing: Timing) -> Classification:
        decision = self._rule(logits)
        shares = self._known and self._known.posterior(text, decision.probabilities)
        if shares is not None:  # it was in training, so it is in scope however odd it looks
            decision = Decision(int(shares.argmax()), shares)
        return _classified(self.labels, decision, timing)


class Tagger(_Answering[Tags]):
    """Answers with several label sets from one pass. Safe to call from many threads."""

    def __init__(
        self, session: OnnxSession, read: Reader, heads: Sequence[LabelSet], temperature: float
    ) -> None:
        super().__init__(session, read)
        self.heads = {head.name: head.labels for head in heads}
        self._heads = tuple(heads)
        self._temperature = temperature

    def _answer(self, text: str, logits: NDArray[np.float32], timing: Timing) -> Tags:
        found: dict[str, Classification | Labels] = {}
        start = 0
        for head in self._heads:
            labels = head.labels
            own = logits[start : start + len(labels)]
            start += len(labels)
            if head.multi_label:
                found[head.name] = _picked(labels, own, self._temperature, head.threshold)
            else:
                found[head.name] = _classified(labels, Rule(self._temperature)(own), timing)
        return Tags(found, timing)


def _classified(labels: Sequence[str], decision: Decision, timing: Timing) -> Classification:
    shares = decision.probabilities.tolist()
    return Classification(
        label=labels[decision.label],
        confidence=shares[decision.label],
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
