"""The parts of an .onnx file that decide whether it is loaded, from its bytes alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from edgeslm.formats.onnx.wire import Fields, WireError, number, text

#: parts of a model that are looked at; an encoder of 6 layers has about 10,000
_MAX_FIELDS: Final = 1_000_000
_MAX_NAME_BYTES: Final = 4096
#: bytes of all metadata: a tokenizer of 250,000 tokens has about 20 MB
_MAX_METADATA_BYTES: Final = 64 * 1024 * 1024

# field numbers of onnx.proto
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 8, 14, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = {5, 10}, {6, 11}, {22, 23}
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
#: fields of a tensor that hold its elements
_TENSOR_DATA = {4, 5, 6, 7, 9, 10, 11}


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of the graph. A dimension that is not fixed is None.

    ``element_type`` is ONNX's number: 1 is float32, 7 is int64. ``shape`` is None where unknown.
    """

    name: str
    element_type: int
    shape: tuple[int | None, ...] | None


@dataclass(slots=True)
class Parts:
    """What a file holds. ``weight_bytes`` are those of all tensors."""

    metadata: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    weight_bytes: int = 0


def read_parts(whole: memoryview) -> Parts:
    """Read the parts of a model; nothing but names and metadata is copied.

    Raises:
        WireError: no model, damaged, or with a part that no specialist has: weights outside
            the file, control flow, functions or training of its own.
    """
    return _Reader().model(whole)


class _Reader:
    """Goes through a model once and keeps what it finds."""

    def __init__(self) -> None:
        self._fields = Fields(_MAX_FIELDS)
        self._parts = Parts()
        self._metadata_left = _MAX_METADATA_BYTES

    def model(self, whole: memoryview) -> Parts:
        graphs = 0
        for key, value in self._fields.of(whole):
            if key == _MODEL_GRAPH:
                graphs += 1
                self._graph(_message(value))
            elif key == _MODEL_OPSET:
                domain, version = self._opset(_message(value))
                self._parts.opsets[domain] = version
            elif key == _MODEL_METADATA:
                self._metadata(_message(value))
            elif key in {_MODEL_TRAINING, _MODEL_FUNCTION}:
                raise WireError("it has functions of its own, or what trains it")
        if graphs != 1:
            raise WireError(f"it has {graphs} graphs, not one")
        return self._parts

    def _opset(self, message: memoryview) -> tuple[str, int]:
        found = dict(self._fields.of(message))
        return text(found.get(1, memoryview(b"")), _MAX_NAME_BYTES), number(found.get(2, 0))

    def _metadata(self, message: memoryview) -> None:
        found = dict(self._fields.of(message))
        self._metadata_left -= len(message)
        if self._metadata_left < 0:
            raise WireError(f"its metadata has more than {_MAX_METADATA_BYTES:,} bytes")
        key = text(found.get(1, memoryview(b"")), _MAX_NAME_BYTES)
        if key in self._parts.metadata:
            raise WireError(f"its metadata has {key[:100]!r} twice")
        self._parts.metadata[key] = text(found.get(2, memoryview(b"")), _MAX_METADATA_BYTES)

    def _graph(self, message: memoryview) -> None:
        parts = self._parts
        for key, value in self._fields.of(message):
            if key == _GRAPH_NODE:
                self._node(_message(value))
            elif key == _GRAPH_TENSOR:
                parts.initializers.add(self._tensor(_message(value)))
            elif key == _GRAPH_INPUT:
                parts.inputs.append(self._value(_message(value)))
            elif key == _GRAPH_OUTPUT:
                parts.outputs.append(self._value(_message(value)))
            elif key == _GRAPH_SPARSE:
                raise WireError("it has sparse weights")

    def _node(self, message: memoryview) -> None:
        for key, value in self._fields.of(message):
            if key == _NODE_DOMAIN:
                self._parts.domains.add(text(value, _MAX_NAME_BYTES))
            elif key == _NODE_ATTRIBUTE:
                self._attribute(_message(value))

    def _attribute(self, message: memoryview) -> None:
        for key, value in self._fields.of(message):
            if key in _ATTRIBUTE_TENSORS:
                self._tensor(_message(value))
            elif key in _ATTRIBUTE_GRAPHS:
                raise WireError("it has control flow")
            elif key in _ATTRIBUTE_SPARSE:
                raise WireError("it has sparse weights")

    def _tensor(self, message: memoryview) -> str:
        """Count a tensor's bytes; its name."""
        name = ""
        for key, value in self._fields.of(message):
            if key == _TENSOR_NAME:
                name = text(value, _MAX_NAME_BYTES)
            elif key == _TENSOR_EXTERNAL or (key == _TENSOR_LOCATION and value != 0):
                raise WireError("its weights lie outside the file")
            elif key in _TENSOR_DATA and not isinstance(value, int):
                self._parts.weight_bytes += len(value)
        return name

    def _value(self, message: memoryview) -> Value:
        found = dict(self._fields.of(message))
        name = text(found.get(1, memoryview(b"")), _MAX_NAME_BYTES)
        tensor = self._inner(_message(found.get(2, memoryview(b""))), 1)
        if tensor is None:
            raise WireError(f"{name[:100]!r} is no tensor")
        of_tensor = dict(self._fields.of(tensor))
        shape = None if 2 not in of_tensor else tuple(self._sizes(_message(of_tensor[2])))
        return Value(name, number(of_tensor.get(1, 0)), shape)

    def _sizes(self, message: memoryview) -> Iterator[int | None]:
        for key, value in self._fields.of(message):
            if key == 1:
                size = dict(self._fields.of(_message(value))).get(1)
                yield None if size is None else number(size)

    def _inner(self, message: memoryview, wanted: int) -> memoryview | None:
        """The last value of a field that is a message, as protobuf reads it."""
        value = dict(self._fields.of(message)).get(wanted)
        return None if value is None else _message(value)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number stands where a message belongs")
    return value
