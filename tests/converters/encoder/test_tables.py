"""Tables in 8 and 4 bits: onnxruntime looks up what numpy has rounded, and the error is small"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.encoder import tables
from converters.encoder.tables import STEPS, block_of, quantize_tables, round_table


def looked_up(table, ids, bits):
    """Rows of a table by a graph whose table has become small."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["words", "ids"], ["rows"])],
        "lookup",
        [onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [None, None])],
        [onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, [None, None, None])],
        [onnx.numpy_helper.from_array(table, "words")],
    )
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    quantize_tables(proto, {"words": bits})
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    [rows] = session.run(None, {"ids": ids})
    return rows, proto.graph


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch):
    monkeypatch.setattr(tables, "LARGE_TABLE", 1)


@given(
    rows=st.integers(3, 9),
    width=st.sampled_from([2, 5, 10, 64, 128, 192]),
    bits=st.sampled_from([4, 8]),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-6, 0.05, 100.0]),
)
@settings(max_examples=60, deadline=None)
def test_a_graph_looks_up_what_was_rounded(rows, width, bits, seed, size):
    draw = np.random.default_rng(seed)
    table = draw.normal(0, size, (rows, width)).astype(np.float32)
    table[0] = 0
    ids = draw.integers(0, rows, (2, 4))
    held = bits if width % 2 == 0 else 8
    rounded, scales = round_table(table, held)
    assert np.abs(rounded).max() <= STEPS[held]
    wanted = rounded * np.repeat(scales, block_of(width, held), axis=1)
    result, _ = looked_up(table, ids, bits)
    np.testing.assert_array_equal(result, wanted.astype(np.float32)[ids])
    assert np.abs(wanted - table).max() <= 0.5001 * scales.max()


@pytest.mark.parametrize(("bits", "bytes_a_row"), [(8, 128 + 4), (4, 64 + 2 * 4)])
def test_a_row_takes_so_many_bytes(bits, bytes_a_row):
    table = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    _, graph = looked_up(table, np.zeros((1, 1), np.int64), bits)
    taken = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer)
    assert 1000 * bytes_a_row <= taken < 1000 * bytes_a_row + 200


def test_rounding_again_changes_nothing():
    table = np.random.default_rng(0).normal(size=(50, 192)).astype(np.float32)
    rounded, scales = round_table(table, 4)
    again, same = round_table((rounded * np.repeat(scales, 64, axis=1)).astype(np.float32), 4)
    np.testing.assert_array_equal(rounded, again)
    np.testing.assert_allclose(scales, same, rtol=1e-6)


def test_a_small_table_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(tables, "LARGE_TABLE", 1000)
    table = np.random.default_rng(0).normal(size=(10, 100)).astype(np.float32)
    rows, graph = looked_up(table, np.array([[3, 4]]), 4)
    np.testing.assert_array_equal(rows[0], table[3:5])
    assert len(graph.node) == 1
