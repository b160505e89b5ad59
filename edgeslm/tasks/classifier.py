"""Classifier: what every classifier can do, whatever kind of model is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Final

from edgeslm import arguments
from edgeslm.engines.requests import CancelToken, check_token
from edgeslm.errors import EdgeslmError
from edgeslm.formats.text import TRUNCATE, Truncate
from edgeslm.results import Classification

#: texts that ``map`` answers together, if the caller does not say
DEFAULT_WIDTH: Final = 8


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The arguments of a call, checked; ``Classifier.__call__`` says what each means.

    Raises:
        ArgumentError: a value that has no meaning.
    """

    deadline_ms: float | None = None
    truncate: Truncate = None
    all_labels: bool = False
    cancel: CancelToken | None = None

    def __post_init__(self) -> None:
        arguments.deadline(self.deadline_ms)
        arguments.choice("truncate", self.truncate, TRUNCATE)
        arguments.flag("all_labels", self.all_labels)
        check_token(self.cancel)


class Classifier(ABC):
    """Puts texts into a closed set of labels. Safe to call from many threads.

    Make one with ``model.classifier(labels)``. ``labels`` are their names.
    """

    labels: tuple[str, ...]

    def __call__(
        self,
        text: str,
        *,
        deadline_ms: float | None = None,
        truncate: Truncate = None,
        all_labels: bool = False,
        cancel: CancelToken | None = None,
    ) -> Classification:
        """Classify one text.

        Args:
            deadline_ms: budget of the call, in milliseconds, time in the queue included. The
                run of an encoder takes some milliseconds and is not cut short.
            truncate: ``"middle"`` drops the middle of a text that does not fit.
            all_labels: follow every label to its end, however unlikely. Otherwise a language
                model lets labels that have together less than 0.0001 of the probability share
                an upper bound of theirs, so that the probabilities of the others are right
                within that, and the likeliest label is the same; many labels are then several
                times faster. Other models always have the probability of every label.
            cancel: a token that stops this call, also while it waits for others.

        Raises:
            ArgumentError: an argument has no meaning.
            InputError: empty or not text. InputTooLongError: it does not fit the context.
            DeadlineError: the deadline passed. CancelledError: ``cancel`` or ``model`` was
            cancelled.
            EngineError: the model is closed.
        """
        return self._classify(text, CallOptions(deadline_ms, truncate, all_labels, cancel))

    def map(
        self,
        texts: Iterable[str],
        *,
        width: int = DEFAULT_WIDTH,
        deadline_ms: float | None = None,
        truncate: Truncate = None,
        all_labels: bool = False,
        cancel: CancelToken | None = None,
    ) -> Generator[Classification | EdgeslmError, None, None]:
        """Classify many texts in order, several of them together.

        Lazy: ``texts`` may be endless; a few times ``width`` of them are read ahead. A text that
        cannot be answered has its error in its place. ``model.cancel()`` does so to those in
        progress; closing the iterator ends it. A language model's other calls take turns with
        it. Its probabilities are those of a call but for rounding, which depends on where in
        memory a text lies (see ``Extractor.map``). Other models give a text the bits of a call,
        whatever its company: each text is a run of its own, beside others on other cores. From the
        65th text on each run has one thread, for which the graph is loaded again (some 25 MB).

        Args:
            width: the most texts at work together; 1 gives each the bits of a call.
            deadline_ms: budget of one text while the iterator works, from when it was taken;
                other models take a text when a core is free for it.
            truncate, all_labels: as in a call.
            cancel: a token that ends the iterator: texts in progress have CancelledError in
                their place, and then it is raised.

        Raises:
            ArgumentError: ``texts`` is one str, or an argument has no meaning.
            EngineError: the model is closed.
        """
        options = CallOptions(deadline_ms, truncate, all_labels, cancel)
        return self._classify_many(texts, width, options)

    @abstractmethod
    def _classify(self, text: str, options: CallOptions) -> Classification: ...

    @abstractmethod
    def _classify_many(
        self, texts: Iterable[str], width: int, options: CallOptions
    ) -> Generator[Classification | EdgeslmError, None, None]: ...
