"""An encoder's graph in ONNX: few fused operators, with three projections of attention as one"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.errors import BaseModelError

if TYPE_CHECKING:
    from onnx import ModelProto

    from converters.encoder.model import EncoderModel
    from converters.onnx.linear import LinearModel

#: versions of operators that graphs are written in: ONNX's own, onnxruntime's fused ones
OPSET: Final = 18
FUSED_OPSET: Final = 1
FUSED: Final = "com.microsoft"
IR_VERSION: Final = 10
#: ONNX's numbers of types of elements
_FLOAT, _INT32, _INT64 = 1, 6, 7
INPUTS: Final = ("input_ids", "attention_mask")
OUTPUT: Final = "logits"
#: the table of word embeddings
WORDS: Final = "words"

Weights = Mapping[str, NDArray[np.float32]]


def encoder_graph(
    model: EncoderModel, max_tokens: int, linear: LinearModel | None = None
) -> ModelProto:
    """A BERT with heads over its mean as a graph with float32 weights; batch and length are free.

    Embeddings of positions from ``max_tokens`` on are left out, for no text gets there. The
    logits of a linear model are added to those of the heads.

    Raises:
        BaseModelError: an activation other than GELU.
    """
    config = model.backbone.config
    weights = {
        name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()
    }
    graph = EncoderGraph.of(config)
    states = graph.encoder(weights, config.num_hidden_layers, max_tokens)
    head = _under(weights, "head.")
    pooled = _mean(graph, states)
    bias = head["bias"] if linear is None else head["bias"] + linear.bias
    said = graph.node(
        "Gemm",
        [pooled, graph.weight("head.weight", head["weight"]), graph.weight("head.bias", bias)],
        out=OUTPUT if linear is None else "",
        transB=1,
    )
    if linear is not None:
        graph.node("Add", [said, _weighed(graph, linear)], out=OUTPUT)
    return graph.model(labels=len(bias), linear=linear is not None)


class EncoderGraph:
    """Nodes and weights as they come. What adds a node gives the name of its output."""

    def __init__(self, heads: int, epsilon: float) -> None:
        self._heads = heads
        self._epsilon = epsilon
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}

    @classmethod
    def of(cls, config: Any) -> EncoderGraph:
        """An empty graph for a BERT of this configuration; raises BaseModelError."""
        if config.hidden_act != "gelu":
            raise BaseModelError(
                f"the model has the activation {config.hidden_act!r}, and only 'gelu' can be "
                "exported; start from another encoder"
            )
        return cls(config.num_attention_heads, config.layer_norm_eps)

    def encoder(self, weights: Weights, layers: int, max_tokens: int) -> str:
        """The states of the last layer, [batch, length, hidden]."""
        states = _embedded(self, weights, max_tokens)
        mask = self.node("Cast", ["attention_mask"], to=_INT32)
        for layer in range(layers):
            own = _under(weights, f"backbone.encoder.layer.{layer}.")
            states = _attended(self, f"layer.{layer}", own, states, mask)
            states = _transformed(self, f"layer.{layer}", own, states)
        return states

    def node(
        self, kind: str, inputs: list[str], *, out: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """An operator with one output."""
        from onnx import helper

        out = out or f"{kind}.{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [out], name=out, domain=domain or None, **attributes)
        )
        return out

    def parts(self, value: str, count: int) -> list[str]:
        """Equal parts of a value along its last dimension."""
        from onnx import helper

        outs = [f"{value}.{i}" for i in range(count)]
        self.nodes.append(
            helper.make_node(
                "Split", [value], outs, name=f"{value}.split", axis=-1, num_outputs=count
            )
        )
        return outs

    def weight(self, name: str, value: NDArray[Any]) -> str:
        """A constant."""
        self.weights[name] = value
        return name

    def linear(self, name: str, weight: NDArray[np.float32], states: str) -> str:
        """A projection without its bias; the operator that follows adds it."""
        return self.node("MatMul", [states, self.weight(name, np.ascontiguousarray(weight.T))])

    def attention(self, projected: list[str], bias: str, mask: str) -> str:
        """Attention of projected queries, keys and values, to what the mask has as 1."""
        return self.node(
            "MultiHeadAttention", [*projected, bias, mask], domain=FUSED, num_heads=self._heads
        )

    def normalised(self, name: str, own: Weights, states: str, skip: str, bias: str = "") -> str:
        """LayerNorm of the sum of states, skip and bias."""
        gamma = self.weight(f"{name}.gamma", own["LayerNorm.weight"])
        beta = self.weight(f"{name}.beta", own["LayerNorm.bias"])
        inputs = [states, skip, gamma, beta] + [bias] * bool(bias)
        return self.node("SkipLayerNormalization", inputs, domain=FUSED, epsilon=self._epsilon)

    def model(self, labels: int, *, linear: bool) -> ModelProto:
        """All of it, with as many outputs as there are labels."""
        from onnx import helper, numpy_helper

        inputs = dict.fromkeys(INPUTS, (_INT64, "length"))
        if linear:
            inputs |= {"ids": (_INT64, "features"), "values": (_FLOAT, "features")}
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [
                helper.make_tensor_value_info(name, kind, ["batch", size])
                for name, (kind, size) in inputs.items()
            ],
            [helper.make_tensor_value_info(OUTPUT, _FLOAT, ["batch", labels])],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, FUSED_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _under(weights: Weights, prefix: str) -> dict[str, NDArray[np.float32]]:
    return {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}


def _embedded(graph: EncoderGraph, weights: Weights, max_tokens: int) -> str:
    """Word and position embeddings. All tokens are of type 0, so positions carry its embedding."""
    own = _under(weights, "backbone.embeddings.")
    positions = (
        own["position_embeddings.weight"][:max_tokens] + own["token_type_embeddings.weight"][0]
    )
    words = graph.node("Gather", [graph.weight(WORDS, own["word_embeddings.weight"]), "input_ids"])
    length = graph.node("Shape", ["input_ids"], start=1, end=2)
    start = graph.weight("start", np.zeros(1, np.int64))
    first = graph.node("Slice", [graph.weight("positions", positions), start, length])
    return graph.normalised("embeddings", own, words, first)


def _attended(graph: EncoderGraph, name: str, own: Weights, states: str, mask: str) -> str:
    """Self-attention; query, key and value are one projection."""
    three = [f"attention.self.{part}." for part in ("query", "key", "value")]
    weight = np.concatenate([own[f"{part}weight"] for part in three])
    bias = graph.weight(f"{name}.qkv.bias", np.concatenate([own[f"{part}bias"] for part in three]))
    parts = graph.parts(graph.linear(f"{name}.qkv", weight, states), 3)
    mixed = graph.attention(parts, bias, mask)
    out = _under(own, "attention.output.")
    projected = graph.linear(f"{name}.attention", out["dense.weight"], mixed)
    bias = graph.weight(f"{name}.attention.bias", out["dense.bias"])
    return graph.normalised(f"{name}.attention", out, projected, states, bias)


def _transformed(graph: EncoderGraph, name: str, own: Weights, states: str) -> str:
    """The two layers after attention."""
    inner, out = _under(own, "intermediate.dense."), _under(own, "output.")
    widened = graph.linear(f"{name}.inner", inner["weight"], states)
    bias = graph.weight(f"{name}.inner.bias", inner["bias"])
    active = graph.node("BiasGelu", [widened, bias], domain=FUSED)
    projected = graph.linear(f"{name}.outer", out["dense.weight"], active)
    bias = graph.weight(f"{name}.outer.bias", out["dense.bias"])
    return graph.normalised(f"{name}.outer", out, projected, states, bias)


def _weighed(graph: EncoderGraph, linear: LinearModel) -> str:
    """A linear model's logits without their bias, [batch, labels]."""
    one = graph.weight("linear.one", np.ones(1, np.int64))
    rows = graph.node("Gather", [graph.weight("linear", linear.weights), "ids"])
    sums = graph.node("MatMul", [graph.node("Unsqueeze", ["values", one]), rows])
    return graph.node("Squeeze", [sums, one])


def _mean(graph: EncoderGraph, states: str) -> str:
    """The mean over the tokens of each text, [batch, hidden]."""
    one = graph.weight("one", np.ones(1, np.int64))
    mask = graph.node("Cast", ["attention_mask"], to=_FLOAT)
    row = graph.node("Unsqueeze", [mask, one])
    total = graph.node("Squeeze", [graph.node("MatMul", [row, states]), one])
    tokens = graph.node("ReduceSum", [mask, one], keepdims=1)
    least = graph.weight("least", np.ones(1, np.float32))
    return graph.node("Div", [total, graph.node("Max", [tokens, least])])
