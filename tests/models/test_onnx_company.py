"""One text, one answer: no company, width, thread or padding changes a bit of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import edgeslm
from edgeslm.engines.onnx.inputs import reader_of
from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.engines.onnx.tokens import stack
from edgeslm.errors import EdgeslmError, EngineError
from edgeslm.formats.card import Card
from edgeslm.formats.onnx.info import read_onnx
from edgeslm.models.cascade.cascade import Cascade
from edgeslm.models.model import Model
from edgeslm.results import Classification, Tags
from tests.helpers.tiny_onnx import HEADS, card, metadata, write_model

WORDS = tuple("abcdefghijklmnopqrstuvwxyz")
LABELS = ("refund", "shipping", "billing", "other", "oos")
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "specialists").glob("**/*.onnx"))
#: readers of records have tests of their own, in tests/models/test_reading.py
CLASSIFIERS = [path for path in SHIPPED if read_onnx(path).reader is None]
texts = st.lists(st.text(alphabet="".join(WORDS) + "    ", max_size=60), min_size=1, max_size=24)


def int8_encoder(promise: Card) -> onnx.ModelProto:
    """Rows of words through a layer whose inputs are rounded as they come, as in shipped files."""
    rng = np.random.default_rng(0)
    width = 16
    table = rng.normal(size=(4 + len(WORDS), width)).astype(np.float32)
    table *= np.geomspace(0.05, 20, len(table))[:, None].astype(np.float32)
    constants: dict[str, Any] = {
        "table": table,
        "weights": rng.integers(-60, 60, (width, len(LABELS))).astype(np.int8),
        "last": np.array([2]),
        "axis": np.array([1]),
        "small": np.array(0.02, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("DynamicQuantizeLinear", ["rows"], ["bytes", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["bytes", "weights", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["scaled", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Mul", ["mean", "small"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "int8", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def written(folder: Path, promise: Card) -> Path:
    properties = metadata(promise, WORDS, max_tokens=64)
    return write_model(folder / "int8.onnx", int8_encoder(promise), properties)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("int8"), card(LABELS))


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with edgeslm.load(path, threads=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    whole = written(tmp_path_factory.mktemp("tags"), card(task=HEADS))
    with edgeslm.load(whole, threads=2) as opened:
        yield opened


def plain(answer: Classification | Tags | EdgeslmError) -> object:
    """All that an answer says but its times; of an error its type and words."""
    if isinstance(answer, EdgeslmError):
        return type(answer), str(answer)
    if isinstance(answer, Tags):
        return {name: (part.labels if hasattr(part, "labels") else part.label, part.probabilities)
                for name, part in answer.heads.items()}  # fmt: skip
    return answer.label, answer.confidence, answer.probabilities


def alone(call: Any, text: str) -> object:
    try:
        return plain(call(text))
    except EdgeslmError as error:
        return plain(error)


def test_in_one_run_company_would_change_the_answer(path: Path) -> None:
    info = read_onnx(path)
    read, _ = reader_of(info, info.max_tokens)
    session = OnnxSession(path, threads=1, gpu=False)
    quiet, loud = read("a b c", None), read("x y z", None)
    together = session.run(stack([quiet, loud]))[0]
    assert not np.array_equal(together, session.run(stack([quiet]))[0])


@given(texts=texts, width=st.integers(1, 9))
def test_map_gives_the_bits_of_a_call(model: Model, texts: list[str], width: int) -> None:
    classify = model.classifier()
    mapped = [plain(answer) for answer in classify.map(texts, width=width)]
    assert mapped == [alone(classify, text) for text in texts]


def test_many_texts_go_over_to_runs_of_one_thread_and_keep_their_bits(path: Path) -> None:
    rng = np.random.default_rng(0)
    said = [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(200)]
    with edgeslm.load(path, threads=2) as two:
        classify = two.classifier()
        wanted = [alone(classify, text) for text in said]
        assert [plain(answer) for answer in classify.map(said, width=1)] == wanted
        assert [plain(answer) for answer in classify.map(said[:64])] == wanted[:64]
        assert two._session._single is None, "few texts, or one after the other, need no more"
        assert [plain(answer) for answer in classify.map(said)] == wanted
        assert two._session._single is not None
        assert [plain(answer) for answer in classify.map(said)] == wanted
        cancelled = classify.map(said)
        next(cancelled)
        two.close()
        with pytest.raises(EngineError, match="closed"):
            list(cancelled)


@given(texts=texts, width=st.integers(1, 9))
def test_tags_have_the_bits_of_a_call(tagged: Model, texts: list[str], width: int) -> None:
    tagger = tagged.tagger()
    mapped = [plain(answer) for answer in tagger.map(texts, width=width)]
    assert mapped == [alone(tagger, text) for text in texts]


@settings(max_examples=20)
@given(texts=texts, width=st.integers(1, 9))
def test_a_cascade_has_the_bits_of_a_call(model: Model, texts: list[str], width: int) -> None:
    classify = model.classifier()
    cascade = Cascade([classify])
    mapped = cascade.map(texts, width=width)
    for text, answer in zip(texts, mapped, strict=True):
        if isinstance(answer, EdgeslmError):
            assert plain(answer) == alone(classify, text)
        else:
            own = classify(text)
            assert (answer.label, answer.confidence) == (own.label, own.confidence)


@settings(max_examples=20)
@given(texts=texts, width=st.integers(1, 9))
def test_callers_in_threads_have_the_bits_of_a_call(
    model: Model, texts: list[str], width: int
) -> None:
    classify = model.classifier()
    wanted = [alone(classify, text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        mapped = pool.submit(lambda: [plain(x) for x in classify.map(texts, width=width)])
        called = [*pool.map(lambda text: alone(classify, text), texts)]
        assert called == wanted
        assert mapped.result() == wanted


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_of_a_run_change_no_bit(path: Path, model: Model, threads: int) -> None:
    said = ["a b", "x y z a b c", "q"]
    with edgeslm.load(path, threads=threads) as other:
        assert [alone(other.classifier(), text) for text in said] == [
            alone(model.classifier(), text) for text in said
        ]


@pytest.mark.slow
@pytest.mark.parametrize("shipped", CLASSIFIERS, ids=lambda path: path.stem)
def test_shipped_encoders_have_the_bits_of_a_call(shipped: Path) -> None:
    said = [
        "where is my card",
        "it does not work at all and nobody answers the phone since monday morning",
        "refund",
        "TESCO STORES 3297 LONDON",
        "what would you do if you were me, is it going to rain, and can I pay by check?",
    ] * 20
    with edgeslm.load(shipped, threads=2) as two:
        classify = two.classifier()
        wanted = [alone(classify, text) for text in said]
        for width in (2, 8):
            assert [plain(answer) for answer in classify.map(said, width=width)] == wanted
        assert two._session._single is not None
    with edgeslm.load(shipped, threads=1) as one:
        assert [alone(one.classifier(), text) for text in said] == wanted
