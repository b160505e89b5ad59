"""Export and quantization of encoders: the logits of torch, one small file, what may be lost"""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from converters.encoder.model import EncoderModel, HeadSpec
from converters.encoder.tables import LARGE_TABLE
from converters.errors import BaseModelError, DataError, GateError
from converters.onnx.export import export_onnx, read_model, write_card
from converters.onnx.graph import FUSED, OPSET
from converters.onnx.logits import FileLogits
from converters.onnx.parity import divergence, float_parity, torch_logits
from converters.onnx.quantize import SCHEMES, quantize_best, quantize_onnx
from edgeslm.formats.card import Card, ClassifyTask, TagTask
from edgeslm.formats.onnx.info import read_onnx
from tests.helpers.tiny_onnx import tokenizer_json

#: so many that their embeddings are a large table
WORDS = tuple(f"w{i}" for i in range(LARGE_TABLE // 32 + 1))
LABELS = ("refund", "address", "total")
TEXTS = [" ".join(WORDS[(7 * i) % 2000 : (7 * i) % 2000 + i % 11 + 1]) for i in range(40)]
TASK = ClassifyTask(labels=LABELS)


def card(name: str = "tiny") -> Card:
    return Card(name=name, licence="mit", task=TASK)


@pytest.fixture(scope="module")
def model() -> EncoderModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    backbone = BertModel(config, add_pooling_layer=False)
    return EncoderModel(backbone, [HeadSpec("", LABELS)]).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json(WORDS))


@pytest.fixture(scope="module")
def exported(
    model: EncoderModel, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    target = tmp_path_factory.mktemp("export") / "float.onnx"
    return export_onnx(model, tokenizer, target, card=card(), max_tokens=16)


def logits(path: Path) -> np.ndarray:
    with FileLogits(path) as opened:
        return opened(TEXTS)


# --- export -------------------------------------------------------------------


def test_every_length_has_the_logits_of_torch(exported, model, tokenizer):
    wanted, actual = torch_logits(model, tokenizer, TEXTS), logits(exported)
    assert np.abs(wanted - actual).max() < 1e-4
    parity = float_parity(TASK, wanted, actual)
    assert parity.n == len(TEXTS) and parity.top1 == 1 and parity.max_kl < 1e-6


def test_attention_and_norms_are_single_operators(exported):
    kinds = Counter(node.op_type for node in read_model(exported).graph.node)
    assert {kind: n for kind, n in kinds.items() if n > 2} == {
        "MatMul": 2 * 4 + 1,  # four of each layer; and the mean
        "SkipLayerNormalization": 1 + 2 * 2,
    }
    assert kinds["MultiHeadAttention"] == kinds["BiasGelu"] == 2


def test_the_second_type_of_tokens_is_not_used(exported, model):
    table = model.backbone.embeddings.token_type_embeddings.weight.detach().numpy()
    assert np.abs(table[0] - table[1]).max() > 0.1
    raw = exported.read_bytes()
    assert table[1].tobytes() not in raw


def test_another_activation_is_refused(model, tokenizer, tmp_path):
    other = copy.deepcopy(model)
    other.backbone.config.hidden_act = "relu"
    with pytest.raises(BaseModelError, match="the activation 'relu'"):
        export_onnx(other, tokenizer, tmp_path / "x.onnx", card=card(), max_tokens=16)
    assert not list(tmp_path.iterdir())


def test_padding_changes_nothing(exported):
    from edgeslm.engines.onnx.session import OnnxSession
    from edgeslm.engines.onnx.tokens import stack

    with FileLogits(exported) as opened:
        rows = [opened.read(text) for text in TEXTS]
    session = OnnxSession(exported)
    together = session.run(stack(rows))
    session.close()
    assert np.abs(together - logits(exported)).max() < 1e-4


def test_the_file_is_whole_and_says_nothing_of_this_machine(exported, model):
    info = read_onnx(exported)
    assert (info.kind, info.opset, info.max_tokens) == ("encoder", OPSET, 16)
    assert info.domains == (FUSED,)
    assert info.card == card()
    assert [value.shape for value in info.outputs] == [(None, len(LABELS))]
    raw = exported.read_bytes()
    assert not [mark for mark in (b"site-packages", b"converters/", b"pkg.torch") if mark in raw]
    positions = model.backbone.embeddings.position_embeddings
    assert positions.num_embeddings == 64  # the model itself is as it was
    shapes = [tuple(tensor.dims) for tensor in read_model(exported).graph.initializer]
    assert (16, 32) in shapes and (64, 32) not in shapes
    assert [path.name for path in exported.parent.iterdir()] == ["float.onnx"]


def test_a_new_card_leaves_the_rest(exported, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(exported.read_bytes())
    before = read_onnx(copy)
    write_card(copy, card("other"))
    after = read_onnx(copy)
    assert after.card.name == "other"
    assert after.tokenizer_json == before.tokenizer_json
    assert read_model(copy).graph == read_model(exported).graph


def test_a_damaged_file_is_one_clear_error(tmp_path):
    bad = tmp_path / "bad.onnx"
    with pytest.raises(BaseModelError, match=r"bad\.onnx: cannot be read"):
        write_card(bad, card())
    bad.write_bytes(b"\xff" * 100)
    with pytest.raises(BaseModelError, match=r"bad\.onnx: cannot be read"):
        write_card(bad, card())


# --- quantization -------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_is_small_and_near_to_float(exported, tmp_path, scheme):
    target = quantize_onnx(exported, tmp_path / "small.onnx", scheme)
    before, after = read_onnx(exported), read_onnx(target)
    assert after.weight_bytes < before.weight_bytes / 2
    assert (after.card, after.tokenizer_json) == (before.card, before.tokenizer_json)
    measured = divergence(TASK, logits(exported), logits(target))
    assert 0 < measured.kl < 0.02
    assert measured.top1 > 0.9
    large = [t for t in read_model(target).graph.initializer if np.prod(t.dims) > LARGE_TABLE]
    assert [t.data_type for t in large] == [onnx.TensorProto.INT8]
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_the_fastest_that_passes_is_kept(exported, tmp_path):
    asked: list[Path] = []

    def second(path: Path) -> str | None:
        asked.append(path)
        return None if len(asked) == 2 else "not yet"

    out = tmp_path / "candidate.onnx"
    report = quantize_best(exported, TASK, TEXTS, out, refuses=second)
    assert [candidate.passed for candidate in report.candidates] == [False, True, None]
    times = [candidate.milliseconds for candidate in report.candidates]
    assert times == sorted(times)
    assert report.chosen == report.candidates[1].scheme
    assert out.stat().st_size == report.candidates[1].size
    assert list(tmp_path.iterdir()) == [out]


def test_where_none_passes_nothing_is_left(exported, tmp_path):
    out = tmp_path / "candidate.onnx"
    with pytest.raises(GateError, match=r"passes the gates: .*int8 \(too bad\); "):
        quantize_best(exported, TASK, TEXTS, out, refuses=lambda _: "too bad")
    with pytest.raises(DataError, match="no texts"):
        quantize_best(exported, TASK, [], out, refuses=lambda _: None)
    assert not list(tmp_path.iterdir())


# --- distances ----------------------------------------------------------------


def test_heads_are_compared_each_by_its_own_kind():
    task = TagTask.model_validate(
        {
            "heads": [
                {"name": "one", "labels": ["a", "b"]},
                {"name": "many", "labels": ["x", "y"], "multi_label": True},
            ]
        }
    )
    zero = np.zeros((1, 4), np.float32)
    other = np.array([[np.log(3), 0, np.log(3), 0]], np.float32)  # 3/4 to 1/4, and 3/4 by itself
    kl = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    measured = divergence(task, zero, other)
    assert measured.n == 2
    assert measured.kl == pytest.approx((kl + kl / 2) / 2)
    assert measured.top1 == 1.0  # a is the first of equals; x is given by both
    assert divergence(task, zero, -other).top1 == 0.0
    assert divergence(task, other, other).kl == pytest.approx(0)
