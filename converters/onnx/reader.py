"""A trained reader as one .onnx file: scores of units by features, and of an encoder's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.encoder.tables import quantize_tables
from converters.errors import require
from converters.onnx.export import read_model, set_metadata, write_model
from converters.onnx.graph import FUSED, FUSED_OPSET, IR_VERSION, OPSET, OUTPUT, EncoderGraph
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.onnx.info import KIND_KEY, MAX_TOKENS_KEY, TOKENIZER_KEY
from edgeslm.formats.onnx.reader_spec import READER_KEY, ReaderSpec

if TYPE_CHECKING:
    from onnx import ModelProto
    from tokenizers import Tokenizer

    from converters.reading.model import ReaderModel
    from edgeslm.formats.card import Card

#: the table of the features' weights
FEATURES: Final = "features"
_FLOAT, _INT64 = 1, 7


def export_reader(
    model: ReaderModel,
    spec: ReaderSpec,
    target: Path,
    *,
    card: Card,
    tokenizer: Tokenizer | None = None,
    max_tokens: int = 0,
) -> Path:
    """Write a reader as .onnx with float32 weights, aside first.

    Args:
        spec: with the transitions that were learned.
        tokenizer: of an encoder, whose windows hold ``max_tokens``; None for a linear reader.

    Raises:
        BaseModelError: the encoder cannot be expressed as a graph.
        MissingExtraError: onnx is not installed.
    """
    require("torch", "onnx")
    properties = {
        CARD_KEY: card.to_json(),
        KIND_KEY: "linear" if tokenizer is None else "encoder",
        READER_KEY: spec.to_json(),
    }
    if tokenizer is not None:
        properties |= {TOKENIZER_KEY: tokenizer.to_str(), MAX_TOKENS_KEY: str(max_tokens)}
    proto = _graph(model, max_tokens)
    set_metadata(proto, properties)
    return write_model(proto, target)


def round_features(source: Path, target: Path) -> Path:
    """Write a reader whose features' weights have 8 bits, with a scale for each feature."""
    proto = read_model(source)
    quantize_tables(proto, {})
    return write_model(proto, target)


def _graph(model: ReaderModel, max_tokens: int) -> ModelProto:
    """``logits`` are the scores of all places of all windows, one after the other, if there is an
    encoder, and below them those of the units' features: [places + units, columns]."""
    from onnx import helper, numpy_helper

    weights = {
        name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()
    }
    inputs = {"ids": (_INT64, "units", "features"), "values": (_FLOAT, "units", "features")}
    if model.backbone is None:
        graph = EncoderGraph(1, 0.0)
        _of_features(graph, weights, OUTPUT)
    else:
        config = model.backbone.config
        graph = EncoderGraph.of(config)
        states = graph.encoder(weights, config.num_hidden_layers, max_tokens)
        flat = graph.node(
            "Reshape", [states, graph.weight("rows", np.array([-1, config.hidden_size]))]
        )
        nothing = graph.weight("head.bias", np.zeros(model.spec.columns, np.float32))
        head = graph.weight("head.weight", weights["head.weight"])
        places = graph.node("Gemm", [flat, head, nothing], transB=1)
        units = _of_features(graph, weights, "")
        graph.node("Concat", [places, units], out=OUTPUT, axis=0)
        inputs |= {
            "input_ids": (_INT64, "windows", "length"),
            "attention_mask": (_INT64, "windows", "length"),
        }
    columns = model.spec.columns
    made = helper.make_graph(
        graph.nodes,
        "reader",
        [
            helper.make_tensor_value_info(name, kind, list(shape))
            for name, (kind, *shape) in inputs.items()
        ],
        [helper.make_tensor_value_info(OUTPUT, _FLOAT, ["rows", columns])],
        [numpy_helper.from_array(value, name) for name, value in graph.weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, FUSED_OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)


def _of_features(graph: EncoderGraph, weights: dict[str, NDArray[Any]], out: str) -> str:
    """The weights of units' features, times what they count, and the columns' bias."""
    one = graph.weight("axis", np.ones(1, np.int64))
    rows = graph.node("Gather", [graph.weight(FEATURES, weights["bag.weight"]), "ids"])
    sums = graph.node("MatMul", [graph.node("Unsqueeze", ["values", one]), rows])
    scores = graph.node("Squeeze", [sums, one])
    return graph.node("Add", [scores, graph.weight("bias", weights["bias"])], out=out)
