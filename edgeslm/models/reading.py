"""ReadingModel: an encoder or a linear model of an .onnx file, which reads records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.onnx.tokens import EncoderTokens
from edgeslm.errors import (
    ArgumentError,
    CardError,
    EngineError,
    InputTooLongError,
    ModelFileError,
    SchemaError,
)
from edgeslm.formats.card import Card, ExtractTask
from edgeslm.formats.onnx.info import LEAST_TOKENS, ONNXInfo
from edgeslm.formats.onnx.reader_spec import ReaderSpec
from edgeslm.models.model import Kind, Model
from edgeslm.schema.schema import Schema, compile_schema
from edgeslm.tasks.reading.asked import asked_of
from edgeslm.tasks.reading.extractor import WHOLE, ReadingExtractor, ReadingPlan
from edgeslm.tasks.reading.inputs import ReaderInputs

if TYPE_CHECKING:
    from pydantic import BaseModel

    from edgeslm.formats.card import PromptSpec
    from edgeslm.tasks.extraction.grounding import Grounded


class ReadingModel(Model):
    """A loaded reader; calls run side by side."""

    def __init__(self, info: ONNXInfo, session: OnnxSession, inputs: ReaderInputs) -> None:
        """Try the graph.

        Raises:
            ModelFileError: its tokenizer does not fit the graph. CardError: its reader has more or
            fewer columns than the graph, or other fields than its card.
        """
        self.info = info
        _check_fields(info)
        self._session, self._inputs = session, inputs
        self._try()

    @property
    def kind(self) -> Kind:
        return self.info.kind

    @property
    def card(self) -> Card:
        return self.info.card

    def _extractor(
        self,
        schema: type[BaseModel] | dict[str, Any] | None,
        prompt: PromptSpec | None,
        grounded: Grounded | None,
        untrained: bool,
    ) -> ReadingExtractor[Any]:
        if prompt is not None:
            raise CardError(
                f"{self._title(self.card.name)} reads the text alone; give it no prompt"
            )
        if untrained:
            raise SchemaError(
                f"{self._title(self.card.name)} reads only the fields it was trained for; for "
                "others use a language model such as smollm2-135m"
            )
        self._check_open()
        return ReadingExtractor(self._session, self._inputs, self._plan(schema))

    def _plan(self, schema: type[BaseModel] | dict[str, Any] | None) -> ReadingPlan[Any]:
        spec, task = _spec(self.info), self.card.task
        assert isinstance(task, ExtractTask), "reading the file has seen to it"
        calibration = self.card.calibration.fields if self.card.calibration else {}
        if schema is None:
            return ReadingPlan(spec, compile_schema(task.json_schema), calibration)
        compiled: Schema[Any] = compile_schema(schema)
        asked, known = asked_of(compiled.source, spec), {field.path for field in spec.fields}
        if asked.unknown:
            raise SchemaError(
                f"{self._title(self.card.name)} reads {', '.join(sorted(known))}, and the schema "
                f"asks for {', '.join(asked.unknown)}; leave that out, or use a language model "
                "such as smollm2-135m"
            )
        if asked.known != known:  # that of whole records was measured on whole ones
            calibration = {path: own for path, own in calibration.items() if path != WHOLE}
        return ReadingPlan(spec, compiled, calibration, asked.known)

    def _check_open(self) -> None:
        self._session.check_open()

    def cancel(self) -> None:
        self._session.cancel()

    def close(self) -> None:
        self._session.close()

    def _try(self) -> None:
        path, spec = self.info.path, _spec(self.info)
        try:
            prepared = self._inputs.trial()
        except InputTooLongError as error:
            raise ModelFileError(
                f"{path}: its tokenizer makes more tokens of a few characters than it reads "
                f"({error}); use the tokenizer that it was trained with"
            ) from error
        try:
            said = self._session.run(prepared.inputs)
        except EngineError as error:
            raise ModelFileError(
                f"{path}: its graph does not take what its {self.info.reads_with} gives ({error}); "
                "use the file that it was made for"
            ) from error
        rows = prepared.layout.units
        if prepared.windows is not None:
            rows += prepared.windows.input_ids.size
        if said.shape != (rows, spec.columns):
            raise CardError(
                f"{path}: the graph must answer this text with {rows} rows of {spec.columns} "
                f"scores, but it gave {list(said.shape)}; use the file that the card was made for"
            )


def inputs_of(info: ONNXInfo, max_tokens: int) -> ReaderInputs:
    """What turns texts into a reader's inputs.

    Raises:
        ModelFileError: its tokenizer is damaged. ArgumentError: there is no room for a token.
    """
    tokens = None
    if info.tokenizer_json is not None:
        if max_tokens < LEAST_TOKENS:
            raise ArgumentError(
                f"max_context must be at least {LEAST_TOKENS} for {info.path}: two tokens stand "
                "around those of a text"
            )
        tokens = EncoderTokens(info.tokenizer_json, max_tokens, where=str(info.path))
    return ReaderInputs(_spec(info), tokens)


def _check_fields(info: ONNXInfo) -> None:
    spec = _spec(info)
    # of the text, for the card itself takes longer to read than the graph
    asked = asked_of(json.loads(info.card_json)["task"]["json_schema"], spec)
    unread = ({field.path for field in spec.fields} - asked.known) | {*asked.unknown}
    if unread:
        raise CardError(
            f"{info.path}: its card and its reader must have the same fields, but only one of them "
            f"has {', '.join(sorted(unread))}; make the file again with `python -m converters`"
        )


def _spec(info: ONNXInfo) -> ReaderSpec:
    assert info.reader is not None, "only a file with a reader is opened as one"
    return info.reader
