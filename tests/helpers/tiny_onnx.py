"""Writes tiny .onnx encoder specialists whose answers follow from their words, for tests."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgeslm.engines.onnx.features import FeatureSpec, Terms
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.onnx.info import FEATURES_KEY, KNOWN_KEY
from edgeslm.formats.onnx.known_inputs import known_inputs

LABELS = ("refund", "shipping", "billing")
#: tasks of two heads, and of one with a label for what is out of scope
HEADS = {
    "kind": "tag",
    "heads": [
        {"name": "type", "labels": ["bug", "wish"]},
        {"name": "areas", "labels": ["ui", "api", "docs"], "multi_label": True, "threshold": 0.6},
    ],
}
SCOPED = {"kind": "classify", "labels": ["a", "b", "oos"], "out_of_scope": "oos"}
#: tokens with a fixed id, before the words
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
#: what a label's own word adds to its logit
WEIGHT = 6.0
MAX_TOKENS = 16


def card(labels: Sequence[str] = LABELS, **more: Any) -> Card:
    """A classifier's card; ``more`` are further keys of it, ``task`` in place of the labels."""
    task = more.pop("task", {"kind": "classify", "labels": list(labels)})
    return Card.from_dict(
        {"name": "tiny-encoder", "licence": "mit", "task": task, **more}, where="tiny"
    )


def tokenizer_json(words: Sequence[str]) -> str:
    """A word-level tokenizer that puts [CLS] and [SEP] around a text."""
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return str(tokenizer.to_str())


def metadata(promise: Card, words: Sequence[str], max_tokens: int = MAX_TOKENS) -> dict[str, str]:
    """What an encoder file carries beside its graph."""
    return {
        CARD_KEY: promise.to_json(),
        "edgeslm.kind": "encoder",
        "edgeslm.tokenizer": tokenizer_json(words),
        "edgeslm.max_tokens": str(max_tokens),
    }


def encoder_model(words: Sequence[str], weights: np.ndarray) -> onnx.ModelProto:
    """A graph: each word's row of ``weights`` [words, labels], averaged over the text's tokens."""
    table = np.zeros((len(SPECIAL) + len(words), weights.shape[1]), np.float32)
    table[len(SPECIAL) :] = weights
    node = functools.partial(helper.make_node)
    nodes = [
        node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["rows", "column"], ["kept"]),
        node("ReduceSum", ["kept", "length_axis"], ["sum"], keepdims=0),
        node("ReduceSum", ["mask", "length_axis"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    shape = ["batch", weights.shape[1]]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "length_axis"),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="tests"
    )


def with_features(model: onnx.ModelProto, weights: np.ndarray) -> onnx.ModelProto:
    """The graph with ``weights`` [features, labels] of features added to its logits."""
    graph = model.graph
    graph.node[-1].output[0] = "own"
    graph.node.extend(
        [
            helper.make_node("Gather", ["weights", "ids"], ["found"]),
            helper.make_node("Unsqueeze", ["values", "length_axis"], ["row"]),
            helper.make_node("MatMul", ["row", "found"], ["sums"]),
            helper.make_node("Squeeze", ["sums", "length_axis"], ["others"]),
            helper.make_node("Add", ["own", "others"], ["logits"]),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), "weights"))
    for name, kind in (("ids", TensorProto.INT64), ("values", TensorProto.FLOAT)):
        graph.input.append(helper.make_tensor_value_info(name, kind, ["batch", "features"]))
    return model


def write_model(path: Path, model: onnx.ModelProto, properties: Mapping[str, str]) -> Path:
    """Save a graph with these metadata properties."""
    del model.metadata_props[:]
    helper.set_model_props(model, dict(properties))
    path.write_bytes(model.SerializeToString())  # onnx.save would follow external data
    return path


def write_tiny_onnx(
    path: Path,
    promise: Card | None = None,
    *,
    words: Sequence[str] | None = None,
    max_tokens: int = MAX_TOKENS,
    weight: float = WEIGHT,
) -> Path:
    """An encoder in which the i-th word speaks for the i-th label, all heads counted through.

    The words are the labels themselves unless given. A text of no known word leaves all
    labels alike.
    """
    promise = card() if promise is None else promise
    task = promise.task
    sets = [task.labels] if task.kind == "classify" else [head.labels for head in task.heads]
    names = [label.name for labels in sets for label in labels]
    words = names if words is None else words
    model = encoder_model(words, np.eye(len(words), len(names), dtype=np.float32) * weight)
    return write_model(path, model, metadata(promise, words, max_tokens))


#: words that a mixed file knows beside its tokenizer, and texts that it knows by heart
SPEC = FeatureSpec(9, Terms(("parcel", "bill"), (1, 2)), Terms((), ()))
KNOWN = known_inputs([("Where is it?", 1, 9), ("Refund", 2, 8)], prior_rows=2)


def write_mixed_onnx(path: Path, **changed: str | None) -> Path:
    """An encoder with features and known texts beside it; ``changed`` properties, None for none."""
    weights = np.array([[0, WEIGHT, 0], [0, 0, WEIGHT]])
    own = encoder_model(LABELS, np.eye(3, dtype=np.float32) * WEIGHT)
    properties = {
        **metadata(card(), LABELS),
        FEATURES_KEY: SPEC.to_json(),
        KNOWN_KEY: KNOWN.to_json(),
        **{f"edgeslm.{name}": value for name, value in changed.items()},
    }
    held = {key: value for key, value in properties.items() if value is not None}
    return write_model(path, with_features(own, weights), held)
