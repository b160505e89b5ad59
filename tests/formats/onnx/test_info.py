"""Files of .onnx specialists: what is read of good ones, and that bad ones give one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeslm.errors import CardError, EdgeslmError, ModelFileError
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.onnx.info import KIND_KEY, MAX_TOKENS_KEY, TOKENIZER_KEY, read_onnx
from edgeslm.formats.onnx.parts import read_parts
from edgeslm.formats.onnx.wire import VARINT, Fields, Layout, WireError
from tests.helpers.tiny_onnx import (
    LABELS,
    card,
    encoder_model,
    metadata,
    write_model,
    write_tiny_onnx,
)

MUTATIONS = 1000


@pytest.fixture
def graph() -> onnx.ModelProto:
    return encoder_model(LABELS, np.eye(len(LABELS), dtype=np.float32))


def written(
    folder: Path, graph: onnx.ModelProto, change: dict[str, str | None] | None = None
) -> Path:
    """A file of this graph, with these properties changed; None leaves one out."""
    properties = {**metadata(card(), LABELS), **(change or {})}
    kept = {key: value for key, value in properties.items() if value is not None}
    return write_model(folder / "x.onnx", graph, kept)


def test_what_a_good_file_holds(tmp_path: Path) -> None:
    info = read_onnx(write_tiny_onnx(tmp_path / "tiny.onnx", max_tokens=20))
    assert (info.kind, info.max_tokens, info.opset, info.width) == ("encoder", 20, 18, 3)
    assert info.card == card()
    assert info.tokenizer_json is not None
    assert info.features is None
    assert {value.name: value.shape for value in info.inputs} == {
        "input_ids": (None, None),
        "attention_mask": (None, None),
    }
    assert info.size == info.path.stat().st_size
    table = 7 * 3 * 4  # four special tokens and three words, three labels, float32
    assert info.weight_bytes == table + 2 * 8
    assert len(info.sha256) == 64


def test_labels_of_several_heads_are_counted_together(tmp_path: Path) -> None:
    heads = [{"name": "a", "labels": ["x", "y"]}, {"name": "b", "labels": ["p", "q", "r"]}]
    path = write_tiny_onnx(tmp_path / "t.onnx", card(task={"kind": "tag", "heads": heads}))
    assert read_onnx(path).width == 5


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({CARD_KEY: None}, CardError, "no card"),
        ({CARD_KEY: "{"}, CardError, "card"),
        ({CARD_KEY: card(["a", "b"]).to_json()}, CardError, "2 labels, but the graph .* 3"),
        ({KIND_KEY: None}, ModelFileError, "edgeslm.kind is ''"),
        ({KIND_KEY: "decoder"}, ModelFileError, "'decoder', which is no kind"),
        ({KIND_KEY: "linear"}, ModelFileError, "no edgeslm.features"),
        ({TOKENIZER_KEY: None}, ModelFileError, "no edgeslm.tokenizer"),
        ({MAX_TOKENS_KEY: "0"}, ModelFileError, "max_tokens is '0'"),
        ({MAX_TOKENS_KEY: "1e3"}, ModelFileError, "max_tokens is '1e3'"),
        ({MAX_TOKENS_KEY: "99999"}, ModelFileError, "not 3 to 8192"),
        (
            {CARD_KEY: card(task={"kind": "extract", "json_schema": {"type": "object"}}).to_json()},
            CardError,
            "cannot extract",
        ),
    ],
)
def test_properties_that_are_refused(
    tmp_path: Path,
    graph: onnx.ModelProto,
    change: dict[str, str | None],
    error: type[EdgeslmError],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        read_onnx(written(tmp_path, graph, change))


def test_an_input_that_is_a_constant_as_well_is_the_constant(
    tmp_path: Path, graph: onnx.ModelProto
) -> None:
    constant = graph.graph.initializer[0]
    graph.graph.input.append(
        helper.make_tensor_value_info(constant.name, constant.data_type, list(constant.dims))
    )
    assert read_onnx(written(tmp_path, graph)).width == 3


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")


def external_in_a_node(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "t")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "evil.example"


def custom_set(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.example", 1))


def control_flow(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    )


def own_functions(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="local")


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))


def no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "ids"


def third_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.INT64, ["a", "b"]))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fixed_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 8


def double_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def no_operators(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (external, "outside the file"),
        (external_in_a_node, "a tensor in an attribute"),
        (custom_operator, "'evil.example', which onnxruntime does not bring"),
        (custom_set, "'evil.example', which onnxruntime does not bring"),
        (control_flow, "control flow"),
        (own_functions, "functions of its own"),
        (second_output, "not one, 'logits'"),
        (no_output, "not one, 'logits'"),
        (other_input, "its inputs are"),
        (third_input, "its inputs are"),
        (float_input, "input_ids has another type"),
        (fixed_length, "input_ids has another type or shape"),
        (double_output, "output logits has another type"),
        (sparse, "sparse"),
        (no_operators, "of version 0"),
    ],
)
def test_graphs_that_are_refused(
    tmp_path: Path, graph: onnx.ModelProto, spoil: Callable[[onnx.ModelProto], None], says: str
) -> None:
    spoil(graph)
    with pytest.raises(ModelFileError, match=says):
        read_onnx(written(tmp_path, graph))


@pytest.mark.parametrize("data", [b"", b"GGUF" + bytes(64), b"\x00" * 100, b"\x3a\xff\xff\xff\x0f"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        read_onnx(path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.onnx"):
        with pytest.raises(ModelFileError):
            read_onnx(path)


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = write_tiny_onnx(tmp_path / "tiny.onnx").read_bytes()
    part = tmp_path / "part.onnx"
    for size in range(0, len(whole) - 1, 7):
        part.write_bytes(whole[:size])
        with pytest.raises((ModelFileError, CardError)):
            read_onnx(part)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_parts_or_an_error(data: bytes) -> None:
    try:
        read_parts(memoryview(data))
    except WireError:
        return
    assert data  # what was read had a graph


def test_the_number_of_parts_is_bounded() -> None:
    fields = Fields(10)
    with pytest.raises(WireError, match="more parts"):
        list(fields.of(memoryview(b"\x08\x01" * 11), Layout(once={}, many={VARINT: (1,)})))


def test_a_file_that_was_refused_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\x3a\xff\xff\xff\x0f")
    with pytest.raises(ModelFileError) as refused:
        read_onnx(path)
    write_tiny_onnx(tmp_path / "good.onnx").replace(path)  # Windows: not while it is mapped
    assert read_onnx(path).kind == "encoder"
    assert "python -m converters" in str(refused.value)
