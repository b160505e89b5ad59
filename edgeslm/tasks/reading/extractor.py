"""ReadingExtractor: a record is read, not written: each value stands in the text."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final, Generic, TypeVar

from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.requests import CancelToken
from edgeslm.errors import ArgumentError, EdgeslmError, OutputInvalidError
from edgeslm.formats.card import FieldCalibration
from edgeslm.formats.onnx.reader_spec import ReaderSpec
from edgeslm.results import Extraction, Field
from edgeslm.schema.schema import Schema
from edgeslm.tasks.classifier import CallOptions
from edgeslm.tasks.extraction.evidence import calibrated
from edgeslm.tasks.extraction.extractor import Extractor
from edgeslm.tasks.extraction.options import ExtractOptions
from edgeslm.tasks.onnx import Answerer, EncoderJob
from edgeslm.tasks.reading.inputs import Prepared, ReaderInputs
from edgeslm.tasks.reading.record import Reading, read_record, to_json

T = TypeVar("T")

#: the path of a whole record among calibrations
WHOLE: Final = "$"


@dataclass(frozen=True, slots=True)
class ReadingPlan(Generic[T]):
    """What a reading extractor is made of.

    ``names`` are the top-level fields that the schema has, None for all that are read.
    """

    spec: ReaderSpec
    schema: Schema[T]
    calibration: Mapping[str, FieldCalibration]
    names: frozenset[str] | None = None


class ReadingExtractor(Answerer[Extraction[T]], Extractor[T]):
    """Scores the lines, words and values of a text, and makes the record of the best ones.

    Grounded by construction, so ``grounded=False`` frees nothing. Nothing is decoded: budgets of
    tokens, retries and drafts do not apply.
    """

    def __init__(self, session: OnnxSession, inputs: ReaderInputs, plan: ReadingPlan[T]) -> None:
        super().__init__(session)
        self.schema = plan.schema
        self._inputs, self._plan = inputs, plan

    def _extract(
        self,
        text: str,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Extraction[T]:
        return self._run(text, _options(options, deadline_ms, cancel))

    def _extract_many(
        self,
        texts: Iterable[str],
        width: int,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Generator[Extraction[T] | EdgeslmError, None, None]:
        return self._many(texts, width, _options(options, deadline_ms, cancel))

    def _run(self, text: str, options: CallOptions) -> Extraction[T]:
        job = EncoderJob(text, options.deadline_ms)
        with self._session.begin(options.cancel) as call:
            prepared = self._inputs(job.text, options.truncate)
            job.check()
            start = time.perf_counter()
            said = call.run(prepared.inputs)
            ms = (time.perf_counter() - start) * 1000
        readings = read_record(prepared.layout, prepared.unit_scores(said), self._plan.spec)
        own = [reading for reading in readings if self._is_asked(reading)]
        own, value, answer = self._valid(own)
        fields = calibrated(_fields(own, prepared), self._plan.calibration)
        job.check()
        return Extraction(
            value,
            answer,
            True,
            fields,
            job.timing(prepared.tokens, ms),
            nothing_read=all(field.span is None for field in fields.values()),
            confidence=self._confidence(fields),
        )

    def _valid(self, readings: Sequence[Reading]) -> tuple[list[Reading], T, str]:
        """The readings, their value and its JSON; what the schema does not let stand is null."""
        kept = list(readings)
        try:
            answer = to_json(kept)
            return kept, self.schema.read(answer), answer
        except OutputInvalidError:
            kept = [self._if_valid(kept, at) for at in range(len(kept))]
        answer = to_json(kept)
        return kept, self.schema.read(answer), answer

    def _if_valid(self, readings: Sequence[Reading], place: int) -> Reading:
        """A reading, or null where the schema refuses a record that has it and else only nulls."""
        alone = [
            reading if at == place else reading.without_value()
            for at, reading in enumerate(readings)
        ]
        try:
            self.schema.read(to_json(alone))
        except OutputInvalidError:
            return readings[place].without_value()
        return readings[place]

    def _is_asked(self, reading: Reading) -> bool:
        names = self._plan.names
        return names is None or reading.field.names[0] in names

    def _confidence(self, fields: Mapping[str, Field]) -> float:
        """That all fields are right: as measured, else as if they were independent."""
        raw = prod(field.confidence for field in fields.values())
        worth = self._plan.calibration.get(WHOLE)
        return raw if worth is None else worth.of(raw)


def _options(
    options: ExtractOptions, deadline_ms: float | None, cancel: CancelToken | None
) -> CallOptions:
    if options.temperature:
        raise ArgumentError("temperature must be 0: this model reads values, it samples none")
    return CallOptions(deadline_ms, options.truncate, cancel=cancel)


def _fields(readings: Iterable[Reading], prepared: Prepared) -> dict[str, Field]:
    """Evidence of each field, with places in the caller's text."""
    fields = {}
    for reading in readings:
        span = reading.span
        if span is not None:
            span = prepared.kept.place(*span)
        field = Field(reading.confidence, span, grounded=reading.span is not None or None)
        if reading.probabilities is not None:
            field = replace(field, probabilities=reading.probabilities)
        fields[reading.field.path] = field
    return fields
