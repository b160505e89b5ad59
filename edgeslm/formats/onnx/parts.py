"""The parts of an .onnx file that decide whether it is loaded, from its bytes alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Final

from edgeslm.formats.onnx.wire import (
    BYTES,
    FIXED32,
    VARINT,
    Fields,
    Layout,
    Message,
    Values,
    WireError,
    number,
    numbers,
    text,
)

#: parts of a model that are looked at; an encoder of 6 layers has about 4,000
_MAX_FIELDS: Final = 1_000_000
_MAX_NAME_BYTES: Final = 4096
#: bytes of all metadata: a tokenizer of 250,000 tokens has about 20 MB
_MAX_METADATA_BYTES: Final = 40 * 1024 * 1024
_MAX_RANK: Final = 8
#: elements of a tensor that is not written as raw bytes, and of one whose values are kept
_MAX_LISTED: Final = 100_000
_MAX_KEPT: Final = 64

_OUTSIDE: Final = "its weights lie outside the file"
# Fields of the messages of onnx.proto. What is not here, no specialist has.
_MODEL: Final = Layout(
    once={VARINT: (1, 5), BYTES: (2, 3, 4, 6, 7)},
    many={BYTES: (8, 14)},
    refused=dict.fromkeys((20, 25), "it has functions of its own, or what trains it"),
)
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_OPSET: Final = Layout(once={BYTES: (1,), VARINT: (2,)})
_ENTRY: Final = Layout(once={BYTES: (1, 2)})
_GRAPH: Final = Layout(
    once={BYTES: (2, 10)},
    many={BYTES: (1, 5, 11, 12, 13)},
    refused={15: "it has sparse weights"},
)
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE = 1, 5, 11, 12, 13
_NODE: Final = Layout(once={BYTES: (3, 4, 6, 7)}, many={BYTES: (1, 2, 5)})
_ATTRIBUTE: Final = Layout(
    once={BYTES: (1, 4, 13), FIXED32: (2,), VARINT: (3, 20)},
    many={VARINT: (8,)},
    refused={
        **dict.fromkeys((5, 10), "it has a tensor in an attribute"),
        **dict.fromkeys((6, 11), "it has control flow"),
        **dict.fromkeys((22, 23), "it has sparse weights"),
    },
)
#: the field that holds the value of each type of attribute: float, integer, text, integers
_ATTRIBUTE_VALUE: Final = {1: 2, 2: 3, 3: 4, 7: 8}
_TENSOR: Final = Layout(
    once={VARINT: (2, 14), BYTES: (4, 5, 7, 8, 9, 12)},
    many={VARINT: (1,)},
    refused={13: _OUTSIDE},
)
_TENSOR_RAW, _TENSOR_FLOATS, _TENSOR_INT32, _TENSOR_INT64 = 9, 4, 5, 7
_VALUE: Final = Layout(once={BYTES: (1, 2, 3)})
_TYPE: Final = Layout(once={BYTES: (1, 6)})
_TENSOR_TYPE: Final = Layout(once={VARINT: (1,), BYTES: (2,)})
_SHAPE: Final = Layout(once={}, many={BYTES: (1,)})
_SIZE: Final = Layout(once={VARINT: (1,), BYTES: (2, 3)})
#: bytes after which a packed integer goes on
_GOING_ON: Final = bytes(range(0x80, 0x100))
#: ONNX's numbers for types of elements
FLOAT, INT64, DOUBLE, UINT64 = 1, 7, 11, 13
#: bytes of an element: float, uint8, int8, int32, int64, bool, float16
_WIDTHS: Final = {FLOAT: 4, 2: 1, 3: 1, 6: 4, INT64: 8, 9: 1, 10: 2}

Attribute = int | str | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of the graph. A dimension that is not fixed is None.

    ``element_type`` is ONNX's number: 1 is float32, 7 is int64. ``shape`` is None where unknown.
    """

    name: str
    element_type: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Node:
    """An operator. An attribute that is a float is None: no shape depends on one."""

    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant. ``ints`` are its values where they are a few of int64, else None."""

    name: str
    element_type: int
    shape: tuple[int, ...]
    ints: tuple[int, ...] | None


@dataclass(slots=True)
class Parts:
    """What a file holds. ``weight_bytes`` are those of all tensors."""

    metadata: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Tensor] = field(default_factory=dict)
    weight_bytes: int = 0


def read_parts(whole: memoryview) -> Parts:
    """Read the parts of a model; nothing but names, metadata and shapes is copied.

    Raises:
        WireError: no model, damaged, spelled in another way than exporters do, or with a part
            that no specialist has: weights outside the file, control flow, functions or
            training of its own.
    """
    return _Reader().model(whole)


class _Reader:
    """Goes through a model once and keeps what it finds."""

    def __init__(self) -> None:
        self._fields = Fields(_MAX_FIELDS)
        self._parts = Parts()
        self._metadata_left = _MAX_METADATA_BYTES

    def model(self, whole: memoryview) -> Parts:
        values = self._fields.all(whole, _MODEL)
        for value in values.get(_MODEL_OPSET, ()):
            domain, version = self._opset(_message(value))
            if domain in self._parts.opsets:
                raise WireError(f"it has operators of {domain[:100]!r} twice")
            self._parts.opsets[domain] = version
        for value in values.get(_MODEL_METADATA, ()):
            self._metadata(_message(value))
        if _MODEL_GRAPH not in values:
            raise WireError("it has no graph")
        self._graph(_message(values[_MODEL_GRAPH][0]))
        return self._parts

    def _opset(self, message: Message) -> tuple[str, int]:
        values = self._fields.all(message, _OPSET)
        return _text_of(values, 1), _number_of(values, 2)

    def _metadata(self, message: Message) -> None:
        values = self._fields.all(message, _ENTRY)
        self._metadata_left -= len(message)
        if self._metadata_left < 0:
            raise WireError(f"its metadata has more than {_MAX_METADATA_BYTES:,} bytes")
        key = _text_of(values, 1)
        if key in self._parts.metadata:
            raise WireError(f"its metadata has {key[:100]!r} twice")
        self._parts.metadata[key] = _text_of(values, 2, _MAX_METADATA_BYTES)

    def _graph(self, message: Message) -> None:
        parts = self._parts
        for key, value in self._fields.of(message, _GRAPH):
            if key == _GRAPH_NODE:
                parts.nodes.append(self._node(_message(value)))
            elif key == _GRAPH_TENSOR:
                tensor = self._tensor(_message(value))
                if tensor.name in parts.initializers:
                    raise WireError(f"it has the weights {tensor.name[:100]!r} twice")
                parts.initializers[tensor.name] = tensor
            elif key == _GRAPH_INPUT:
                parts.inputs.append(self._value(_message(value)))
            elif key == _GRAPH_OUTPUT:
                parts.outputs.append(self._value(_message(value)))
            elif key == _GRAPH_VALUE:
                self._value(_message(value))

    def _node(self, message: Message) -> Node:
        values = self._fields.all(message, _NODE)
        attributes = dict(self._attribute(_message(value)) for value in values.get(5, ()))
        if len(attributes) < len(values.get(5, ())):
            raise WireError("an operator has an attribute twice")
        if 7 in values:
            self._parts.domains.add(_text_of(values, 7))
        return Node(
            kind=_text_of(values, 4),
            domain=_text_of(values, 7),
            inputs=tuple(text(value, _MAX_NAME_BYTES) for value in values.get(1, ())),
            outputs=tuple(text(value, _MAX_NAME_BYTES) for value in values.get(2, ())),
            attributes=attributes,
        )

    def _attribute(self, message: Message) -> tuple[str, Attribute]:
        values = self._fields.all(message, _ATTRIBUTE)
        name, holder = _text_of(values, 1), _ATTRIBUTE_VALUE.get(_number_of(values, 20))
        if holder is None or not values.keys() <= {1, 13, 20, holder}:
            raise WireError(f"the attribute {name[:100]!r} is of a type that no specialist has")
        if holder == _ATTRIBUTE_VALUE[1]:
            return name, None
        if holder == _ATTRIBUTE_VALUE[3]:
            return name, _text_of(values, holder)
        if holder == _ATTRIBUTE_VALUE[2]:
            return name, _number_of(values, holder)
        return name, tuple(map(number, values.get(holder, ())))

    def _tensor(self, message: Message) -> Tensor:
        """A tensor whose data has the size that its shape says."""
        values = self._fields.all(message, _TENSOR)
        name = _text_of(values, 8)
        if _number_of(values, 14) != 0:
            raise WireError(_OUTSIDE)
        shape = tuple(map(number, values.get(1, ())))
        kind = _number_of(values, 2)
        if kind not in _WIDTHS:
            raise WireError(f"the weights {name[:100]!r} are of a type that no specialist has")
        if len(shape) > _MAX_RANK or min(shape, default=0) < 0:
            raise WireError(f"the weights {name[:100]!r} are of no shape")
        count, ints = _elements(values, kind)
        if count != prod(shape):
            raise WireError(f"the weights {name[:100]!r} are of another size than their shape")
        self._parts.weight_bytes += count * _WIDTHS[kind]
        return Tensor(name, kind, shape, ints)

    def _value(self, message: Message) -> Value:
        values = self._fields.all(message, _VALUE)
        name = _text_of(values, 1)
        of_type = self._fields.all(_message_of(values, 2), _TYPE)
        if 1 not in of_type:
            raise WireError(f"{name[:100]!r} is no tensor")
        of_tensor = self._fields.all(_message_of(of_type, 1), _TENSOR_TYPE)
        shape = None if 2 not in of_tensor else self._sizes(_message_of(of_tensor, 2))
        return Value(name, _number_of(of_tensor, 1), shape)

    def _sizes(self, message: Message) -> tuple[int | None, ...]:
        sizes = []
        for _, value in self._fields.of(message, _SHAPE):
            size = self._fields.all(_message(value), _SIZE)
            if {1, 2} <= size.keys():
                raise WireError("a dimension is a number and a name")
            sizes.append(_number_of(size, 1) if 1 in size else None)
        return tuple(sizes)


def _elements(values: Values, kind: int) -> tuple[int, tuple[int, ...] | None]:
    """How many elements a tensor's data has, and a few of int64."""
    holders = values.keys() & {_TENSOR_RAW, _TENSOR_FLOATS, _TENSOR_INT32, _TENSOR_INT64}
    if len(holders) > 1:
        raise WireError("a tensor has its data twice")
    [holder] = holders or [_TENSOR_RAW]
    data, width = _message_of(values, holder), _WIDTHS[kind]
    if holder == _TENSOR_RAW:
        if len(data) % width:
            raise WireError("a tensor ends within an element")
        few = kind == INT64 and len(data) <= _MAX_KEPT * width
        raw = bytes(data) if few else b""
        ints = tuple(
            int.from_bytes(raw[at : at + width], "little", signed=True)
            for at in range(0, len(raw), width)
        )
        return len(data) // width, ints if few else None
    if len(data) > _MAX_LISTED:
        raise WireError("a large tensor is not written as raw bytes")
    if holder == _TENSOR_FLOATS:
        if kind != FLOAT or len(data) % width:
            raise WireError("a tensor has its data in a field of another type")
        return len(data) // width, None
    if (kind == INT64) != (holder == _TENSOR_INT64) or kind == FLOAT:
        raise WireError("a tensor has its data in a field of another type")
    count = len(bytes(data).translate(None, _GOING_ON))  # each integer ends in another byte
    return count, tuple(numbers(data)) if kind == INT64 and count <= _MAX_KEPT else None


def _text_of(values: Values, key: int, limit: int = _MAX_NAME_BYTES) -> str:
    """A field's text; empty where there is none."""
    return text(values[key][0], limit) if key in values else ""


def _number_of(values: Values, key: int) -> int:
    """A field's integer; 0 where there is none."""
    return number(values[key][0]) if key in values else 0


def _message_of(values: Values, key: int) -> Message:
    """A field's bytes; none where there is no such field."""
    return _message(values[key][0]) if key in values else b""


def _message(value: int | Message) -> Message:
    if isinstance(value, int):
        raise WireError("a number stands where a message belongs")
    return value
