"""An .onnx is spelled in one way alone: what another library could read otherwise is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeslm.errors import ModelFileError
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.formats.onnx.parts import read_parts
from edgeslm.formats.onnx.wire import WireError, number, numbers
from tests.helpers.tiny_onnx import LABELS, card, encoder_model, metadata, write_model


def varint(value: int) -> bytes:
    spelled = bytearray()
    while value >= 0x80:
        spelled.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*spelled, value])


def field(key: int, content: bytes) -> bytes:
    """A field of bytes; its number may be one that no key of 32 bits holds."""
    return varint(key << 3 | 2) + varint(len(content)) + content


def tiny() -> onnx.ModelProto:
    model = encoder_model(LABELS, np.eye(len(LABELS), dtype=np.float32))
    helper.set_model_props(model, metadata(card(), LABELS))
    return model


def outside() -> bytes:
    """A tensor whose data lies outside the file."""
    entry = onnx.StringStringEntryProto(key="location", value="/etc/passwd").SerializeToString()
    return field(13, entry) + varint(14 << 3) + varint(1)


#: field 7 (the graph) as a library that keeps 32 bits of a key reads it
HIDDEN = 7 + (1 << 29)

SPELLINGS = {
    "a hidden field": (field(HIDDEN, b""), "the field 536870919"),
    "a second graph": (field(7, b""), "twice"),
    "a second version": (varint(1 << 3) + varint(9), "twice"),
    "an unknown field": (field(99, b""), "the field 99"),
    "an unknown number": (varint(99 << 3) + varint(1), "the field 99"),
    "a group": (varint(99 << 3 | 3) + varint(99 << 3 | 4), "the field 99"),
    "the field 0": (b"\x00\x00", "the field 0"),
    "a long key": (b"\xba\x00\x00", "longer than it needs"),
    "a long size": (varint(14 << 3 | 2) + b"\x80\x00", "longer than it needs"),
    "a number beyond 64 bits": (varint(5 << 3) + b"\xff" * 9 + b"\x02", "longer than it needs"),
    "another type": (varint(7 << 3) + varint(1), "written as another type"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_that_are_refused(tmp_path: Path, name: str) -> None:
    more, says = SPELLINGS[name]
    path = tmp_path / "x.onnx"
    path.write_bytes(tiny().SerializeToString() + more)
    with pytest.raises(ModelFileError, match=says):
        read_onnx(path)


def test_what_a_library_would_merge_into_a_tensor_is_refused(tmp_path: Path) -> None:
    model = tiny()
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    tensor = onnx.TensorProto(dims=[1], data_type=1, name="x").SerializeToString()
    for hidden in (outside(), field(13 + (1 << 29), b""), varint(14 << 3) + varint(1 << 32)):
        path = tmp_path / "x.onnx"
        path.write_bytes(model.SerializeToString() + field(7, graph + field(5, tensor + hidden)))
        with pytest.raises(ModelFileError):
            read_onnx(path)


def test_a_type_of_elements_beyond_32_bits_is_refused(tmp_path: Path) -> None:
    graph = tiny().graph.SerializeToString()
    whole = tiny()
    whole.ClearField("graph")
    tensor = field(8, b"x") + varint(2 << 3) + varint((1 << 32) + 1) + field(9, b"")
    path = tmp_path / "x.onnx"
    path.write_bytes(whole.SerializeToString() + field(7, graph + field(5, tensor)))
    with pytest.raises(ModelFileError, match="of a type that no specialist has"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (helper.make_tensor("x", TensorProto.STRING, [1], [b"a"]), "field 6"),
        (onnx.TensorProto(name="x", data_type=1, dims=[2], raw_data=bytes(4)), "another size"),
        (onnx.TensorProto(name="x", data_type=1, dims=[-1], raw_data=b""), "no shape"),
        (onnx.TensorProto(name="x", data_type=1, dims=[1], raw_data=bytes(3)), "within an element"),
        (
            onnx.TensorProto(name="x", data_type=1, dims=[1], raw_data=bytes(4), float_data=[1]),
            "data twice",
        ),
        (onnx.TensorProto(name="x", data_type=1, dims=[1], int32_data=[1]), "another type"),
        (onnx.TensorProto(name="table", data_type=1, dims=[0]), "twice"),
    ],
)
def test_weights_that_are_refused(tmp_path: Path, tensor: onnx.TensorProto, says: str) -> None:
    model = encoder_model(LABELS, np.eye(len(LABELS), dtype=np.float32))
    model.graph.initializer.append(tensor)
    with pytest.raises(ModelFileError, match=says):
        read_onnx(write_model(tmp_path / "x.onnx", model, metadata(card(), LABELS)))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_integers_are_read_as_protobuf_writes_them(values: list[int]) -> None:
    tensor = onnx.TensorProto(int64_data=values).SerializeToString()
    packed = onnx.TensorProto.FromString(tensor).int64_data
    body = b"".join(varint(value % (1 << 64)) for value in packed)
    assert numbers(body) == values
    assert [number(value % (1 << 64)) for value in values] == values


def test_what_protobuf_writes_is_read_and_writes_the_same() -> None:
    whole = tiny().SerializeToString()
    parts = read_parts(memoryview(whole))
    assert [node.kind for node in parts.nodes] == [node.op_type for node in tiny().graph.node]
    with pytest.raises(WireError):
        read_parts(memoryview(whole + whole))  # which protobuf would merge
