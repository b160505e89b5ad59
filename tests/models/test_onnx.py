"""An .onnx specialist as `edgeslm.load` gives it: asked singly, in batches, by heads, refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeslm
from edgeslm.engines.onnx import inputs
from edgeslm.engines.onnx.session import OnnxSession
from edgeslm.errors import (
    CardError,
    DeadlineError,
    EdgeslmError,
    EngineError,
    InputError,
    InputTooLongError,
    LabelError,
    ModelFileError,
)
from edgeslm.evaluation.evaluate import task_of
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.models import onnx as onnx_model
from edgeslm.models.onnx import OnnxModel, open_onnx
from edgeslm.results import Classification, Labels
from edgeslm.store.entry import Entry
from edgeslm.store.store import Store
from edgeslm.tasks.decision import sigmoid, softmax
from tests.helpers.tiny_onnx import (
    HEADS,
    LABELS,
    MAX_TOKENS,
    SCOPED,
    card,
    metadata,
    tokenizer_json,
    write_tiny_onnx,
)
from tests.helpers.tiny_onnx import encoder_model as graph_of
from tests.helpers.tiny_onnx import write_model as write
from tests.test_no_network import GUARD

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_onnx(tmp_path / "tiny.onnx")


@pytest.fixture
def model(path: Path) -> Iterator[OnnxModel]:
    with open_onnx(path, threads=1) as opened:
        yield opened


def opened(folder: Path, promise: Card, **more: Any) -> OnnxModel:
    return open_onnx(write_tiny_onnx(folder / "tiny.onnx", promise, **more), threads=1)


def test_load_gives_the_same_classification_as_any_model(path: Path) -> None:
    with edgeslm.load(path) as model:
        answer = model.classifier()("Where is my REFUND")
    assert isinstance(answer, Classification)
    assert answer.label == "refund"
    # six tokens, one of which speaks with weight 6 for a label
    expected = softmax(np.array([1.0, 0.0, 0.0]))
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist())
    assert answer.confidence == answer.probabilities["refund"]
    timing = answer.timing
    assert (timing.prompt_tokens, timing.output_tokens, timing.decodes) == (6, 0, 1)
    assert 0 < timing.prefill_ms <= timing.total_ms


def test_only_the_labels_of_the_card(model: OnnxModel) -> None:
    assert model.classifier(list(LABELS)).labels == LABELS
    for other in (["refund", "billling"], ["a", "b", "c"], "refund", dict.fromkeys(LABELS, "x")):
        with pytest.raises(LabelError, match="tiny-encoder was "):
            model.classifier(other)


def test_what_an_encoder_cannot_do(model: OnnxModel) -> None:
    with pytest.raises(CardError, match="it classifies, it cannot extract"):
        model.extractor({"type": "object"})
    with pytest.raises(CardError, match="use classifier"):
        model.tagger()
    with pytest.raises(CardError, match="no prompt"):
        model.classifier(prompt=edgeslm.PromptSpec(system="x"))
    with pytest.raises(ModelFileError, match="for a language model"):
        model.adapter("a.gguf")


@pytest.mark.parametrize("text", ["", "  \n", "\ud800", None])
def test_texts_that_are_none(model: OnnxModel, text: Any) -> None:
    with pytest.raises(InputError):
        model.classifier()(text)


def test_a_long_text_is_refused_or_cut_in_the_middle(model: OnnxModel) -> None:
    classify = model.classifier()
    long = "refund " + "and " * 100 + "refund"
    with pytest.raises(InputTooLongError) as refused:
        classify(long)
    assert (refused.value.tokens, refused.value.limit) == (104, MAX_TOKENS)
    answer = classify(long, truncate="middle")
    assert answer.timing.prompt_tokens == MAX_TOKENS
    both = softmax(np.array([12 / MAX_TOKENS, 0.0, 0.0]))[0]  # the first and the last word stayed
    assert answer.confidence == pytest.approx(both)


def test_a_shorter_limit_of_the_caller(path: Path) -> None:
    with edgeslm.load(path, max_context=4) as model:
        assert model.classifier()("refund now").timing.prompt_tokens == 4
        with pytest.raises(InputTooLongError):
            model.classifier()("refund it now")


def test_deadlines(model: OnnxModel) -> None:
    classify = model.classifier()
    assert classify("refund", deadline_ms=60_000).label == "refund"
    with pytest.raises(DeadlineError):
        classify("refund", deadline_ms=0)
    assert all(isinstance(x, DeadlineError) for x in classify.map(["a", "b"], deadline_ms=0))


def test_after_close_calls_are_an_error(model: OnnxModel) -> None:
    classify = model.classifier()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        classify("refund")
    with pytest.raises(EngineError, match="closed"):
        list(classify.map(["refund"]))


def test_many_threads_have_the_answers_of_one(model: OnnxModel) -> None:
    classify = model.classifier()
    texts = [f"{label} " * (1 + i % 5) for i, label in enumerate(LABELS * 30)]
    alone = [classify(text).probabilities for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert [x.probabilities for x in pool.map(classify, texts)] == alone


# --- map ------------------------------------------------------------------------


@given(
    texts=st.lists(st.text(alphabet="refund billing", max_size=40), max_size=40),
    width=st.integers(1, 9),
)
def test_map_gives_each_text_the_answer_it_has_alone(
    shared: OnnxModel, texts: list[str], width: int
) -> None:
    classify = shared.classifier()
    answers = list(classify.map(texts, width=width))
    assert len(answers) == len(texts)
    for text, answer in zip(texts, answers, strict=True):
        if isinstance(answer, EdgeslmError):
            with pytest.raises(type(answer)):
                classify(text)
        else:
            alone = classify(text)
            assert answer.label == alone.label
            assert answer.probabilities == alone.probabilities
            assert answer.timing.prompt_tokens == alone.timing.prompt_tokens


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxModel]:
    with opened(tmp_path_factory.mktemp("shared"), card()) as model:
        yield model


def test_map_is_lazy(model: OnnxModel) -> None:
    taken = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(len(taken))
            yield "billing"

    answers = model.classifier().map(endless(), width=2)
    assert isinstance(next(answers), Classification)
    assert len(taken) == 4
    answers.close()


# --- out of scope, several heads ---------------------------------------------------


def test_the_card_s_rule_reaches_the_answer(tmp_path: Path) -> None:
    promise = card(task=SCOPED, calibration={"threshold": 0.6})
    with opened(tmp_path, promise) as model:
        classify = model.classifier()
        sure, unsure = classify("a a a"), classify("a and so on and on")
    assert (sure.label, unsure.label) == ("a", "oos")
    assert unsure.confidence == 1 - unsure.probabilities["a"] > unsure.probabilities["oos"]


def test_a_tagger_answers_all_heads_from_one_pass(tmp_path: Path) -> None:
    with opened(tmp_path, card(task=HEADS)) as model:
        tagger = model.tagger()
        tags = tagger("wish docs ui")
        [mapped] = tagger.map(["wish docs ui"])
        with pytest.raises(CardError, match="use tagger"):
            model.classifier()
    kind, areas = tags.heads["type"], tags.heads["areas"]
    assert isinstance(kind, Classification)
    assert isinstance(areas, Labels)
    assert kind.label == "wish"
    assert sum(kind.probabilities.values()) == pytest.approx(1)
    assert areas.labels == ("ui", "docs")
    each = float(sigmoid(np.array([6 / 5]))[0])
    assert areas.probabilities == pytest.approx({"ui": each, "docs": each, "api": 0.5})
    assert list(tags.to_dict()["heads"]["areas"]) == ["labels", "probabilities"]
    assert mapped.heads.keys() == tags.heads.keys()
    assert task_of(card(task=HEADS)) == "tag"


# --- files that do not fit -------------------------------------------------------


def test_a_tokenizer_with_more_tokens_than_the_graph_is_refused(tmp_path: Path) -> None:
    properties = metadata(card(), LABELS)
    properties["edgeslm.tokenizer"] = tokenizer_json([*LABELS, "more"])
    path = write(tmp_path / "x.onnx", graph_of(LABELS, np.eye(3, dtype=np.float32)), properties)
    with pytest.raises(ModelFileError, match="does not take what its tokenizer gives"):
        open_onnx(path)


@pytest.mark.parametrize("graph_loads", [True, False])
def test_a_graph_loaded_beside_a_damaged_tokenizer_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch, graph_loads: bool
) -> None:
    sessions: list[OnnxSession] = []

    def loaded(*given: Any, **more: Any) -> OnnxSession:
        if not graph_loads:
            raise ModelFileError("the graph")
        sessions.append(OnnxSession(*given, **more))
        return sessions[-1]

    def damaged(*_: object, **__: object) -> None:
        raise ModelFileError("the tokenizer")

    monkeypatch.setattr(onnx_model, "OnnxSession", loaded)
    monkeypatch.setattr(inputs, "EncoderTokens", damaged)
    threads = threading.active_count()
    with pytest.raises(ModelFileError, match="the tokenizer" if graph_loads else "the graph"):
        open_onnx(path)
    assert threading.active_count() == threads
    assert len(sessions) == graph_loads
    for session in sessions:
        with pytest.raises(EngineError, match="closed"):
            session.run({})


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path) -> None:
    properties = {**metadata(card(), LABELS), "edgeslm.tokenizer": '{"model": 1}'}
    path = write(tmp_path / "x.onnx", graph_of(LABELS, np.eye(3, dtype=np.float32)), properties)
    with pytest.raises(ModelFileError, match="tokenizer is damaged"):
        open_onnx(path)


def test_labels_are_counted_also_where_the_graph_does_not_say(tmp_path: Path) -> None:
    graph = graph_of(LABELS, np.eye(3, dtype=np.float32))
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "labels"
    path = write(tmp_path / "x.onnx", graph, metadata(card(["a", "b"]), LABELS))
    with pytest.raises(CardError, match="2 labels, but the graph"):
        open_onnx(path)


# --- what it loads, and the network ----------------------------------------------

CHILD = """
import sys, edgeslm
with edgeslm.load(sys.argv[1]) as model:
    print(model.classifier()("refund").label)
print(*sorted({"llama_cpp", "llguidance", "gguf", "jinja2", "transformers", "torch", "onnx",
    "pydantic", "pydantic_core", "jsonschema_rs", "huggingface_hub", "httpx2", "filelock", "rich",
    "edgeslm.card", "edgeslm.store.registry", "edgeslm.linear", "edgeslm.known", "_hashlib"}
    & set(sys.modules)))
"""


def child(code: str, path: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        cwd=ROOT,
    )


def test_it_opens_no_socket_and_loads_nothing_of_language_models(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    tried = child(GUARD + CHILD, path)
    assert (tried.returncode, tried.stderr) == (0, "")
    done = child(GUARD + CHILD, path)  # a content that was tried is not even hashed
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:2] == ["refund", ""]


def test_a_pulled_name_loads_as_little(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path / "home"))
    entry = Entry(name="mini", source=str(path), sha256="unverified", licence="mit")
    Store().pull(entry)
    child(CHILD, "mini")
    done = child(CHILD, "mini")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:2] == ["refund", ""]


def test_a_card_that_only_pydantic_can_judge_is_loaded_with_it(path: Path, tmp_path: Path) -> None:
    properties = metadata(card(), LABELS)
    escaped = properties[CARD_KEY].replace("refund", "\\u0072efund")
    graph = graph_of(LABELS, np.eye(3, dtype=np.float32))
    write(tmp_path / "x.onnx", graph, {**properties, CARD_KEY: escaped})
    with edgeslm.load(path) as plain, edgeslm.load(tmp_path / "x.onnx") as judged:
        assert judged.card == plain.card
        assert judged.classifier()("refund").label == "refund"


def test_cancel_from_another_thread_leaves_the_model_usable(model: OnnxModel) -> None:
    classify = model.classifier()
    stop = threading.Event()

    def keep_cancelling() -> None:
        while not stop.is_set():
            model.cancel()

    canceller = threading.Thread(target=keep_cancelling)
    canceller.start()
    try:
        answers = list(classify.map(["refund now"] * 200))
    finally:
        stop.set()
        canceller.join()
    assert len(answers) == 200
    assert classify("refund").label == "refund"
