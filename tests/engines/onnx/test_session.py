"""OnnxSession on tiny graphs: what it answers, refuses and prints, threads, cancel, closing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeslm.engines.onnx.session import OnnxSession, load_library, providers
from edgeslm.errors import CancelledError, EngineError, ModelFileError
from tests.helpers.tiny_onnx import (
    LABELS,
    card,
    encoder_model,
    metadata,
    write_model,
    write_tiny_onnx,
)

CPU = "CPUExecutionProvider"
ONE = {"input_ids": np.array([[2, 4, 3]]), "attention_mask": np.ones((1, 3), np.int64)}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[OnnxSession]:
    opened = OnnxSession(write_tiny_onnx(tmp_path / "tiny.onnx"), threads=1)
    yield opened
    opened.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[OnnxSession]:
    """A graph of many large products: one run takes seconds."""
    model = encoder_model(LABELS, np.eye(len(LABELS), dtype=np.float32))
    wide = helper.make_tensor_value_info("wide", TensorProto.FLOAT, [1500, 1500])
    model.graph.value_info.append(wide)
    square = numpy_helper.from_array(np.full((1500, 1500), 1e-3, np.float32), "square")
    model.graph.initializer.append(square)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "none"))
    # Begins with an input, or it would all be computed once, when the graph is loaded.
    model.graph.node.append(helper.make_node("ReduceMax", ["mask"], ["one"], keepdims=0))
    model.graph.node.append(helper.make_node("Mul", ["square", "one"], ["p0"]))
    for i in range(100):
        model.graph.node.append(helper.make_node("MatMul", [f"p{i}", "square"], [f"p{i + 1}"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["p100"], ["top"], keepdims=0))
    model.graph.node.append(helper.make_node("Mul", ["top", "none"], ["nothing"]))
    model.graph.node.append(helper.make_node("Add", ["sums", "nothing"], ["logits"]))
    model.graph.node[6].output[0] = "sums"
    path = write_model(tmp_path / "slow.onnx", model, metadata(card(), LABELS))
    opened = OnnxSession(path, threads=1)
    yield opened
    opened.close()


def test_it_computes_what_the_graph_says(session: OnnxSession) -> None:
    logits = session.run(ONE)
    assert logits.dtype == np.float32
    assert logits.tolist() == [[2.0, 0.0, 0.0]]  # one word of three tokens, with weight 6
    assert session.provider in providers()
    assert providers()[-1] == CPU


def test_it_can_be_kept_to_the_cpu(tmp_path: Path) -> None:
    assert OnnxSession(write_tiny_onnx(tmp_path / "t.onnx"), gpu=False).provider == CPU


def test_telemetry_is_off_before_the_library_loads() -> None:
    load_library()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_bad_files_are_one_error_and_print_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.onnx"
    model = encoder_model(LABELS, np.eye(len(LABELS), dtype=np.float32))
    model.graph.node[0].op_type = "NoSuchOperator"
    for data in (b"nothing", model.SerializeToString()):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match="onnxruntime cannot load it"):
            OnnxSession(path)
    assert capfd.readouterr() == ("", "")


def test_bad_inputs_are_one_error_and_print_nothing(
    session: OnnxSession, capfd: pytest.CaptureFixture[str]
) -> None:
    outside = {**ONE, "input_ids": np.array([[2, 4000, 3]])}
    ragged = {**ONE, "attention_mask": np.ones((1, 5), np.int64)}
    for inputs in (outside, ragged, {"input_ids": ONE["input_ids"]}):
        with pytest.raises(EngineError, match="onnxruntime failed"):
            session.run(inputs)
    assert capfd.readouterr() == ("", "")
    assert session.run(ONE).shape == (1, 3)  # it goes on


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    path = write_tiny_onnx(tmp_path / "t.onnx", weight=float("nan"))
    with pytest.raises(EngineError, match="no finite numbers"):
        OnnxSession(path).run(ONE)


def test_many_threads_have_the_answers_of_one(session: OnnxSession) -> None:
    def of(word: int) -> list[float]:
        return session.run({**ONE, "input_ids": np.array([[2, word, 3]])})[0].tolist()

    words = [4, 5, 6] * 40
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(of, words)) == [of(word) for word in words]


def test_runs_side_by_side_have_one_thread_each_and_the_same_bits(tmp_path: Path) -> None:
    opened = OnnxSession(write_tiny_onnx(tmp_path / "tiny.onnx"), threads=2, gpu=False)
    with opened.begin() as call:
        wanted = call.run(ONE)
        assert opened._single is None
        assert np.array_equal(call.run(ONE, side_by_side=True), wanted)
    single = opened._single
    assert single.get_session_options().intra_op_num_threads == 1
    with opened.begin() as call:
        call.run(ONE, side_by_side=True)
    assert opened._single is single, "it is loaded once"
    opened.close()
    assert opened._single is None


@pytest.mark.parametrize("change", ["other content", "gone"])
def test_a_file_that_changed_is_not_loaded_again(tmp_path: Path, change: str) -> None:
    path = write_tiny_onnx(tmp_path / "tiny.onnx")
    opened = OnnxSession(path, threads=2, gpu=False)
    wanted = opened.run(ONE)
    path.unlink()
    if change == "other content":
        write_tiny_onnx(path, weight=-1)
    with opened.begin() as call:
        assert np.array_equal(call.run(ONE, side_by_side=True), wanted)
        assert np.array_equal(call.run(ONE, side_by_side=True), wanted)


def test_a_session_of_one_thread_needs_no_other(session: OnnxSession) -> None:
    with session.begin() as call:
        call.run(ONE, side_by_side=True)
    assert session._single is None


def test_cancel_stops_a_run_under_way_and_no_later_one(slow: OnnxSession) -> None:
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(slow.run(ONE))
        except CancelledError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    start = time.monotonic()
    thread.start()
    while thread.is_alive():
        slow.cancel()
        time.sleep(0.01)
    assert isinstance(outcome[0], CancelledError)
    assert time.monotonic() - start < 60
    slow.cancel()  # nothing runs


def test_after_close_each_call_is_an_error(session: OnnxSession) -> None:
    session.close()
    session.close()
    session.cancel()
    with pytest.raises(EngineError, match="closed"):
        session.run(ONE)


def test_close_stops_what_runs(slow: OnnxSession) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(slow.run, ONE)
        while not slow._running and not future.done():
            time.sleep(0.005)
        slow.close()
        with pytest.raises(EngineError, match="closed"):
            future.result()


def test_the_graph_is_what_the_checker_calls_valid(tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load(write_tiny_onnx(tmp_path / "t.onnx")), full_check=True)
