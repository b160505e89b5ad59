"""ReadingExtractor: a record is read, not written: each value stands in the text."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final, Generic, TypeVar

from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.requests import CancelToken
from edgeslm.errors import ArgumentError, EdgeslmError, InputError, OutputInvalidError
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

    ``asked`` are the paths of the fields that the schema has, None for all that are read.
    """

    spec: ReaderSpec
    schema: Schema[T]
    calibration: Mapping[str, FieldCalibration]
    asked: frozenset[str] | None = None


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
        answer = self._run(text, _options(options, deadline_ms, cancel))
        return answer if options.evidence else replace(answer, fields={})

    def _extract_many(
        self,
        texts: Iterable[str],
        width: int,
        deadline_ms: float | None,
        cancel: CancelToken | None,
        options: ExtractOptions,
    ) -> Generator[Extraction[T] | EdgeslmError, None, None]:
        answers = self._many(texts, width, _options(options, deadline_ms, cancel))
        if options.evidence:
            return answers
        return (
            replace(answer, fields={}) if isinstance(answer, Extraction) else answer
            for answer in answers
        )

    def _run(self, text: str, options: CallOptions) -> Extraction[T]:
        job = EncoderJob(text, options.deadline_ms)
        with self._session.begin(options.cancel) as call:

            def check() -> None:
                job.check()
                call.check()

            prepared = self._inputs(job.text, options.truncate, check)
            check()
            start = time.perf_counter()
            said = call.run(prepared.inputs)
            ms = (time.perf_counter() - start) * 1000
        readings = read_record(prepared.layout, prepared.unit_scores(said), self._plan.spec)
        asked = self._plan.asked
        own = [reading for reading in readings if asked is None or reading.field.path in asked]
        _require_values(own)
        own, value, answer = valid(own, self.schema)
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

    def _confidence(self, fields: Mapping[str, Field]) -> float:
        """That all fields are right: as measured, else as if they were independent."""
        raw = prod(field.confidence for field in fields.values())
        worth = self._plan.calibration.get(WHOLE)
        return raw if worth is None else worth.of(raw)


def valid(readings: Sequence[Reading], schema: Schema[T]) -> tuple[list[Reading], T, str]:
    """The readings, their value and its JSON; what the schema does not let stand is null."""
    kept = list(readings)
    try:
        answer = to_json(kept)
        return kept, schema.read(answer), answer
    except OutputInvalidError:
        kept = [_if_valid(kept, at, schema) for at in range(len(kept))]
    answer = to_json(kept)
    return kept, schema.read(answer), answer


def _if_valid(readings: Sequence[Reading], place: int, schema: Schema[Any]) -> Reading:
    """A reading, or null where the schema refuses a record that has it and else only nulls.

    A number may be a JSON text or number, as the schema has it.
    """
    alone = [reading.without_value() for reading in readings]
    for spelling in readings[place].spellings():
        alone[place] = spelling
        try:
            schema.read(to_json(alone))
        except OutputInvalidError:
            continue
        return spelling
    return readings[place].without_value()


def _options(
    options: ExtractOptions, deadline_ms: float | None, cancel: CancelToken | None
) -> CallOptions:
    if options.temperature:
        raise ArgumentError("temperature must be 0: this model reads values, it samples none")
    return CallOptions(deadline_ms, options.truncate, cancel=cancel)


def _require_values(readings: Iterable[Reading]) -> None:
    for reading in readings:
        field = reading.field
        if reading.json == "null" and not field.nullable and field.read != "listed":
            raise InputError(
                f"the text holds nothing for {field.path}, and a record takes values only "
                "from the text; give it a text that has one"
            )


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
