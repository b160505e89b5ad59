"""Extractor: what every extractor can do, whatever kind of model is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from typing import Final, Generic, TypeVar, Unpack

from edgeslm import arguments as checks
from edgeslm.documents.document import Document
from edgeslm.engines.requests import CancelToken
from edgeslm.errors import EdgeslmError
from edgeslm.results import Extraction
from edgeslm.schema.schema import Schema
from edgeslm.tasks.extraction.options import ExtractArguments, ExtractOptions
from edgeslm.tasks.extraction.places import Taken, with_boxes

T = TypeVar("T")

#: texts that ``map`` answers together, if the caller does not say
DEFAULT_WIDTH: Final = 8


class Extractor(ABC, Generic[T]):
    """Reads one kind of value out of texts. Safe to call from many threads.

    Make one with ``model.extractor(schema)``; ``schema`` is what its values keep.
    """

    schema: Schema[T]

    def __call__(
        self,
        text: str | Document,
        *,
        deadline_ms: float | None = None,
        cancel: CancelToken | None = None,
        **arguments: Unpack[ExtractArguments],
    ) -> Extraction[T]:
        """Extract from one text, or from a document that `edgeslm.read_document` read: fields
        then say in which boxes on its pages their values stand.

        Args:
            deadline_ms: budget of the call, in milliseconds, time in the queue included; 0 is no
                time at all, so that nothing is read.
            cancel: a token that stops this call, also while it waits for others.
            max_tokens: budget of the answer, in tokens of the model, from 1 on. None: the
                card's, else 512.
            on_budget: what happens when a budget ends: ``"close"`` completes the JSON
                validly, flags it ``complete=False`` and gives the fields that were cut or
                filled a confidence of 0 (the end of what the model wrote goes where nothing
                could follow it validly); ``"raise"`` raises.
            on_invalid: what happens when the value breaks a rule that no grammar holds, such
                as ``uniqueItems`` or a validator of the class: ``"retry"`` goes back to the
                least sure token, takes the next best there and decodes on, within the
                budget and MAX_RETRIES times at most; ``"raise"`` raises at once.
            truncate: ``"middle"`` drops the middle of a text that does not fit.
            temperature: 0 takes the likeliest token; above it, sampling seeded by ``seed``.
            drafts: False decodes without copy drafts. With Q4_0, Q4_1 and Q8_0 on a CPU the answer
                is the same; elsewhere (K- and IQ-quants, GPUs) logits depend a little on
                the shape of a batch, and a near tie may fall otherwise.
            evidence: False saves measuring what the model chose from; ``fields`` is empty. Values
                that the schema lists are weighed all the same: the likeliest one is answered.
            grounded: True allows only strings, numbers and dates that stand in the text (and
                null where the schema does), so that nothing is invented; white space and
                the spelling of numbers and dates aside. Names of top-level fields ground
                those alone. ``"auto"`` takes dates, times, numbers and decimals from the text
                where it offers some that are valid there; else they are free, and their field
                says ``grounded`` False. False leaves all free. None: as the extractor was made
                (by its card; ``"auto"`` without one).

        Raises:
            ArgumentError: an argument that has no meaning.
            InputError: empty or not text; or grounded, and the text has nothing for a field
                that may not be null. InputTooLongError: it does not fit the context.
            SchemaError: grounded, and the schema has objects of any names, or no such field.
            OutputTruncatedError: a budget ended, with ``on_budget="raise"``.
            OutputInvalidError: the value breaks a rule that no grammar can hold.
            CancelledError: ``cancel`` or ``model`` was cancelled.
        """
        options = ExtractOptions.of("__call__", arguments)
        if not isinstance(text, Document):
            return self._extract(text, deadline_ms, cancel, options)
        answer = self._extract(text.text, deadline_ms, cancel, options)
        return with_boxes(answer, text)

    def map(
        self,
        texts: Iterable[str | Document],
        *,
        width: int = DEFAULT_WIDTH,
        deadline_ms: float | None = None,
        cancel: CancelToken | None = None,
        **arguments: Unpack[ExtractArguments],
    ) -> Generator[Extraction[T] | EdgeslmError, None, None]:
        """Extract from many texts, decoding several answers in one evaluation of the model.

        Lazy: ``texts`` may be endless. A text that cannot be answered has its error in its
        place. ``model.cancel()`` does so to those in progress; closing the iterator ends it.
        Other calls take turns with it.

        An answer is that of a call but for rounding, also without drafts: llama.cpp adds up
        attention in the order and the blocks in which a text's cells lie in memory, and other
        texts change both. Of 337 rows of 16 receipts (base model of 135M, Q4_0, width 8)
        logits moved by up to 1.3 (KL divergence .003 on average, .023 at most), and the best
        token changed where it led by less than 0.15. A model that is sure of its answer gives
        the same one; the base model, which wavers, gave 11 of 16.

        Args:
            width: answers in progress together, as far as the context has room for them.
            deadline_ms: budget of one text while the iterator works, from when it was taken;
                looked at between evaluations.
            cancel: a token that ends the iterator: texts in progress have CancelledError in
                their place, and then it is raised.
            seed: of every text's sampling.

        The other arguments are those of a call.

        Raises:
            ArgumentError: ``texts`` is one str, or an argument has no meaning.
            SchemaError: grounded, and the schema has no such field.
            EngineError: the model is closed.
        """
        checks.many(texts)
        taken = Taken(texts)
        options = ExtractOptions.of("map", arguments)
        return taken.placed(self._extract_many(taken, width, deadline_ms, cancel, options))

    @abstractmethod
    def _extract(
        self,
        text: str,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Extraction[T]: ...

    @abstractmethod
    def _extract_many(
        self,
        texts: Iterable[str],
        width: int,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Generator[Extraction[T] | EdgeslmError, None, None]: ...
