"""What a graph takes is known before the library sees it; small costly files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeslm.errors import ModelFileError
from edgeslm.formats.onnx.cost import CostError, cost_of
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.formats.onnx.parts import read_parts
from tests.helpers.tiny_onnx import LABELS, card, encoder_model, metadata, write_model

FUSED = "com.microsoft"


def tiny() -> onnx.ModelProto:
    return encoder_model(LABELS, np.eye(len(LABELS), dtype=np.float32))


def constant(model: onnx.ModelProto, name: str, value: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def node(model: onnx.ModelProto, kind: str, inputs: list[str], **attributes: Any) -> str:
    out = f"n{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(kind, inputs, [out], **attributes))
    return out


def outer_product(model: onnx.ModelProto) -> None:
    rows = constant(model, "r", np.ones((30_000, 1), np.float32))
    columns = constant(model, "c", np.ones((1, 30_000), np.float32))
    node(model, "MatMul", [rows, columns])


def broadcast(model: onnx.ModelProto) -> None:
    rows = constant(model, "r", np.ones((30_000, 1), np.float32))
    columns = constant(model, "c", np.ones((1, 30_000), np.float32))
    node(model, "Add", [rows, columns])


def doubling(model: onnx.ModelProto) -> None:
    value = "kept"
    for _ in range(40):
        value = node(model, "Concat", [value, value], axis=0)


def doubled_constants(model: onnx.ModelProto) -> None:
    value = constant(model, "one", np.ones(1000, np.float32))
    for _ in range(40):
        value = node(model, "Concat", [value, value], axis=0)


def gathered_again(model: onnx.ModelProto) -> None:
    ids = constant(model, "i", np.zeros((2000,), np.int64))
    value = "rows"
    for axis in range(3):
        value = node(model, "Gather", [value, ids], axis=axis)


def many_products(model: onnx.ModelProto) -> None:
    value = constant(model, "m", np.eye(1000, dtype=np.float32))
    for _ in range(1000):
        value = node(model, "MatMul", [value, value])


def products_of_inputs(model: onnx.ModelProto) -> None:
    square = constant(model, "m", np.eye(3000, dtype=np.float32))
    value = node(model, "MatMul", ["kept", constant(model, "w", np.ones((3, 3000), np.float32))])
    for _ in range(2000):
        value = node(model, "MatMul", [value, square])


def many_operators(model: onnx.ModelProto) -> None:
    value = "kept"
    for _ in range(6000):
        value = node(model, "Relu", [value])


def of_kind(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def spoil(model: onnx.ModelProto) -> None:
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        node(model, kind, ["kept"], domain=domain)

    return spoil


def unknown_numbers(model: onnx.ModelProto) -> None:
    node(model, "Reshape", ["kept", "input_ids"])


def from_nowhere(model: onnx.ModelProto) -> None:
    node(model, "Relu", ["nothing"])


def taken_name(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["kept"], ["rows"]))


def heads(count: int) -> Callable[[onnx.ModelProto], None]:
    def spoil(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid(FUSED, 1))
        node(model, "MultiHeadAttention", ["kept"] * 3, domain=FUSED, num_heads=count)

    return spoil


KINDS = (
    *("Range", "Tile", "Expand", "ConstantOfShape", "Pad", "Resize", "Upsample", "Loop", "If"),
    *("Scan", "SequenceMap", "OneHot", "EyeLike", "NonZero", "RandomNormal", "Einsum", "Conv"),
    *("Constant", "StringNormalizer", "TfIdfVectorizer", "LSTM", "CumSum", "TopK", "Multinomial"),
)
REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "outer product": (outer_product, "too much of constants"),
    "broadcast": (broadcast, "too much of constants"),
    "doubling": (doubling, "takes more than"),
    "doubled constants": (doubled_constants, "too much of constants"),
    "gathered again": (gathered_again, "takes more than"),
    "many products": (many_products, "too much of constants"),
    "products of inputs": (products_of_inputs, "takes too long"),
    "many operators": (many_operators, "6,007 operators"),
    "unknown numbers": (unknown_numbers, "only a run knows"),
    "from nowhere": (from_nowhere, "comes from nowhere"),
    "a taken name": (taken_name, "a name that is taken"),
    "no heads": (heads(0), "do not fit"),
    "heads that do not divide": (heads(2), "do not fit"),
    **{kind: (of_kind(kind), f"the operator '{kind}'") for kind in KINDS},
    "an image": (of_kind("CropAndResize", FUSED), "the operator 'CropAndResize'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_graphs_that_cost_too_much_are_refused(tmp_path: Path, name: str) -> None:
    spoil, says = REFUSED[name]
    model = tiny()
    spoil(model)
    with pytest.raises(ModelFileError, match=says):
        read_onnx(write_model(tmp_path / "x.onnx", model, metadata(card(), LABELS)))


def test_the_cost_follows_the_longest_text() -> None:
    parts = read_parts(memoryview(tiny().SerializeToString()))

    def cost(length: int) -> tuple[int, int]:
        whole = cost_of(parts, dict.fromkeys(("input_ids", "attention_mask"), (1, length)))
        return whole.products, whole.held

    short, long = cost(16), cost(1600)
    assert long[0] > 50 * short[0]
    assert long[1] > 50 * short[1]
    with pytest.raises(CostError):
        cost(10**9)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    choice=st.data(),
)
def test_shapes_are_those_that_onnx_infers(shape: list[int], choice: st.DataObject) -> None:
    axis = choice.draw(st.integers(-len(shape), len(shape) - 1))
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"]),
        helper.make_node("Concat", ["a", "x"], ["b"], axis=axis),
        helper.make_node("Transpose", ["b"], ["c"]),
        helper.make_node("MatMul", ["b", "w"], ["d"]),
        helper.make_node("ReduceSum", ["d", "axes"], ["e"], keepdims=choice.draw(st.booleans())),
        helper.make_node("Unsqueeze", ["c", "axes"], ["f"]),
        helper.make_node("Shape", ["f"], ["g"], start=1),
        helper.make_node("Slice", ["x", "starts", "ends"], ["h"]),
        helper.make_node("Gather", ["c", "ids"], ["i"], axis=axis),
        helper.make_node("Split", ["d"], ["j", "k"], axis=-1, num_outputs=2),
    ]
    inner = shape[-1] * (2 if axis % len(shape) == len(shape) - 1 else 1)
    constants = {
        "w": np.ones((inner, 6), np.float32),
        "axes": np.array([0]),
        "starts": np.array([1]),
        "ends": np.array([-1]),
        "ids": np.array([[0, 0], [0, 0]]),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(name, 1, None) for name in "adhk"],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    parts = read_parts(memoryview(model.SerializeToString()))
    shapes = cost_of(parts, {"x": tuple(shape)}).shapes
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    for value in (*inferred.value_info, *inferred.output):
        sizes = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        assert shapes[value.name] == sizes, value.name
