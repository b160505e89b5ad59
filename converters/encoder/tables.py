"""Large tables of an encoder's graph in 8 or 4 bits, looked up with a scale for each block"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Bits = Literal[4, 8]
#: a block's values are so many times its scale to either side of 0
STEPS: Final[Mapping[Bits, int]] = {4: 7, 8: 127}
#: a float table of more values than this is looked up in few bits
LARGE_TABLE: Final = 65_536
#: values of a row that share a scale where they have 4 bits: with one for all 384 of
#: all-MiniLM-L6-v2 the error is a quarter larger
_BLOCK: Final = 64
#: what is added to a value of 4 bits, so that it is no negative number
_MIDDLE: Final = 8
_LOW, _HALF = 0x0F, 4

Rounded = NDArray[np.int8]
Scales = NDArray[np.float32]


def quantize_tables(proto: ModelProto, bits: Mapping[str, Bits]) -> None:
    """Large tables that a graph gathers rows from get 8 bits a value, or what ``bits`` says of
    their name."""
    from onnx import numpy_helper

    graph = proto.graph
    tables = {t.name: t for t in graph.initializer if np.prod(t.dims) > LARGE_TABLE}
    for at, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        (name, ids), out = node.input, node.output[0]
        table = numpy_helper.to_array(tables[name])
        width = bits.get(name, 8) if table.shape[1] % 2 == 0 else 8  # two halves share bytes
        rounded, scales = round_table(table, width)
        constants, nodes = (_nibbles if width == 4 else _bytes)(name, rounded, ids, out)
        more, scaled = _times_scales(name, scales, block_of(table.shape[1], width), ids, out)
        graph.initializer.remove(tables[name])
        for kept, values in {**constants, **more}.items():
            graph.initializer.append(numpy_helper.from_array(values, kept))
        graph.node.remove(node)
        for offset, new in enumerate((*nodes, *scaled)):
            graph.node.insert(at + offset, new)


def block_of(width: int, bits: Bits) -> int:
    """How many values of a row of ``width`` share a scale."""
    return _BLOCK if bits == 4 and width % _BLOCK == 0 else width


def round_table(table: NDArray[np.float32], bits: Bits) -> tuple[Rounded, Scales]:
    """Float32 [rows, width] as int8 of the same shape, and scales [rows, blocks]."""
    rows, width = table.shape
    blocks = table.reshape(rows, -1, block_of(width, bits))
    scales = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), 1e-12) / STEPS[bits]
    rounded = np.rint(blocks / scales).astype(np.int8)
    return rounded.reshape(rows, width), scales[..., 0]


def _bytes(
    name: str, rounded: Rounded, ids: str, out: str
) -> tuple[dict[str, NDArray[Any]], list[NodeProto]]:
    from onnx import TensorProto, helper

    return {f"{name}.int8": rounded}, [
        helper.make_node("Gather", [f"{name}.int8", ids], [f"{out}.int8"]),
        helper.make_node("Cast", [f"{out}.int8"], [f"{out}.cast"], to=TensorProto.FLOAT),
    ]


def _nibbles(
    name: str, rounded: Rounded, ids: str, out: str
) -> tuple[dict[str, NDArray[Any]], list[NodeProto]]:
    """Two values a byte: the first half of a row in the low bits, the second in the high ones.

    By ONNX's own operators, for its 4-bit type is of later versions than graphs are written in.
    """
    from onnx import TensorProto, helper

    first, second = np.split((rounded + _MIDDLE).astype(np.uint8), 2, axis=1)
    constants: dict[str, NDArray[Any]] = {
        f"{name}.int4": first | (second << np.uint8(_HALF)),
        f"{name}.low": np.array(_LOW, np.uint8),
        f"{name}.half": np.array(_HALF, np.uint8),
        f"{name}.middle": np.array(_MIDDLE, np.float32),
    }
    packed, low, high, both = (f"{out}.{part}" for part in ("int4", "low", "high", "both"))
    return constants, [
        helper.make_node("Gather", [f"{name}.int4", ids], [packed]),
        helper.make_node("BitwiseAnd", [packed, f"{name}.low"], [low]),
        helper.make_node("BitShift", [packed, f"{name}.half"], [high], direction="RIGHT"),
        helper.make_node("Concat", [low, high], [both], axis=-1),
        helper.make_node("Cast", [both], [f"{out}.shifted"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{out}.shifted", f"{name}.middle"], [f"{out}.cast"]),
    ]


def _times_scales(
    name: str, scales: Scales, block: int, ids: str, out: str
) -> tuple[dict[str, NDArray[Any]], list[NodeProto]]:
    """Rows of values times the scales of their blocks; ids are [batch, length]."""
    from onnx import helper

    blocks = scales.shape[1]
    constants: dict[str, NDArray[Any]] = {f"{name}.scale": scales}
    gathered = helper.make_node("Gather", [f"{name}.scale", ids], [f"{out}.scale"])
    if blocks == 1:
        return constants, [
            gathered,
            helper.make_node("Mul", [f"{out}.cast", f"{out}.scale"], [out]),
        ]
    shapes = {"blocks": [0, 0, blocks, block], "ones": [0, 0, blocks, 1], "row": [0, 0, -1]}
    constants |= {f"{name}.{key}": np.array(shape, np.int64) for key, shape in shapes.items()}
    values, each, product = (f"{out}.{part}" for part in ("values", "each", "product"))
    return constants, [
        gathered,
        helper.make_node("Reshape", [f"{out}.cast", f"{name}.blocks"], [values]),
        helper.make_node("Reshape", [f"{out}.scale", f"{name}.ones"], [each]),
        helper.make_node("Mul", [values, each], [product]),
        helper.make_node("Reshape", [product, f"{name}.row"], [out]),
    ]
